"""What a profile looks at: a model and samples, from names or as they are, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from energylens.data import Samples, data_set, load_data
from energylens.errors import InputError, RunError
from energylens.models import ModelCard, find_models, load_model

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
        return load_model(model, device=_device(device), **known | options)
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a name or a torch.nn.Module, not a {type(model).__name__}")
    if options:
        raise InputError(f"{', '.join(options)} go with a model given by name: this one is a {type(model).__name__}")
    if device != "auto" and _device(device).type != device_of(model).type:
        raise InputError(f"the model lies on {device_of(model)}, not on {device}: move it there first")
    return model


def _device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}): try cpu") from error
    return device


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters lie; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def the_samples(data: Data, card: ModelCard, *, n: int | None, **choice: Any) -> Samples:
    """The samples themselves, or n of the data set of this name, by default of the model's own and DEFAULT_SAMPLES.

    choice: the other arguments of ``load_data``. Raises InputError.
    """
    if isinstance(data, Samples):
        return data
    if isinstance(data, tuple):
        return Samples.from_tensors(*data)
    name = data or card.dataset
    if name is None:
        raise InputError(f"model {card.name} does not say which data set it was trained on: name one with --dataset")
    preprocessing = card.preprocessing if name == card.dataset else None
    everything = load_data(name, split=choice["split"], root=choice["root"], preprocessing=preprocessing)
    size = min(DEFAULT_SAMPLES, len(everything)) if n is None else n
    return load_data(name, n=size, preprocessing=preprocessing, **choice)


def usual_radius(card: ModelCard, samples: Samples, norm: str) -> float:
    """The radius the model was made for, else its data set's usual one. Raises InputError where neither is known."""
    if card.eps is not None and NORMS_OF.get(card.threat_model or "") == norm:
        return card.eps
    try:
        return data_set(samples.name).default_eps[norm]
    except (InputError, KeyError):
        raise InputError(f"no usual eps is known for {samples.name} in {norm}: give one with --eps") from None


def check_fit(model: nn.Module, samples: Samples) -> None:
    """One image through the model before anything is written: does it take this shape, give these classes?

    Raises InputError where they do not fit, RunError where the logits are not finite.
    """
    x, _ = samples.batch(0, 1)
    try:
        with torch.no_grad():
            logits = model(x.to(device_of(model)))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the model does not take {samples.name}'s images of shape {samples.image_shape} "
            f"({str(error).splitlines()[0]}): choose the data set it was trained on"
        ) from error
    classes = len(samples.classes)
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        came = f"logits of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InputError(
            f"the model gives {came} for one image, but {samples.name} has {classes} classes and (1, {classes}) was "
            "expected: choose the data set it was trained on"
        )


@torch.no_grad()
def float_logits(model: nn.Module, x: Tensor, indices: Sequence[int]) -> Tensor:
    """Float32 logits (N, K), refused where they are not finite: an energy would mean nothing.

    indices: the samples' own, to name the first bad one in the RunError.
    """
    logits: Tensor = model(x).float()
    bad = ~logits.isfinite().all(dim=1)
    if bad.any():
        sample = indices[int(bad.nonzero()[0])]
        raise RunError(f"the model gives NaN or infinite logits for sample {sample}: check its weights and their scale")
    return logits
