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
from energylens.errors import InputError, RunError, first_line
from energylens.models.architectures import normalized
from energylens.models.architectures.layers import check_range
from energylens.models.card import ModelCard, with_card
from energylens.models.elsewhere import load_hub, load_timm, load_torchvision
from energylens.models.measured import Pixels
from energylens.models.robustbench import load_robustbench
from energylens.models.threat_models import threat_model_named
from energylens.models.usable import check_usable
from energylens.models.users_network import Maker, load_factory
from energylens.models.weights_file import SUFFIXES, Given, load_weights_file
from energylens.models.zoo import ZooRow, resolve, shipped_weights

Loaded = tuple[nn.Module, ModelCard]

#: What a card of a model of the zoo takes from its row.
_FACTS = ("name", "source", "dataset", "threat_model", "eps", "architecture", "clean", "autoattack", "preprocessing")


@dataclass(frozen=True)
class Request:
    """What `load_model` was asked for, apart from the device.

    Attributes:
        name: as the user wrote it.
        dataset: the data set's name, as he wrote it.
        threat_model: as RobustBench calls it.
        model_dir: where weights lie and downloads go.
        preprocessing: a name that `preprocessing_named` gave.
        given: what he says of the network and its weights.
    """

    name: str
    dataset: str | None
    threat_model: str | None
    model_dir: Path
    preprocessing: str | None
    given: Given

    def refuse(self, *options: str) -> None:
        """Refuse options where this kind of model knows the answer itself.

        Args:
            *options: their names as of ``load_model``.

        Raises:
            InputError: if one of them was given.
        """
        given = [option for option in options if getattr(self.given, option) is not None]
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

    Args:
        name: one of

            - a name of the zoo or its unambiguous beginning (`Carmon2019`); `find_models` lists them
            - the path of a weights file (.safetensors, .pt, .pth, .th, .ckpt)
            - `package.module:factory`, a callable of yours
            - `timm:NAME`, `torchvision:NAME`, `hf:OWNER/REPO`

        dataset: narrows a zoo name; for the other kinds, what to write on the card.
        threat_model: Linf, L2 or corruptions, in any case; narrows or is written as dataset.
        model_dir: where weights lie and downloads go; else $ENERGYLENS_MODELS, else ~/.cache/energylens/models.
        arch: of a weights file without a JSON beside it: a name of ours, or a class or factory of yours or its address
            `package.module:name`, called with arch_args.
        arch_args: arguments of the architecture by name, also of `name` where that is a callable of yours.
        weights_key: which of several sets of weights in a file, such as `state_dict_ema`; a Note says which was taken.
        mean: one float a channel, for a weights file or a factory whose model expects normalised images; with
            preprocessing also for `timm:`, `torchvision:` and `hf:`, which then are not asked.
        std: one float a channel, in (0, 1]; goes with mean.
        num_classes: logits of an architecture of ours, where neither the JSON nor the weights tell.
        trust_pickle: let a checkpoint run the code it carries; one that holds a whole module then needs no arch.
        preprocessing: how the pictures of a data set become the model's images, as `resize=256,crop=224` or
            RobustBench's `Res256Crop224`, instead of what is known of the model.
        device: where the module goes.

    Returns:
        The module: images (N, C, H, W), float32 in [0, 1] -> logits (N, K).

    Raises:
        InputError: for a request that cannot be met.
        RunError: if disk or network fail.

    Example:
        >>> model = load_model("digits-pgd")
        >>> tuple(model(torch.rand(2, 1, 8, 8)).shape), model.card.threat_model
        ((2, 10), 'Linf')
    """
    threat_model = None if threat_model is None else threat_model_named(threat_model)
    if preprocessing is not None:
        preprocessing = preprocessing_named(preprocessing).name
    folder = Path(model_dir or os.environ.get("ENERGYLENS_MODELS") or "~/.cache/energylens/models").expanduser()
    given = Given(arch, arch_args or None, weights_key, mean, std, num_classes, trust_pickle)
    request = Request(str(name), dataset, threat_model, folder, preprocessing, given)
    module, card = _loader(str(name))(request)
    card = replace(card, preprocessing=preprocessing or card.preprocessing)
    check_usable(module, card.name)
    module = module.eval()
    for parameter in module.parameters():  # one by one: a TorchScript module does not take it as a whole
        parameter.requires_grad_(False)
    try:
        module = module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"cannot put {name} on device {str(device)!r} ({first_line(error)})") from error
    return with_card(module, card)


def _from_file(request: Request) -> Loaded:
    module, card = load_weights_file(Path(request.name).expanduser(), request.given)
    return module, _annotated(card, request)


def _from_factory(request: Request) -> Loaded:
    request.refuse("arch", "num_classes", "weights_key")
    module, card = load_factory(request.name, request.given.arch_args or {})
    return normalized(module, request.given.mean, request.given.std), _annotated(card, request)


def _from_package(request: Request) -> Loaded:
    pixels = _told_pixels(request)
    told = () if pixels is not None else ("mean", "std")
    request.refuse("arch", "arch_args", "num_classes", "weights_key", *told)
    package, _, name = request.name.partition(":")
    module, card = _PACKAGES[package](name, pixels)
    return module, _annotated(card, request)


def _told_pixels(request: Request) -> Pixels | None:
    """What the user says of the model's input, where he says all of it."""
    mean, std = request.given.mean, request.given.std
    if request.preprocessing is None or mean is None or std is None:
        return None
    check_range(mean, std)
    return Pixels(preprocessing_named(request.preprocessing), tuple(mean), tuple(std))


def _from_zoo(request: Request) -> Loaded:
    row = resolve(request.name, dataset=request.dataset, threat_model=request.threat_model)
    request.refuse("arch", "arch_args", "num_classes", "weights_key", "mean", "std")
    module, card = _ZOO_SOURCES[row.source](row, request)
    return module, replace(card, **{fact: getattr(row, fact) for fact in _FACTS})


def _shipped(row: ZooRow, request: Request) -> Loaded:
    return load_weights_file(shipped_weights(row), Given())


def _pyautoattack(row: ZooRow, request: Request) -> Loaded:
    package = importlib.util.find_spec("pyautoattack")  # only to locate it: importing it is slow
    if package is None or package.origin is None:
        raise RunError(f"the weights of {row.name} lie in the package pyautoattack: pip install pyautoattack")
    weights = Path(package.origin).parent / "examples" / "model_test.pt"
    return load_weights_file(weights, Given(arch=row.architecture))


def _robustbench(row: ZooRow, request: Request) -> Loaded:
    return load_robustbench(row, model_dir=request.model_dir, trust_pickle=request.given.trust_pickle)


_ZOO_SOURCES: dict[str, Callable[[ZooRow, Request], Loaded]] = {
    "energylens": _shipped,
    "pyautoattack": _pyautoattack,
    "robustbench": _robustbench,
}

_PACKAGES: dict[str, Callable[[str, Pixels | None], Loaded]] = {
    "timm": load_timm,
    "torchvision": load_torchvision,
    "hf": load_hub,
}


def _loader(name: str) -> Callable[[Request], Loaded]:
    """Which kind of model a name means, by its form."""
    if name.lower().endswith(SUFFIXES) or Path(name).expanduser().is_file():
        return _from_file
    prefix, colon, _ = name.partition(":")
    if colon:
        return _from_package if prefix in _PACKAGES else _from_factory
    return _from_zoo


def _annotated(card: ModelCard, request: Request) -> ModelCard:
    """The card with what the user says of a model that the zoo does not know."""
    given = request.given
    return replace(
        card,
        dataset=request.dataset or card.dataset,
        labels=card.labels if request.dataset in (None, card.dataset) else None,
        threat_model=request.threat_model or card.threat_model,
        mean=tuple(given.mean) if given.mean else None,
        std=tuple(given.std) if given.std else None,
        arch_args=tuple(f"{name}={value!r}" for name, value in (given.arch_args or {}).items()) or None,
    )
