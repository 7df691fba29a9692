"""Errors (blue, left) and dE(x) (green, right) by epoch, a column a run, as in arXiv 2505.22486.

Below them is the share of abnormal adversarial examples (AAE).
"""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.plots.style import ABNORMAL, ADVERSARIAL, DELTA, ERROR, caption_below, in_style, legend_above

ERRORS: dict[str, dict[str, Any]] = {
    "test_pgd_error": {"label": "PGD test error", "linewidth": 1.8},
    "train_fgsm_error": {"label": "FGSM training error", "linewidth": 1.0, "linestyle": "--"},
    "train_clean_error": {"label": "clean training error", "linewidth": 1.0, "linestyle": ":"},
}
ACROSS = 4  # runs side by side before they go on below
WIDE, HIGH, NARROWEST = 3.2, 3.4, 6.5  # inches: a run's panels, the narrowest figure
LETTERS = 13  # of a title, to the inch


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energylens.tables.training_curves.curves`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    runs = [rows for _, rows in table.groupby("run")]
    across = min(len(runs), ACROSS)
    down = -(-len(runs) // across)
    figure = Figure(figsize=(max(WIDE * across, NARROWEST), HIGH * down + 0.6))
    grid = figure.subplots(2 * down, across, squeeze=False, height_ratios=[3, 1] * down)
    for axes in grid.flat:
        axes.set_visible(False)
    for position, rows in enumerate(runs):
        row, column = divmod(position, across)
        above, below = grid[2 * row, column], grid[2 * row + 1, column]
        above.sharex(below)  # one epoch axis, one set of ticks
        _errors(above, rows)
        _abnormal(below, rows)
        above.set_title(textwrap.fill(rows["label"].iloc[0], int(LETTERS * figure.get_figwidth() / across)))
    legend_above(figure, ncols=3)
    caption_below(figure, table.attrs["caption"], 8)
    return figure


def _errors(axes: Axes, rows: pd.DataFrame) -> None:
    """Errors on the left, dE(x) on the right, the alarms across."""
    for column, style in ERRORS.items():
        sns.lineplot(rows, x="epoch", y=column, estimator=None, color=ERROR, ax=axes, **style)
    axes.set(ylim=(-3, 103), xlabel="")  # a line at 0 or 100 is whole
    axes.set_ylabel("error  [%]", color=ERROR)
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.axhline(0, color=DELTA, linewidth=0.6, alpha=0.5)
    if rows["delta_marginal"].notna().any():  # the legend names nothing that is not drawn
        style = {"color": DELTA, "linewidth": 1.8, "label": "$\\Delta E(x)$, training samples"}
        sns.lineplot(rows, x="epoch", y="delta_marginal", estimator=None, ax=right, **style)
    right.set_ylabel("$\\Delta E(x)$  [nats]", color=DELTA)
    right.margins(y=0.15)
    axes.tick_params(labelbottom=False)
    for epoch, kind in _alarms(axes, rows):
        axes.annotate(
            kind.upper(), (epoch, 1), xycoords=("data", "axes fraction"), xytext=(-2, -2),
            textcoords="offset points", ha="right", va="top", fontsize=8, color=ADVERSARIAL,
        )  # fmt: skip


def _abnormal(axes: Axes, rows: pd.DataFrame) -> None:
    """The AAE share as an area under its line, which is to be seen at 0 too."""
    label = "AAE share, training samples" if rows["abnormal_share"].notna().any() else None
    axes.fill_between(rows["epoch"], rows["abnormal_share"], color=ABNORMAL, alpha=0.6, linewidth=0, label=label)
    sns.lineplot(rows, x="epoch", y="abnormal_share", estimator=None, color=ABNORMAL, linewidth=1.2, ax=axes)
    top = max(10.0, 1.1 * float(rows["abnormal_share"].max()))
    axes.set(ylim=(-0.08 * top, top), ylabel="AAE  [%]")
    axes.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _alarms(axes, rows)


def _alarms(axes: Axes, rows: pd.DataFrame) -> list[tuple[int, str]]:
    """A line at every alarm; returns their epochs and kinds."""
    axes.set_visible(True)
    alarms = rows[rows["alarm"] != ""]
    for epoch in alarms["epoch"]:
        axes.axvline(epoch, color=ADVERSARIAL, linewidth=1.1, linestyle=(0, (4, 3)), label="alarm")
    axes.set_xlim(0, max(rows["epoch"].max(), 2))
    return list(zip(alarms["epoch"], alarms["alarm"], strict=True))
