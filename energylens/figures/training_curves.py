"""Errors (blue, left) and dE(x) (green, right) by epoch, a column a run, as in arXiv 2505.22486.

Below them is the share of abnormal adversarial examples (AAE).
"""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from energylens.plots.style import ABNORMAL, ADVERSARIAL, DELTA, ERROR, FAINT, STYLE

ERRORS: dict[str, tuple[str, dict[str, Any]]] = {  # column: what it is, how it is drawn
    "test_pgd_error": ("PGD test error", {"linewidth": 1.8}),
    "train_fgsm_error": ("FGSM training error", {"linewidth": 1.0, "linestyle": "--"}),
    "train_clean_error": ("clean training error", {"linewidth": 1.0, "linestyle": ":"}),
}
ACROSS = 4  # runs side by side before they go on below
WIDE, HIGH, NARROWEST = 3.2, 3.4, 6.5  # inches: a run's panels, the narrowest figure
LETTERS, SMALL_LETTERS = 13, 15  # to the inch: of a title, of the caption


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energylens.tables.training_curves.curves`` returns."""
    runs = [rows for _, rows in table.groupby("run")]
    across = min(len(runs), ACROSS)
    down = -(-len(runs) // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(WIDE * across, NARROWEST), HIGH * down + 0.6))
        grid = figure.subplots(2 * down, across, squeeze=False, height_ratios=[3, 1] * down)
        for axes in grid.flat:
            axes.set_visible(False)
        wide = figure.get_figwidth() / across
        for position, rows in enumerate(runs):
            row, column = divmod(position, across)
            above, below = grid[2 * row, column], grid[2 * row + 1, column]
            above.sharex(below)  # one epoch axis, one set of ticks
            _errors(above, rows)
            _abnormal(below, rows)
            above.set_title(textwrap.fill(rows["label"].iloc[0], int(LETTERS * wide)))
        figure.legend(handles=_handles(table), loc="outside upper center", ncols=3)
        caption = textwrap.fill(table.attrs["caption"], int(SMALL_LETTERS * figure.get_figwidth()))
        figure.supxlabel(caption, fontsize=8, color=FAINT)
    return figure


def _errors(axes: Axes, rows: pd.DataFrame) -> None:
    """Errors on the left, dE(x) on the right, the alarms across."""
    axes.set_visible(True)
    for column, (_, style) in ERRORS.items():
        axes.plot(rows["epoch"], rows[column], color=ERROR, **style)
    axes.set(ylim=(-3, 103), ylabel="error  [%]")  # a line at 0 or 100 is whole
    axes.yaxis.label.set_color(ERROR)
    axes.tick_params(labelbottom=False)
    right = axes.twinx()
    right.plot(rows["epoch"], rows["delta_marginal"], color=DELTA, linewidth=1.8)
    right.axhline(0, color=DELTA, linewidth=0.6, alpha=0.5)
    right.set_ylabel("$\\Delta E(x)$  [nats]", color=DELTA)
    right.spines["right"].set_visible(True)
    right.margins(y=0.15)
    _alarms(axes, rows)
    for epoch, kind in _alarmed(rows):
        axes.annotate(
            kind.upper(), (epoch, 1), xycoords=("data", "axes fraction"), xytext=(-2, -2),
            textcoords="offset points", ha="right", va="top", fontsize=8, color=ADVERSARIAL,
        )  # fmt: skip


def _abnormal(axes: Axes, rows: pd.DataFrame) -> None:
    """The AAE share as an area under its line, which is to be seen at 0 too."""
    axes.set_visible(True)
    axes.fill_between(rows["epoch"], rows["abnormal_share"], color=ABNORMAL, alpha=0.6, linewidth=0)
    axes.plot(rows["epoch"], rows["abnormal_share"], color=ABNORMAL, linewidth=1.2)
    top = max(10.0, 1.1 * float(rows["abnormal_share"].max()))
    axes.set(ylim=(-0.08 * top, top), ylabel="AAE  [%]", xlabel="epoch")
    axes.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _alarms(axes, rows)


def _alarmed(rows: pd.DataFrame) -> list[tuple[int, str]]:
    """The epochs with an alarm, and its kind."""
    alarms = rows[rows["alarm"] != ""]
    return list(zip(alarms["epoch"], alarms["alarm"], strict=True))


def _alarms(axes: Axes, rows: pd.DataFrame) -> None:
    for epoch, _ in _alarmed(rows):
        axes.axvline(epoch, color=ADVERSARIAL, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, max(rows["epoch"].max(), 2))


def _handles(table: pd.DataFrame) -> list[Line2D | Patch]:
    """What the legend shows: nothing that is not drawn."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=ERROR, label=label, **style) for label, style in ERRORS.values()
    ]
    if table["delta_marginal"].notna().any():
        handles.append(Line2D([], [], color=DELTA, linewidth=1.8, label="$\\Delta E(x)$, training samples"))
        handles.append(Patch(color=ABNORMAL, alpha=0.6, label="AAE share, training samples"))
    if (table["alarm"] != "").any():
        handles.append(Line2D([], [], color=ADVERSARIAL, linewidth=1.1, linestyle=(0, (4, 3)), label="alarm"))
    return handles
