"""What the shipped diffusion model draws, beside real digits.

python -m energylens.figures.digits_ddpm docs/digits-ddpm.png
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from energylens.data import load_data
from energylens.diffusion.digits_ddpm import drawn
from energylens.diffusion.loading import load_diffuser
from energylens.plots.style import STYLE

COLUMNS, ROWS = 10, 6


def draw(panels: Mapping[str, Tensor]) -> Figure:
    """Images (N, C, H, W) in [0, 1] of each panel, on a grid of COLUMNS, under its title."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(panels), 2.6))
        for axes, (title, images) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            axes.imshow(make_grid(images, nrow=COLUMNS, padding=1, pad_value=0.5).permute(1, 2, 0).numpy())
            axes.set_title(title)
            axes.set_axis_off()
    return figure


def main(path: Path) -> None:
    """Draw ROWS of each."""
    count = COLUMNS * ROWS
    panels = {
        "scikit-learn's digits (test)": load_data("digits", n=count).images,
        "samples of digits-ddpm": drawn(load_diffuser("digits-ddpm"), count),
    }
    draw(panels).savefig(path, dpi=160)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
