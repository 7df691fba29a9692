"""What a loaded model is: where it came from, what was published about it, and the digest of its weights."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import nn


@dataclass(frozen=True)
class ModelCard:
    """The provenance that a loaded module carries as `module.card`.

    name: the full name (`Carmon2019Unlabeled`), the path or the address it was asked for by.
    source: `energylens`, `pyautoattack`, `robustbench`, `file`, `factory`, `timm`, `torchvision`, `hf` or `module`.
    threat_model: `Linf`, `L2` or `corruptions`. eps: the radius, in units of images in [0, 1].
    clean, autoattack: published accuracies in %.
    preprocessing: how the benchmark resizes and crops, in RobustBench's words (`Res256Crop224`).
    weights: `weights_digest` of the module. origin: the path or URL that the weights came from.
    """

    name: str
    source: str
    dataset: str | None = None
    threat_model: str | None = None
    eps: float | None = None
    architecture: str | None = None
    clean: float | None = None
    autoattack: float | None = None
    preprocessing: str | None = None
    weights: str | None = None
    origin: str | None = None


def weights_digest(module: nn.Module) -> str:
    """sha256, in hex, over the module's state: sorted names, dtypes, shapes and bytes.

    Independent of the device, of the file format and of the order of the layers.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def card_of(module: nn.Module) -> ModelCard:
    """The card of a module from `load_model`; for a user's own module, one with its class name and digest."""
    card = getattr(module, "card", None)
    if isinstance(card, ModelCard):
        return card
    return ModelCard(name=type(module).__name__, source="module", weights=weights_digest(module))


def with_card(module: nn.Module, card: ModelCard) -> nn.Module:
    """The module with the card, completed by the digest, as its attribute `card`."""
    vars(module)["card"] = replace(card, weights=weights_digest(module))  # nn.Module types its attributes as tensors
    return module
