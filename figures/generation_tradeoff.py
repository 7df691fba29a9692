"""Quality against variability of generated images, over start, spread and steps."""

from __future__ import annotations

from itertools import cycle
from textwrap import fill

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from energylens.plots.style import FAINT, INK, SERIES, STYLE, legend_above

PLACES = ((4, 3), (4, -9), (-4, 4), (-4, -9))  # of a start's numbers beside its points, a corner each


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.generation_tradeoff.quality_and_variability`` returns: a panel a varied setting."""
    real = table[table["start"] == "real"].iloc[0]
    made = table[table["start"] != "real"]
    colours = dict(zip(made["start"].unique(), SERIES, strict=False))
    places = dict(zip(colours, cycle(PLACES), strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6))
        panels = list(made.groupby("varied"))
        for axes, (varied, panel) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            sns.lineplot(
                panel, x="coverage", y="precision", hue="start", hue_order=colours, palette=colours, sort=False,
                estimator=None, marker=".", markersize=7, markeredgewidth=0, ax=axes,
            )  # fmt: skip
            for start, line in panel.groupby("start", sort=False):
                place = places[start]
                for _, point in line.iloc[[0, -1]].iterrows():  # of all points the numbers would cover each other
                    axes.annotate(
                        f"{point['at']:g}", (point["coverage"], point["precision"]), xytext=place, fontsize=6,
                        textcoords="offset points", ha="left" if place[0] > 0 else "right", color=colours[start],
                    )  # fmt: skip
            axes.plot(real["coverage"], real["precision"], marker="*", ms=10, ls="", color=INK, label="real")
            axes.set_title(f"over {varied}, {panel['at'].min():g} to {panel['at'].max():g}")
        legend_above(figure)
        figure.supxlabel(fill(table.attrs["caption"], 150), fontsize=6, color=FAINT)
    return figure
