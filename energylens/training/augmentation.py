"""Random shifts and mirrorings of a whole batch as tensor operations, drawn from a generator on its device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation:
    """Images shifted and mirrored at random.

    Attributes:
        shift: pixels an image moves at most, up, down and sideways, black where it came from.
        flip: mirror every second image.
    """

    shift: int = 0
    flip: bool = False

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """x: (N, C, H, W), any type -> the same shape and type."""
        if self.shift:
            x = _shifted(x, self.shift, generator)
        if self.flip:
            mirrored = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
        return x


def _shifted(x: Tensor, shift: int, generator: Generator) -> Tensor:
    n, _, height, width = x.shape
    padded = F.pad(x, (shift,) * 4)
    corner = torch.randint(2 * shift + 1, (2, n, 1), generator=generator, device=x.device)
    rows = corner[0] + torch.arange(height, device=x.device)
    columns = corner[1] + torch.arange(width, device=x.device)
    image = torch.arange(n, device=x.device)[:, None, None]
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "crop-flip": Augmentation(shift=4, flip=True),  # CIFAR's usual one
    "crop": Augmentation(shift=4),
    "shift": Augmentation(shift=1),  # digits of 8x8 pixels
}

_USUAL = {"digits": "shift", "mnist": "none", "svhn": "none"}  # digits have no mirror images


def usual_augmentation(dataset: str) -> str:
    """The augmentation that a data set is usually trained with.

    Args:
        dataset: its name; one that is not known here is taken to be like CIFAR.

    Returns:
        A name in AUGMENTATIONS.
    """
    return _USUAL.get(dataset, "crop-flip")
