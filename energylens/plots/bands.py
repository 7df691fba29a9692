"""Lines within bands whose ends a table holds already.

Seaborn makes error bars only of the samples themselves, and a table of all samples at all steps is too large to be kept
beside a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes


def lines_with_bands(axes: Axes, table: pd.DataFrame, *, hue: str, palette: Mapping[str, str], **line: Any) -> None:
    """A line of the column mean against step for each value of ``hue``, in its colour, in a band from low to high."""
    sns.lineplot(table, x="step", y="mean", hue=hue, palette=palette, estimator=None, ax=axes, **line)
    for name, rows in table.groupby(hue, sort=False):
        axes.fill_between(rows["step"], rows["low"], rows["high"], color=palette[str(name)], alpha=0.15, linewidth=0)
