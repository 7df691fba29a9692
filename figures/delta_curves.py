"""dE(x) of the training samples and PGD test accuracy against the epoch, a colour a method; dotted lines part the
phases of a curve (arXiv 2407.06315)."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.plots.style import FAINT, SERIES, STYLE, legend_above

PANELS = {"delta_marginal": "$\\Delta E(x)$, training  [nats]", "test_pgd": "PGD test accuracy  [%]"}
LETTERS = 105  # of the caption's line


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.delta_curves.curves`` returns."""
    colours = dict(zip(table["method"].unique(), SERIES, strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.3))
        for axes, (column, name) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            sns.lineplot(
                table, x="epoch", y=column, hue="method", palette=colours, estimator=None, linewidth=1.6, ax=axes
            )
            for method, rows in table.groupby("method"):
                for epoch in rows.loc[rows["phase"].diff() > 0, "epoch"]:
                    axes.axvline(epoch, color=colours[method], linewidth=1.0, linestyle=":")
            axes.set(ylabel=name, xlim=(1, table["epoch"].max()))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend_above(figure)
        figure.supxlabel(textwrap.fill(table.attrs["caption"], LETTERS), fontsize=7, color=FAINT)
    return figure
