"""What a profile looks at: a model and samples, from names or as they are, and whether they fit each other."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from energylens.attacks.frozen import frozen
from energylens.data import DATA_SETS, Samples, data_set, load_data
from energylens.errors import InputError, RunError
from energylens.models import ModelCard, find_models, load_model
from energylens.shards import launched_ranks

DEFAULT_SAMPLES = 256
NORMS_OF = {"Linf": "linf", "L2": "l2"}  # RobustBench's threat models as norms

Data = str | Samples | tuple[Tensor, Tensor] | None


def the_module(model: str | nn.Module, data: Data, device: str, options: dict[str, Any]) -> nn.Module:
    """The module itself, used where it lies, or the one of this name, loaded onto the device.

    device: ``auto`` or a torch device. options: of ``load_model``. Raises InputError.
    """
    benchmark = data_set(data).name if isinstance(data, str) else None
    if isinstance(model, str):
        # the data set tells which of a name's models is meant, where it is one that models are listed for
        known = {"dataset": benchmark} if benchmark in {row.dataset for row in find_models()} else {}
        check_reading(options)
        return load_model(model, device=the_device(device), **known | options)
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a name or a torch.nn.Module, not a {type(model).__name__}")
    if options:
        raise InputError(f"{', '.join(options)}: not for a model given as a module, only for one given by name")
    if device != "auto" and the_device(device).type != device_of(model).type:
        raise InputError(f"the model lies on {device_of(model)}, not on {device}: move it there first")
    return model


def check_reading(options: dict[str, Any]) -> None:
    """Refuse arguments that ``load_model`` does not have."""
    unknown = [name for name in options if name not in inspect.signature(load_model).parameters]
    if unknown:
        raise InputError(f"unknown argument {unknown[0]!r}: neither this function nor load_model has it")


def the_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the GPU where there is one, each process of a launcher its own."""
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", launched_ranks().local % torch.cuda.device_count())
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}): try cpu") from error
    return device


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters lie; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def the_samples(data: Data, card: ModelCard, model: nn.Module, *, n: int | None, **choice: Any) -> Samples:
    """The samples themselves, or n of the data set of this name, by default of the model's own and DEFAULT_SAMPLES.

    choice: choose, split, seed and root of ``load_data``. What ``whole_split`` says of classes holds here too.
    Raises InputError.
    """
    if isinstance(data, Samples | tuple) and n is not None:
        raise InputError("n goes with a data set given by name: choose among your own samples yourself")
    everything = whole_split(data, card, model, split=choice["split"], root=choice["root"])
    if isinstance(data, Samples | tuple):
        return everything
    size = min(DEFAULT_SAMPLES, len(everything)) if n is None else n
    return everything.choose(size, choice["choose"], choice["seed"])


def whole_split(data: Data, card: ModelCard, model: nn.Module, *, split: str, root: str | Path | None) -> Samples:
    """The samples themselves, or all of a split of the data set of this name, by default of the model's own.

    Of the model's own data set only the classes that it was trained on, numbered as its logits are. A pair of tensors
    has as many classes as the model. Raises InputError.
    """
    if isinstance(data, Samples | tuple):
        return data if isinstance(data, Samples) else _from_tensors(data, model)
    if data is not None and not isinstance(data, str):
        raise InputError(f"data are a {type(data).__name__}; expected a name, Samples or a pair (x, y) of tensors")
    name = data or card.dataset
    if name is None:
        raise InputError(f"model {card.name} does not say which data set it was trained on: name one with --dataset")
    labels = card.labels if name == card.dataset else None
    return load_data(name, classes=labels, split=split, root=root, preprocessing=card.preprocessing)


def _from_tensors(pair: tuple[Tensor, Tensor], model: nn.Module) -> Samples:
    """A user's own images and labels, with a class a logit of the model."""
    if len(pair) != 2:
        raise InputError(f"data are {len(pair)} things; expected a pair (x, y) of images and labels")
    x, y = pair
    samples = Samples.from_tensors(x, y)
    return Samples.from_tensors(x, y, classes=[str(label) for label in range(_logits_of(model, samples).shape[1])])


def usual_radius(card: ModelCard, samples: Samples, norm: str) -> float | None:
    """The radius the model was made for, else its data set's usual one, else None."""
    if card.eps is not None and NORMS_OF.get(card.threat_model or "") == norm:
        return card.eps
    row = DATA_SETS.get(samples.name)
    return None if row is None else row.default_eps.get(norm)


def check_fit(model: nn.Module, card: ModelCard, samples: Samples) -> None:
    """One image through the model before anything is written: does it take this shape, give these classes?

    Raises InputError where they do not fit.
    """
    made_for = DATA_SETS.get(card.dataset or "")
    if made_for is not None and made_for.image_shape[0] != samples.image_shape[0]:
        # the normalisation of many networks would broadcast one channel to three without a word
        raise InputError(
            f"{card.name} was made for {made_for.name}'s {made_for.image_shape[0]} channels, {samples.title} has "
            f"{samples.image_shape[0]}: choose the data set it was trained on"
        )
    logits, classes = _logits_of(model, samples), len(samples.classes)
    if logits.shape[1] != classes:
        raise InputError(
            f"the model gives {logits.shape[1]} logits, {samples.title} has {classes} classes: "
            "choose the data set it was trained on"
        )


def _logits_of(model: nn.Module, samples: Samples) -> Tensor:
    """The logits of the first sample, (1, K); InputError where the model cannot give them."""
    x, _ = samples.batch(0, 1)
    try:
        with frozen(model), torch.no_grad():
            logits = model(x.to(device_of(model)))
    except Exception as error:  # whatever a user's network raises at a shape it was not made for
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"the model does not take {samples.title}'s images of shape {samples.image_shape} ({reason}): "
            "choose the data set it was trained on"
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 1:
        came = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InputError(f"the model gives {came} for one image; expected logits of shape (1, classes)")
    return logits


@torch.no_grad()
def float_logits(model: nn.Module, x: Tensor, indices: Sequence[int]) -> Tensor:
    """Float32 logits (N, K) of images x; see ``checked_logits``."""
    return checked_logits(model(x), indices)


def checked_logits(logits: Tensor, indices: Sequence[int]) -> Tensor:
    """The logits (N, K) as float32, refused where they are not finite: an energy would mean nothing.

    indices: the samples' own, to name the first bad one in the RunError.
    """
    logits = logits.float()
    bad = ~logits.isfinite().all(dim=1)
    if bad.any():
        sample = indices[int(bad.nonzero()[0])]
        raise RunError(f"the model gives NaN or infinite logits for sample {sample}: check its weights and their scale")
    return logits
