"""Generated images over the spread of their start and the variance its components retain."""

from __future__ import annotations

from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from energylens.plots.style import FAINT, STYLE

COLUMNS = 5  # images of a cell side by side


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.generation_grid.spread_and_variance`` returns: the first images of each pair."""
    spreads, variances = (list(table[name].unique()) for name in ("spread", "retained_variance"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.8 * len(variances), 0.85 * len(spreads) + 0.6))
        grid = figure.subplots(len(spreads), len(variances), squeeze=False)
        for (_, cell), images in zip(table.iterrows(), table.attrs["images"], strict=True):
            row, column = spreads.index(cell["spread"]), variances.index(cell["retained_variance"])
            axes = grid[row][column]
            axes.imshow(_mosaic(images), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(f"distance {cell['frechet']:.0f}, coverage {cell['coverage']:.2f}", fontsize=6, pad=2)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(f"spread {cell['spread']:g}", fontsize=7)
            if row == len(spreads) - 1:
                axes.set_xlabel(f"retained variance {cell['retained_variance']:g}", fontsize=7)
        figure.supxlabel(
            fill(f"Distance: {table.attrs['frechet']}. {table.attrs['caption']}", 150), fontsize=6, color=FAINT
        )
    return figure


def _mosaic(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (N, C, H, W) on a grid of COLUMNS, a grey pixel between them."""
    count, channels, height, width = images.shape
    rows = -(-count // COLUMNS)
    mosaic = np.full((rows * (height + 1) - 1, COLUMNS * (width + 1) - 1, channels), 0.6, dtype="float32")
    for number, image in enumerate(images):
        top, left = number // COLUMNS * (height + 1), number % COLUMNS * (width + 1)
        mosaic[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    return mosaic.squeeze()
