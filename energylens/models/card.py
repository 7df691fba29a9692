"""What a loaded model is: where it came from, what was published about it, and the digest of its weights."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Number
from operator import itemgetter
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from energylens.models.zoo import rows

DIGITS = 8  # of a digest, behind a name that several models can have


@dataclass(frozen=True)
class ModelCard:
    """The provenance that a loaded module carries as `module.card`; None for what is not known.

    Attributes:
        name: the full name (`Carmon2019Unlabeled`), the path or the address it was asked for by.
        source: `energylens`, `pyautoattack`, `robustbench`, `file`, `factory`, `timm`, `torchvision`, `hf` or `module`.
        dataset: the data set that it was trained on.
        labels: which of the data set's labels its logits are for, in their order; None for all.
        threat_model: `Linf`, `L2` or `corruptions`.
        eps: the radius, in units of images in [0, 1].
        architecture: a name of ARCHITECTURES, of a package, or of a class.
        clean: published accuracy in %.
        autoattack: published accuracy under AutoAttack in %.
        preprocessing: how pictures are resized and cropped before the model sees them, as `preprocessing_named` reads
            it.
        mean: what the user gave of its normalisation; None where the model brings its own or has none.
        std: the same.
        weights_key: the entry of a file that the weights came from (`state_dict_ema`), None where they are all it
            holds.
        arch_args: what the user gave with --arch-arg, as `width=32`.
        whole: True where the file held the module itself, which only --trust-pickle reads.
        weights: `weights_digest` of the module.
        origin: the path or URL that the weights came from.
    """

    name: str
    source: str
    dataset: str | None = None
    labels: tuple[int, ...] | None = None
    threat_model: str | None = None
    eps: float | None = None
    architecture: str | None = None
    clean: float | None = None
    autoattack: float | None = None
    preprocessing: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    weights_key: str | None = None
    arch_args: tuple[str, ...] | None = None
    whole: bool | None = None
    weights: str | None = None
    origin: str | None = None

    @property
    def short_name(self) -> str:
        """The name, of a weights file without its folder. Several models can have it."""
        return Path(self.name).name if self.source == "file" else self.name

    @property
    def title(self) -> str:
        """The name that a reader is shown, see ``model_title``."""
        return model_title(vars(self))

    def folder_name(self, digest: str) -> str:
        """A name for what is kept of this model, which no other model has.

        A model of the zoo goes by its name, or by its label where the name stands in several benchmarks. What else is
        loaded, or handed over, can be another model under the same name tomorrow: the beginning of the digest follows.

        Args:
            digest: ``module_digest`` of the module.

        Returns:
            The name, which ``safe_name`` makes one of a folder.
        """
        namesakes = [row for row in rows() if (row.name, row.source) == (self.name, self.source)]
        for row in namesakes:
            if (row.dataset, row.threat_model) == (self.dataset, self.threat_model):
                return row.name if len(namesakes) == 1 else row.label
        return f"{self.title}-{digest[:DIGITS]}"


def model_title(card: Mapping[str, Any]) -> str:
    """The name that a reader is shown: of a weights file its folder too, which is a training's run.

    Args:
        card: the fields of a ModelCard, as a manifest holds them.

    Returns:
        The name, as a caption has it.

    Example:
        >>> origin = "/runs/train/pgd-1f/best.safetensors"
        >>> model_title({"name": "best.safetensors", "source": "file", "origin": origin})
        'pgd-1f/best.safetensors'
    """
    if card["source"] != "file":
        return str(card["name"])
    path = Path(card.get("origin") or card["name"])
    return f"{path.parent.name}/{path.name}".lstrip("/")


def weights_digest(module: nn.Module) -> str:
    """sha256, in hex, over the module's state: sorted names, dtypes, shapes and bytes.

    Independent of the device, of the file format and of the order of the layers.

    Args:
        module: any.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def module_digest(module: nn.Module) -> str:
    """sha256, in hex, over what the module computes with: the state, and what no state dict holds.

    For every submodule, in order and once a place it stands at: its class; its parameters and buffers, saved or not;
    its plain attributes, which are numbers, texts, None, functions by name, tensors, and tuples or lists of these; and
    the source file of a class that is of no installed package, for a user's own `forward` may change any day.
    Independent of the device, the mode, `requires_grad` and the process; attributes that begin with _ are left out. It
    does not see closures, partials, globals, helper modules or hooks: the answers of `identity.py` are for these.

    Args:
        module: any.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> module_digest(layer) == module_digest(layer.eval())
        True
    """
    digest = hashlib.sha256()
    for name, part in module.named_modules(remove_duplicate=False):
        digest.update(f"module {name!r} {type(part).__module__}.{type(part).__qualname__}\n".encode())
        digest.update(_own_source(type(part)))
        held: dict[str, Any] = dict(part.named_parameters(recurse=False, remove_duplicate=False))
        held |= part.named_buffers(recurse=False, remove_duplicate=False)
        held |= {key: value for key, value in vars(part).items() if _counts(key, value)}
        for key, value in sorted(held.items(), key=itemgetter(0)):
            digest.update(f"{key!r} ".encode())
            for piece in _pieces(value):
                digest.update(piece)
    return digest.hexdigest()


def _own_source(kind: type) -> bytes:
    """The file that defines a class of the user's own; nothing for a package's, or where there is no file."""
    if kind.__module__.partition(".")[0] in {"energylens", "torch"}:
        return b""
    try:
        file = Path(inspect.getsourcefile(kind) or "")
        return b"" if "site-packages" in file.parts else file.read_bytes()
    except (OSError, TypeError):  # typed at a prompt
        return b""


def _counts(key: str, value: Any) -> bool:
    return key != "training" and not key.startswith("_") and _is_plain(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, Number | str | Tensor | FunctionType | BuiltinFunctionType)


def _pieces(value: Any) -> Iterator[Any]:
    """A plain value as bytes that no other has."""
    if isinstance(value, tuple | list):
        yield f"{len(value)} of ".encode()
        for one in value:
            yield from _pieces(one)
    elif isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}\n".encode()
        yield _bytes(value)
    elif isinstance(value, FunctionType | BuiltinFunctionType):
        yield f"{value.__module__}.{value.__qualname__}\n".encode()  # its repr holds an address
    else:
        yield f"{value!r}\n".encode()


def _bytes(value: Tensor) -> Any:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def card_of(module: nn.Module) -> ModelCard:
    """The card of a module from `load_model`; for a user's own module, one with its class name and digest.

    Args:
        module: any.

    Returns:
        Its card, with the digest of when it was loaded.
    """
    card = getattr(module, "card", None)
    if isinstance(card, ModelCard):
        return card
    return ModelCard(name=type(module).__name__, source="module", weights=weights_digest(module))


def current_card(module: nn.Module) -> ModelCard:
    """``card_of`` with the digest of the weights as they are now.

    A loaded model whose weights were changed since is one of the user's own, whatever it was loaded as.

    Args:
        module: any.

    Returns:
        Its card; of source ``module`` where the weights were changed.
    """
    card, weights = card_of(module), weights_digest(module)
    return replace(card, weights=weights, source=card.source if card.weights == weights else "module")


def with_card(module: nn.Module, card: ModelCard) -> nn.Module:
    """The module with the card, completed by the digest, as its attribute `card`.

    Args:
        module: is given the attribute ``card``.
        card: without a digest of its own.

    Returns:
        The module itself.
    """
    vars(module)["card"] = replace(card, weights=weights_digest(module))  # nn.Module types its attributes as tensors
    return module
