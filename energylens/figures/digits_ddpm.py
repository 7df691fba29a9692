"""What the shipped diffusion model draws, beside real digits.

python -m energylens.figures.digits_ddpm docs/digits-ddpm.png
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from energylens.data import load_data
from energylens.diffusion.digits_ddpm import drawn
from energylens.diffusion.loading import load_diffuser
from energylens.plots.images import mosaic, show_image
from energylens.plots.style import in_style

COLUMNS, ROWS = 10, 6


@in_style
def draw(panels: Mapping[str, Tensor]) -> Figure:
    """Draw a mosaic a panel.

    Args:
        panels: title -> images (N, C, H, W) in [0, 1], which stand COLUMNS side by side.

    Returns:
        The picture.
    """
    figure = Figure(figsize=(3.6 * len(panels), 2.6))
    for axes, (title, images) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        show_image(axes, mosaic(images.numpy(), COLUMNS))
        axes.set_title(title)
        axes.set_axis_off()
    return figure


def main(path: Path) -> None:
    """Draw ROWS of each into this file.

    Args:
        path: of the PNG.
    """
    count = COLUMNS * ROWS
    panels = {
        "scikit-learn's digits (test)": load_data("digits", n=count).images,
        "samples of digits-ddpm": drawn(load_diffuser("digits-ddpm"), count),
    }
    draw(panels).savefig(path, dpi=160)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
