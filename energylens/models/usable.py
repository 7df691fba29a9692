"""What a module must be before anything is asked of it: a float classifier that lies whole in memory."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from energylens.errors import InputError, RunError, first_line
from energylens.isolation import frozen

_QUANTISERS = ("torchao", "bitsandbytes")  # packages whose tensors hold packed integers
_QUANTISED = "it is quantised, so that no gradient reaches its input: give the float32 model that it was made of"


def check_usable(module: nn.Module, name: str, *, lazy: bool = False) -> None:
    """Refuse a module that is quantised, lazy, without values or sparse: nothing here can attack or digest it.

    Args:
        module: of the user's, or loaded.
        name: of the model, for the error.
        lazy: its shapes may be open still, weights are about to give them.

    Raises:
        InputError: with the part at fault and what mends it.
    """
    for part_name, part in module.named_modules():
        kind = type(part)
        if ".quantized" in kind.__module__:
            raise InputError(f"{name} cannot be used: {part_name or 'the model'} is a {kind.__name__}; {_QUANTISED}")
    for key, value in _state(module):
        if not (lazy and is_lazy(value)) and (fault := _fault(value)):
            raise InputError(f"{name} cannot be used: {key} {fault}")


def _state(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """All that the module computes with, saved or not, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()
    for name, part in module.named_modules():
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            yield f"{name}.extra_state".lstrip("."), part.get_extra_state()


def _fault(value: Any) -> str | None:
    """What is wrong with one tensor, and what mends it; None where nothing is."""
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}; a state of tensors was expected: register it as a buffer"
    if is_lazy(value):
        return "has no shape yet, its layer is lazy: run one batch through the model first"
    if value.is_meta:
        return "lies on the device meta and has no values: build the model on the CPU and load its weights"
    if value.is_quantized or type(value).__module__.partition(".")[0] in _QUANTISERS:
        return f"is a {type(value).__name__} of {value.dtype}: {_QUANTISED}"
    if value.layout != torch.strided:
        return f"is a sparse tensor ({value.layout}): register its .to_dense()"
    return None


def device_of(module: nn.Module) -> torch.device:
    """Where the module's parameters lie; the CPU for a module without any.

    Args:
        module: any.

    Returns:
        The device of its first parameter.
    """
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def check_logits(logits: Any, images: int) -> Tensor:
    """What a model answered, where it is a classifier's logits.

    Args:
        logits: the answer.
        images: how many images it was given, N.

    Returns:
        The logits (N, K), of a floating dtype, K >= 2.

    Raises:
        InputError: for anything else that a model may answer, with what mends it.
    """
    expected = f"expected logits of shape ({images}, classes)"
    if not isinstance(logits, Tensor):
        raise InputError(f"the model gives a {type(logits).__name__}; {expected}: wrap it to return its logits alone")
    if logits.dim() != 2 or len(logits) != images:
        raise InputError(f"the model gives shape {tuple(logits.shape)} for {images} images; {expected}")
    if not logits.is_floating_point():
        raise InputError(f"the model gives {logits.dtype}; {expected}, before any argmax")
    if logits.shape[1] < 2:
        raise InputError(
            f"the model gives {logits.shape[1]} logit{'s' * (logits.shape[1] != 1)}; a classifier has 2 or more: give "
            "two classes the logits (0, z), torch.cat([torch.zeros_like(z), z], dim=1)"
        )
    return logits


@torch.no_grad()
def float_logits(model: nn.Module, x: Tensor, indices: Sequence[int]) -> Tensor:
    """Float32 logits of images, without a graph.

    Args:
        model: images -> logits.
        x: (N, C, H, W), in [0, 1].
        indices: N numbers of the samples, for the error.

    Returns:
        (N, K) float32, finite.

    Raises:
        RunError: where logits are not finite.
    """
    return checked_logits(model(x), indices)


def checked_logits(logits: Tensor, indices: Sequence[int]) -> Tensor:
    """The logits as float32, refused where they are not finite: an energy would mean nothing.

    Args:
        logits: (N, K), of a floating dtype.
        indices: N numbers of the samples, to name the first bad one.

    Returns:
        (N, K) float32.

    Raises:
        RunError: where they are not finite.
    """
    logits = logits.float()
    bad = ~logits.isfinite().all(dim=1)
    if bad.any():
        sample = indices[int(bad.nonzero()[0])]
        raise RunError(f"the model gives NaN or infinite logits for sample {sample}: check its weights and their scale")
    return logits


def wanted_dtype(model: nn.Module, x: Tensor) -> str | None:
    """The type of a model's weights, ``float64``, where it takes images of that type and not float32 ones.

    Args:
        model: any module; it is left as it was.
        x: (N, C, H, W), float32 in [0, 1], on any device.

    Returns:
        The type's name; None where that is not what keeps them apart.
    """
    x = x.to(device_of(model))
    if _takes(model, x):
        return None
    return next((_named(kind) for kind in _kinds(model) if _takes(model, x.to(kind))), None)


def _kinds(model: nn.Module) -> set[torch.dtype]:
    """The types of its weights and buffers."""
    return {tensor.dtype for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()}


def _named(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _asked(model: nn.Module, x: Tensor) -> Any:
    """Whatever the model answers to images x; it is left as it was."""
    with frozen(model), torch.no_grad():
        return model(x)


def _takes(model: nn.Module, x: Tensor) -> bool:
    try:
        _asked(model, x)
    except Exception:  # whatever a user's network raises
        return False
    return True


BUGS = (NameError, AttributeError, ImportError, KeyError)  # what no shape of an image explains


def _place_of(error: BaseException) -> str:
    """`` (my_models.py, line 12)``: the last line outside of torch that the error passed, if there is one."""
    frames = [at for at in traceback.extract_tb(error.__traceback__) if "torch" not in Path(at.filename).parts]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def logits_of(model: nn.Module, x: Tensor, title: str) -> Tensor:
    """The logits of an image (1, C, H, W), (1, K).

    Args:
        model: any module; it is left as it was.
        x: the image, (1, C, H, W) in [0, 1], on any device.
        title: of the data set, for errors.

    Returns:
        The logits, (1, K).

    Raises:
        InputError: where the model cannot give them, with what mends it.
    """
    try:
        logits = _asked(model, x.to(device_of(model)))
    except Exception as error:  # whatever a user's network raises at a shape it was not made for
        reason = first_line(error)
        if kind := wanted_dtype(model, x):
            raise InputError(
                f"the model computes in {kind} and does not take float32 images ({reason}): convert it with "
                "model.float()"
            ) from error
        if isinstance(error, BUGS):
            raise InputError(
                f"the model's own code fails: {type(error).__name__}: {reason}{_place_of(error)}"
            ) from error
        coarse = ", ".join(sorted(map(_named, _kinds(model) - {torch.float32})))
        convert = f", or convert its {coarse} weights with model.float()" if coarse else ""
        raise InputError(
            f"the model does not take {title}'s images of shape {tuple(x.shape[1:])} ({reason}): "
            f"choose the data set it was trained on{convert}"
        ) from error
    return check_logits(logits, 1)


class FloatLogits(nn.Module):
    """A model whose logits are float32, whatever it computes in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, x: Tensor) -> Tensor:
        """The model's logits in float32.

        Args:
            x: images, (N, C, H, W) in [0, 1].

        Returns:
            Logits, (N, K) float32.
        """
        logits: Tensor = self._model(x)
        return logits.float()
