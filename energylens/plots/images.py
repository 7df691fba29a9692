"""Images in a picture: one, or several on a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torchvision.utils import make_grid

BETWEEN = 0.6  # the grey between images, which neither ink nor paper is taken for


def show_image(axes: Axes, image: NDArray[Any]) -> None:
    """Show one image without ticks.

    Args:
        axes: where.
        image: (C, H, W) in [0, 1], C 1 or 3.
    """
    axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def mosaic(images: NDArray[Any], columns: int) -> NDArray[Any]:
    """Images on a grid, a grey pixel around each.

    Args:
        images: (N, C, H, W) in [0, 1].
        columns: how many stand side by side.

    Returns:
        One image, (C, rows (H + 1) + 1, columns (W + 1) + 1).

    >>> mosaic(np.zeros((3, 1, 2, 2)), columns=2).shape
    (1, 7, 7)
    """
    grid = make_grid(torch.as_tensor(images), nrow=columns, padding=1, pad_value=BETWEEN)
    return np.asarray(grid[: images.shape[1]])  # torchvision makes three channels of one
