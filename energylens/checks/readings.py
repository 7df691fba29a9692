"""Other ways in which a model may want the same images, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """Another way to hand over the same images. check: the name of the check that reports it.

    of: images (n, C, H, W) in [0, 1] -> what the model is given.
    """

    name: str
    check: str
    of: Callable[[Tensor], Tensor]
    meaning: str
    remedy: str


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel.

    Those of n images are within a few percent of the data set's usual ones, which does not change an accuracy.
    """
    return x.mean(dim=(0, 2, 3), keepdim=True), x.std(dim=(0, 2, 3), keepdim=True).clamp_min(1 / 255)


def _normalised(x: Tensor) -> Tensor:
    mean, std = _moments(x)
    return (x - mean) / std


def _denormalised(x: Tensor) -> Tensor:
    mean, std = _moments(x)
    return x * std + mean


READINGS = (
    Reading("[0, 255]", "range", lambda x: 255 * x, "it was made for grey levels", "put x * 255 before it"),
    Reading("[-1, 1]", "range", lambda x: 2 * x - 1, "it was made for images in [-1, 1] or normalised alike",
            "give its --mean and --std, 0.5,0.5,0.5 twice for [-1, 1]"),
    Reading("normalised images", "normalisation", _normalised,
            "it was trained on normalised images and nobody normalises", "give its --mean and --std"),
    Reading("x * std + mean", "normalisation", _denormalised,
            "images are normalised twice", "leave --mean and --std away, or the model's own layer"),
)  # fmt: skip
