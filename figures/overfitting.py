"""CO and RO, a panel a regulariser, of two data sets a column each: PGD test error (left) and dE(x) of the training
samples (right) against the epoch (arXiv 2505.22486); thin lines are seeds, thick ones their mean."""

from __future__ import annotations

import textwrap
from itertools import product

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from energylens.plots.style import ADVERSARIAL, DELTA, ERROR, FAINT, STYLE

ACROSS = 4  # panels side by side, of one data set
LETTERS = 125  # of the caption's line


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.overfitting.epochs`` returns."""
    arms, datasets = list(dict.fromkeys(table["arm"])), list(dict.fromkeys(table["dataset"]))
    panels = list(product(arms, datasets))
    wide = min(len(panels), ACROSS)
    across = len(datasets) if len(datasets) > 1 else wide
    down = -(-len(panels) // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.45 * wide, 1.9 * down + 0.9))
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        limits = _delta_limits(table)
        grid[0, 0].set_xlim(1, table["epoch"].max())  # all panels share their axes
        grid[0, 0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for number, (axes, (arm, dataset)) in enumerate(zip(grid.flat, panels, strict=False)):
            right = _panel(axes, table[(table["arm"] == arm) & (table["dataset"] == dataset)], limits)
            axes.set_title(arm if len(datasets) == 1 else f"{dataset}, {arm}", pad=8)  # above the alarms
            last = number % across == across - 1 or number == len(panels) - 1
            right.tick_params(labelright=last)
            if last:
                right.set_ylabel("$\\Delta E(x)$  [nats]", color=DELTA)
            if number % across == 0:
                axes.set_ylabel("PGD test error  [%]", color=ERROR)
            if number + across >= len(panels):
                axes.set_xlabel("epoch")
                axes.tick_params(labelbottom=True)
        figure.legend(handles=_handles(table), loc="outside upper center", ncols=3)
        figure.supxlabel(textwrap.fill(table.attrs["caption"], LETTERS), fontsize=7, color=FAINT)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float]) -> Axes:
    """One arm; returns the right axes."""
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.axhline(0, color=DELTA, linewidth=0.6, alpha=0.5)
    for _, seed in rows.groupby("seed"):
        axes.plot(seed["epoch"], 100 - seed["test_pgd"], color=ERROR, linewidth=0.7, alpha=0.5)
        right.plot(seed["epoch"], seed["delta_marginal"], color=DELTA, linewidth=0.7, alpha=0.5)
        for epoch in seed.loc[seed["alarm"] != "", "epoch"].head(1):
            axes.plot(epoch, 103, marker="v", color=ADVERSARIAL, markersize=5, clip_on=False)
    mean = rows.groupby("epoch")[["test_pgd", "delta_marginal"]].mean()
    axes.plot(mean.index, 100 - mean["test_pgd"], color=ERROR, linewidth=1.8)
    right.plot(mean.index, mean["delta_marginal"], color=DELTA, linewidth=1.8)
    axes.set(ylim=(-3, 103))
    right.set_ylim(limits)
    right.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    return right


def _delta_limits(table: pd.DataFrame) -> tuple[float, float]:
    """One right axis for all panels, on which every line is whole."""
    low, high = min(table["delta_marginal"].min(), 0), max(table["delta_marginal"].max(), 0)
    margin = 0.1 * max(high - low, 0.1)
    return float(low - margin), float(high + margin)


def _handles(table: pd.DataFrame) -> list[Line2D]:
    """What the legend shows: nothing that is not drawn."""
    handles = [
        Line2D([], [], color=ERROR, linewidth=1.8, label="PGD test error"),
        Line2D([], [], color=DELTA, linewidth=1.8, label="$\\Delta E(x)$, training samples"),
    ]
    if (table["alarm"] != "").any():
        handles.append(
            Line2D([], [], color=ADVERSARIAL, marker="v", linestyle="", label="first alarm of the watch (a seed each)")
        )
    return handles
