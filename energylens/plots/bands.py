"""Lines within bands whose ends a table holds already.

Seaborn makes error bars only of the samples themselves, and a table of all samples at all steps is too large to be kept
beside a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import NDArray


def quartiles(paths: NDArray[Any]) -> pd.DataFrame:
    """The mean of paths at every step, and the band that half of them lie in.

    Args:
        paths: (N, steps), a row a sample.

    Returns:
        One row a step: step (from 0), mean, low and high (the quartiles).

    >>> quartiles(np.array([[0.0, 1.0], [4.0, 1.0]])).values.tolist()
    [[0.0, 2.0, 1.0, 3.0], [1.0, 1.0, 1.0, 1.0]]
    """
    low, high = np.quantile(paths, [0.25, 0.75], axis=0)
    return pd.DataFrame({"step": range(paths.shape[1]), "mean": paths.mean(axis=0), "low": low, "high": high})


def lines_with_bands(axes: Axes, table: pd.DataFrame, *, hue: str, palette: Mapping[str, str], **line: Any) -> None:
    """Draw a line in a band for each value of a column.

    Args:
        axes: where.
        table: with the columns step, mean, low, high and ``hue``.
        hue: the column whose values are lines.
        palette: their colours.
        line: how a line is drawn, as ``seaborn.lineplot`` takes it.
    """
    sns.lineplot(table, x="step", y="mean", hue=hue, palette=palette, estimator=None, ax=axes, **line)
    for name, rows in table.groupby(hue, sort=False):
        axes.fill_between(rows["step"], rows["low"], rows["high"], color=palette[str(name)], alpha=0.15, linewidth=0)
