"""Runs side by side: test accuracies, dE(x) and the AAE share against the epoch, a colour a group of runs that differ
only in their seed; line and band are mean and standard deviation over the seeds."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from energylens.plots.style import SERIES, STYLE

PANELS = {
    "test_pgd": "PGD test accuracy  [%]",
    "test_clean": "clean test accuracy  [%]",
    "delta_marginal": "$\\Delta E(x)$, training  [nats]",
    "abnormal_share": "AAE share, training  [%]",
}
SHARES = frozenset(PANELS) - {"delta_marginal"}  # in %
DASHES = ("-", "--", ":", "-.")  # one more round of colours, one more of these


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.compare_runs.followed`` returns."""
    labels = list(dict.fromkeys(table["label"]))
    styles: dict[str, dict[str, Any]] = {
        label: {"color": SERIES[i % len(SERIES)], "linestyle": DASHES[i // len(SERIES) % len(DASHES)]}
        for i, label in enumerate(labels)
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 5.2 + 0.22 * len(labels)))
        grid = figure.subplots(2, 2, sharex=True)
        for axes, (quantity, name) in zip(grid.flat, PANELS.items(), strict=True):
            for label, style in styles.items():
                rows = table[(table["quantity"] == quantity) & (table["label"] == label)]
                axes.plot(rows["epoch"], rows["mean"], linewidth=1.5, **style)
                low, high = rows["mean"] - rows["sd"], rows["mean"] + rows["sd"]
                if quantity in SHARES:  # no accuracy lies above 100 %
                    low, high = low.clip(lower=0), high.clip(upper=100)
                axes.fill_between(rows["epoch"], low, high, color=style["color"], alpha=0.2, linewidth=0)
            axes.set_ylabel(name)
            if quantity in SHARES:
                axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # a line at 0 is whole
        for axes in grid[1]:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        counts = table.groupby("label")["n"].max()
        handles = [Line2D([], [], label=f"{label}  (n = {counts[label]})", **style) for label, style in styles.items()]
        figure.legend(handles=handles, loc="outside upper left")
    return figure
