"""Runs side by side: test accuracies, dE(x) and the AAE share by epoch, a colour a group of runs.

The runs of a group differ only in their seed; line and band are mean and standard deviation over the seeds.
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.plots.style import SERIES, in_style, legend_above

PANELS = {
    "test_pgd": "PGD test accuracy  [%]",
    "test_clean": "clean test accuracy  [%]",
    "delta_marginal": "$\\Delta E(x)$, training  [nats]",
    "abnormal_share": "AAE share, training  [%]",
}
SHARES = frozenset(PANELS) - {"delta_marginal"}  # in %
DASHES = ("", (4, 2), (1, 1.5), (5, 1.5, 1, 1.5))  # solid first; one more round of colours, one more of these


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energylens.tables.compare_runs.followed`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    counts = table.groupby(["label", "quantity", "epoch"], sort=False).size().groupby("label", sort=False).max()
    names = {label: f"{label}  (n = {count})" for label, count in counts.items()}
    table = table.assign(runs=table["label"].map(names))
    numbered = list(enumerate(names.values()))
    colours = {name: SERIES[i % len(SERIES)] for i, name in numbered}
    dashes = {name: DASHES[i // len(SERIES) % len(DASHES)] for i, name in numbered}
    figure = Figure(figsize=(7.6, 5.2 + 0.22 * len(names)))
    grid = figure.subplots(2, 2, sharex=True)
    for axes, (quantity, name) in zip(grid.flat, PANELS.items(), strict=True):
        sns.lineplot(
            table[table["quantity"] == quantity], x="epoch", y="value", hue="runs", palette=colours, style="runs",
            dashes=dashes, errorbar="sd", err_kws={"alpha": 0.2, "linewidth": 0}, linewidth=1.5, ax=axes,
        )  # fmt: skip
        axes.set_ylabel(name)
        if quantity in SHARES:  # a line at 0 or 100 is whole; no accuracy lies above 100 %
            top = min(axes.get_ylim()[1], 103)
            axes.set_ylim(-0.03 * top, top)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend_above(figure, loc="outside upper left", ncols=1)
    return figure
