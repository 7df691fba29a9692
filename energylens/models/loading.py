"""`load_model`: a name, a path or an address -> an eval-mode module on images in [0, 1]."""

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from energylens.data.preprocessing import preprocessing_named
from energylens.errors import InputError, RunError
from energylens.models.architectures import normalized
from energylens.models.architectures.layers import check_range
from energylens.models.card import ModelCard, with_card
from energylens.models.elsewhere import load_hub, load_timm, load_torchvision
from energylens.models.measured import Pixels
from energylens.models.robustbench import load_robustbench
from energylens.models.threat_models import threat_model_named
from energylens.models.usable import check_usable
from energylens.models.users_network import Maker, load_factory
from energylens.models.weights_file import SUFFIXES, load_weights_file
from energylens.models.zoo import ZooRow, resolve, shipped_weights

Loaded = tuple[nn.Module, ModelCard]


@dataclass(frozen=True)
class Request:
    """What `load_model` was asked for, apart from the device."""

    name: str
    dataset: str | None
    threat_model: str | None
    model_dir: Path
    arch: str | Maker | None
    arch_args: Mapping[str, Any] | None
    weights_key: str | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    num_classes: int | None
    trust_pickle: bool
    preprocessing: str | None

    def refuse(self, *options: str) -> None:
        """InputError if one of these options was given: this kind of model knows the answer itself."""
        given = [option for option in options if getattr(self, option) is not None]
        if given:
            raise InputError(
                f"{', '.join(given)} cannot be given for {self.name}, which says so itself: "
                f"leave out, or name a weights file ({', '.join(SUFFIXES)})"
            )


def load_model(
    name: str | Path,
    *,
    dataset: str | None = None,
    threat_model: str | None = None,
    model_dir: str | Path | None = None,
    arch: str | Maker | None = None,
    arch_args: Mapping[str, Any] | None = None,
    weights_key: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    num_classes: int | None = None,
    trust_pickle: bool = False,
    preprocessing: str | None = None,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """A classifier on float images in [0, 1], in eval mode, its parameters frozen, with its ModelCard as `module.card`.

    name: one of
      - a name of the zoo or its unambiguous beginning (`Carmon2019`); `find_models` lists them
      - the path of a weights file (.safetensors, .pt, .pth, .th, .ckpt)
      - `package.module:factory`, a callable of yours
      - `timm:NAME`, `torchvision:NAME`, `hf:OWNER/REPO`
    dataset, threat_model: narrow a zoo name; for the other kinds, what to write on the card. threat_model: Linf, L2 or
    corruptions, in any case.
    model_dir: where weights lie and downloads go; else $ENERGYLENS_MODELS, else ~/.cache/energylens/models.
    arch, num_classes: for a weights file without a JSON beside it. arch: a name of ours, or a class or factory of yours
    or its address `package.module:name`, called with arch_args.
    arch_args: arguments of the architecture by name, also of `name` where that is a callable of yours.
    weights_key: which of several sets of weights in a file, such as `state_dict_ema`; a Note says which was taken.
    mean, std: one float a channel, for a weights file or a factory whose model expects normalised images.
    trust_pickle: let a checkpoint run the code it carries; one that holds a whole module then needs no arch.
    preprocessing: how the pictures of a data set become the model's images, as `resize=256,crop=224` or RobustBench's
    `Res256Crop224`, instead of what is known of the model. With mean and std also for `timm:`, `torchvision:` and
    `hf:`, which then are not asked.
    Raises InputError for a request that cannot be met, RunError if disk or network fail.
    """
    threat_model = None if threat_model is None else threat_model_named(threat_model)
    if preprocessing is not None:
        preprocessing = preprocessing_named(preprocessing).name
    request = Request(
        str(name), dataset, threat_model, _model_dir(model_dir), arch, arch_args or None, weights_key,
        mean, std, num_classes, trust_pickle, preprocessing,
    )  # fmt: skip
    module, card = _loader(str(name))(request)
    card = replace(card, preprocessing=preprocessing or card.preprocessing)
    check_usable(module, card.name)
    module = module.eval()
    for parameter in module.parameters():  # one by one: a TorchScript module does not take it as a whole
        parameter.requires_grad_(False)
    try:
        module = module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"cannot put {name} on device {str(device)!r} ({str(error).splitlines()[0]})") from error
    return with_card(module, card)


def _from_file(request: Request) -> Loaded:
    module, card = load_weights_file(
        Path(request.name).expanduser(),
        arch=request.arch,
        arch_args=request.arch_args,
        weights_key=request.weights_key,
        mean=request.mean,
        std=request.std,
        num_classes=request.num_classes,
        trust_pickle=request.trust_pickle,
    )
    return module, _annotated(card, request)


def _from_factory(request: Request) -> Loaded:
    request.refuse("arch", "num_classes", "weights_key")
    module, card = load_factory(request.name, request.arch_args or {})
    return normalized(module, request.mean, request.std), _annotated(card, request)


def _from_package(load: Callable[[str, Pixels | None], Loaded]) -> Callable[[Request], Loaded]:
    def loader(request: Request) -> Loaded:
        pixels = _told_pixels(request)
        told = () if pixels is not None else ("mean", "std")
        request.refuse("arch", "arch_args", "num_classes", "weights_key", *told)
        module, card = load(request.name.partition(":")[2], pixels)
        return module, _annotated(card, request)

    return loader


def _told_pixels(request: Request) -> Pixels | None:
    """What the user says of the model's input, where he says all of it."""
    if request.preprocessing is None or request.mean is None or request.std is None:
        return None
    check_range(request.mean, request.std)
    return Pixels(preprocessing_named(request.preprocessing), tuple(request.mean), tuple(request.std))


def _from_zoo(request: Request) -> Loaded:
    row = resolve(request.name, dataset=request.dataset, threat_model=request.threat_model)
    request.refuse("arch", "arch_args", "num_classes", "weights_key", "mean", "std")
    return _ZOO_SOURCES[row.source](row, request)


def _shipped(row: ZooRow, request: Request) -> Loaded:
    path = shipped_weights(row)
    if not path.is_file():
        raise RunError(
            f"{path} is missing from this installation: reinstall energylens to get the weights of {row.name}"
        )
    module, card = load_weights_file(path)
    return module, _with_row(card, row)


def _pyautoattack(row: ZooRow, request: Request) -> Loaded:
    package = importlib.util.find_spec("pyautoattack")  # only to locate it: importing it is slow
    if package is None or package.origin is None:
        raise RunError(f"the weights of {row.name} lie in the package pyautoattack: pip install pyautoattack")
    module, card = load_weights_file(Path(package.origin).parent / "examples" / "model_test.pt", arch=row.architecture)
    return module, _with_row(card, row)


def _robustbench(row: ZooRow, request: Request) -> Loaded:
    return load_robustbench(row, model_dir=request.model_dir, trust_pickle=request.trust_pickle)


_ZOO_SOURCES: dict[str, Callable[[ZooRow, Request], Loaded]] = {
    "energylens": _shipped,
    "pyautoattack": _pyautoattack,
    "robustbench": _robustbench,
}

_PREFIXES: dict[str, Callable[[Request], Loaded]] = {
    "timm": _from_package(load_timm),
    "torchvision": _from_package(load_torchvision),
    "hf": _from_package(load_hub),
}


def _loader(name: str) -> Callable[[Request], Loaded]:
    """Which kind of model a name means, by its form."""
    if name.lower().endswith(SUFFIXES) or Path(name).expanduser().is_file():
        return _from_file
    prefix, colon, _ = name.partition(":")
    if colon:
        return _PREFIXES.get(prefix, _from_factory)
    return _from_zoo


def _model_dir(asked: str | Path | None) -> Path:
    return Path(asked or os.environ.get("ENERGYLENS_MODELS") or "~/.cache/energylens/models").expanduser()


def _annotated(card: ModelCard, request: Request) -> ModelCard:
    """The card with what the user says of a model that the zoo does not know."""
    return replace(
        card,
        dataset=request.dataset or card.dataset,
        labels=card.labels if request.dataset in (None, card.dataset) else None,
        threat_model=request.threat_model or card.threat_model,
        mean=tuple(request.mean) if request.mean else None,
        std=tuple(request.std) if request.std else None,
        arch_args=tuple(f"{name}={value!r}" for name, value in (request.arch_args or {}).items()) or None,
    )


def _with_row(card: ModelCard, row: ZooRow) -> ModelCard:
    """A weights file's card with the name and facts of its zoo row."""
    return replace(
        card,
        name=row.name,
        source=row.source,
        dataset=row.dataset,
        threat_model=row.threat_model,
        eps=row.eps,
        clean=row.clean,
        autoattack=row.autoattack,
    )
