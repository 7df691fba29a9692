"""Generated images over the spread of their start and the variance its components retain.

How far may a start lie from its class's mean, and how many components should it have? Spread x retained variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from energylens.figures.contact_sheet import caption, generated, scorer_of
from energylens.figures.run_cache import RunCache
from energylens.generation.generated import to_bytes
from energylens.plots.images import mosaic, show_image
from energylens.plots.style import caption_below, in_style

#: standard deviations; arXiv 2407.06315's code: .005, .01 and .02 of a class's 5,000 images' singular values
SPREADS = {"demo": (0.5, 1.0, 1.5, 2.0), "paper": (0.35, 0.71, 1.41)}
VARIANCES = {"demo": (0.5, 0.8, 0.95, 1.0), "paper": (0.8, 0.9, 0.95, 0.99)}  # of the paper: from .80 to .99
SHOWN = 10  # images of each pair


def table(cache: RunCache) -> pd.DataFrame:
    """From the principal components of a class, by default.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return spread_and_variance(cache, SPREADS[cache.scale], VARIANCES[cache.scale])


def spread_and_variance(cache: RunCache, spreads: Sequence[float], variances: Sequence[float]) -> pd.DataFrame:
    """Scores of images from the principal components of a class.

    Args:
        cache: where generations come from.
        spreads: of the starts, in standard deviations.
        variances: shares that the components retain, in (0, 1].

    Returns:
        One row a pair: spread, retained_variance, frechet, precision, coverage. ``attrs``: images (rows, SHOWN, C, H,
        W) in [0, 1], the first of each; frechet, what the distance is called in the feature space; caption.
    """
    scorer, rows, made = scorer_of(cache), [], []
    for spread, variance in product(spreads, variances):
        made.append(generated(cache, start="pca", spread=spread, retained_variance=variance))
        values = scorer([to_bytes(made[-1].images)])
        scores = [values[name].value for name in (scorer.frechet, "precision", "coverage")]
        rows.append((spread, variance, *scores))
    table = pd.DataFrame(rows, columns=["spread", "retained_variance", "frechet", "precision", "coverage"])
    table.attrs |= {
        "images": np.stack([one.images[:SHOWN].numpy() for one in made]),
        "frechet": scorer.frechet.replace("_", " "),
        "caption": caption(made, scorer),
    }
    return table


COLUMNS = 5  # images of a cell side by side


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``spread_and_variance`` returns: the first images of each pair.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    down, across = table["spread"].nunique(), table["retained_variance"].nunique()
    figure = Figure(figsize=(1.8 * across, 0.85 * down + 0.6))
    grid = figure.subplots(down, across, squeeze=False)
    for axes, cell, images in zip(grid.flat, table.to_dict("records"), table.attrs["images"], strict=True):
        show_image(axes, mosaic(images, COLUMNS))
        axes.set_title(f"distance {cell['frechet']:.0f}, coverage {cell['coverage']:.2f}", fontsize=6, pad=2)
        axes.set_xlabel(f"retained variance {cell['retained_variance']:g}", fontsize=7)
        axes.set_ylabel(f"spread {cell['spread']:g}", fontsize=7)
        axes.label_outer()
    caption_below(figure, f"Distance: {table.attrs['frechet']}. {table.attrs['caption']}", 6)
    return figure
