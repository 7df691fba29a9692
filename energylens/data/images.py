"""The images contract: float, (N, C, H, W), finite, in [0, 1]; and the labels that go with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from energylens.errors import InputError

ROUNDING = 1e-6  # how far outside [0, 1] float32 arithmetic leaves a pixel: un-normalised, or resized, and back
_COLOURS = (1, 3)  # channels by which an array is known to have them last


def check_images(x: Tensor) -> None:
    """Refuse what is not a batch of images.

    Args:
        x: (N, C, H, W), a floating dtype, finite, in [0, 1] but for ROUNDING, at least one image.

    Raises:
        InputError: for anything else, with what came.

    Example:
        >>> check_images(torch.rand(2, 3, 4, 4) * 255)
        Traceback (most recent call last):
        energylens.errors.InputError: images range over ...
    """
    if not isinstance(x, Tensor):
        raise InputError(f"images are a {type(x).__name__}; expected a torch tensor (torch.as_tensor(images)).")
    if not x.is_floating_point():
        raise InputError(f"images are {x.dtype}; expected float32 in [0, 1]: convert grey levels by x.float() / 255.")
    _check_shape(x)
    low, high = (float(bound) for bound in torch.aminmax(x.detach()))  # NaN propagates into both
    if not -ROUNDING <= low <= high <= 1 + ROUNDING:
        raise InputError(
            f"images range over [{low:.9g}, {high:.9g}]; expected finite values in [0, 1]. "
            "Divide grey levels by 255; normalisation (mean, std) belongs into the model."
        )


def _check_shape(x: Tensor) -> None:
    if x.dim() != 4 or x.numel() == 0:
        raise InputError(f"images have shape {tuple(x.shape)}; expected (N, C, H, W) with at least one image.")


def check_labels(y: Tensor, num_samples: int, num_classes: int | None = None) -> None:
    """Refuse what are not the labels of images.

    Args:
        y: (N,), an integer dtype, in [0, K).
        num_samples: how many images there are, N.
        num_classes: how many classes there are, K; None for any number.

    Raises:
        InputError: for anything else, with what came.
    """
    if not _are_integers(y):
        came = y.dtype if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise InputError(f"labels are {came}; expected an integer torch tensor (torch.as_tensor(labels).long()).")
    if y.shape != (num_samples,):
        raise InputError(f"labels have shape {tuple(y.shape)}; expected ({num_samples},), one for each image.")
    low, high = (int(bound) for bound in torch.aminmax(y))
    if low < 0 or (num_classes is not None and high >= num_classes):
        expected = "0 or more" if num_classes is None else f"[0, {num_classes - 1}]: there are {num_classes} classes"
        raise InputError(f"labels range over [{low}, {high}]; expected {expected}.")


def as_pixels(x: Any) -> tuple[Tensor, list[str]]:
    """Images as a tensor, uint8 grey levels or checked floats, and in words what was converted.

    Args:
        x: (N, C, H, W), a tensor or a numpy array; float in [0, 1] or uint8, these and arrays also with channels last.

    Returns:
        Images (N, C, H, W), uint8 as they came, or float32 in [0, 1], clamped where rounding left them outside; and
        the conversions.

    Raises:
        InputError: for anything else.

    Example:
        >>> pixels, converted = as_pixels(np.zeros((2, 8, 8, 3), np.uint8))
        >>> tuple(pixels.shape), converted[1]
        ((2, 3, 8, 8), 'channels moved from the last place to the second')
    """
    done = []
    if isinstance(x, np.ndarray) and x.dtype.kind in "fiub":
        done.append(f"a numpy array of {x.dtype}")
        x = torch.tensor(np.ascontiguousarray(x))
    grey = isinstance(x, Tensor) and x.dtype == torch.uint8
    if (done or grey) and x.dim() == 4 and x.shape[1] not in _COLOURS and x.shape[3] in _COLOURS:
        x = x.permute(0, 3, 1, 2)
        done.append("channels moved from the last place to the second")
    if not grey:
        check_images(x)
        x = x.detach().float()
        low, high = torch.aminmax(x)
        return (x.clamp(0, 1) if low < 0 or high > 1 else x).contiguous(), done
    _check_shape(x)
    return x.contiguous(), [*done, "uint8 grey levels, divided by 255"]


def brightest(pixels: Tensor) -> int:
    """The largest grey level of pixels (N, C, H, W) of `as_pixels`; 255 for floats, which are what they are.

    Args:
        pixels: as of ``as_pixels``, (N, C, H, W).

    Returns:
        0 to 255.
    """
    return int(pixels.max()) if pixels.dtype == torch.uint8 else 255


def check_levels(largest: int) -> None:
    """Refuse uint8 images, all of them together, whose largest level is 1: they are in [0, 1] already, or masks.

    Args:
        largest: the largest level of all of them.

    Raises:
        InputError: with what mends it.
    """
    if largest == 1:
        raise InputError(
            "images are uint8 and range over [0, 1]; expected grey levels up to 255, or x.float() where they are in "
            "[0, 1] already."
        )


def as_labels(y: Any) -> Tensor:
    """Labels (N,), a tensor, a numpy array or a list of integers, as an int64 tensor; anything else as it is.

    Args:
        y: what a user gives as labels.

    Returns:
        Labels, (N,) int64, where they are integers.
    """
    if isinstance(y, list | tuple | np.ndarray | np.integer | int):
        array = np.asarray(y)
        y = torch.tensor(array) if array.dtype.kind in "iufb" else y
    given: Tensor = y
    return given.detach().to(torch.int64) if _are_integers(given) else given


def _are_integers(y: Any) -> bool:
    return isinstance(y, Tensor) and not y.is_floating_point() and not y.is_complex() and y.dtype != torch.bool


def as_floats(pixels: Tensor) -> Tensor:
    """Pixels (N, C, H, W) of `as_pixels` as float32 in [0, 1].

    Args:
        pixels: as of ``as_pixels``, (N, C, H, W), uint8 or float32 in [0, 1].

    Returns:
        The same images, (N, C, H, W) float32 in [0, 1].
    """
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
