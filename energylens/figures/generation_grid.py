"""Generated images over the spread of their start and the variance its components retain.

How far may a start lie from its class's mean, and how many components should it have? Spread x retained variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from energylens.figures.contact_sheet import caption, generated, scorer_of
from energylens.figures.run_cache import RunCache
from energylens.generation.generated import to_bytes
from energylens.plots.style import FAINT, STYLE

#: standard deviations; arXiv 2407.06315's code: .005, .01 and .02 of a class's 5,000 images' singular values
SPREADS = {"demo": (0.5, 1.0, 1.5, 2.0), "paper": (0.35, 0.71, 1.41)}
VARIANCES = {"demo": (0.5, 0.8, 0.95, 1.0), "paper": (0.8, 0.9, 0.95, 0.99)}  # of the paper: from .80 to .99
SHOWN = 10  # images of each pair


def table(cache: RunCache) -> pd.DataFrame:
    """From the principal components of a class, by default."""
    return spread_and_variance(cache, SPREADS[cache.scale], VARIANCES[cache.scale])


def spread_and_variance(cache: RunCache, spreads: Sequence[float], variances: Sequence[float]) -> pd.DataFrame:
    """One row a pair: spread, retained_variance, frechet, precision, coverage.

    ``attrs``: images (rows, SHOWN, C, H, W), the first of each; frechet, what the distance is called in the feature
    space; caption.
    """
    scorer, rows, made = scorer_of(cache), [], []
    for spread in spreads:
        for variance in variances:
            one = generated(cache, start="pca", spread=spread, retained_variance=variance)
            values = scorer([to_bytes(one.images)])
            rows.append(
                {
                    "spread": spread,
                    "retained_variance": variance,
                    "frechet": values[scorer.frechet].value,
                    **{name: values[name].value for name in ("precision", "coverage")},
                }
            )
            made.append(one)
    table = pd.DataFrame(rows)
    table.attrs |= {
        "images": np.stack([one.images[:SHOWN].numpy() for one in made]),
        "frechet": scorer.frechet.replace("_", " "),
        "caption": caption(made, scorer),
    }
    return table


COLUMNS = 5  # images of a cell side by side


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``spread_and_variance`` returns: the first images of each pair."""
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
