"""Quality against variability of generated images, over start, spread and steps."""

from __future__ import annotations

from textwrap import fill

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from energylens.plots.style import FAINT, INK, SERIES, STYLE


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.generation_tradeoff.quality_and_variability`` returns: a panel a varied setting."""
    real = table[table["start"] == "real"].iloc[0]
    made = table[table["start"] != "real"]
    colours = dict(zip(made["start"].unique(), SERIES, strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6))
        panels = list(made.groupby("varied"))
        for axes, (varied, panel) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            for start, line in panel.groupby("start", sort=False):
                axes.plot(line["coverage"], line["precision"], marker=".", color=colours[start], label=start)
                for _, point in line.iloc[[0, -1]].iterrows():  # of all points the numbers would cover each other
                    axes.annotate(
                        f"{point['at']:g}", (point["coverage"], point["precision"]), xytext=(3, 3),
                        textcoords="offset points", fontsize=6, color=colours[start],
                    )  # fmt: skip
            axes.plot(real["coverage"], real["precision"], marker="*", ms=10, ls="", color=INK, label="real")
            axes.set_title(f"over {varied}, {panel['at'].min():g} to {panel['at'].max():g}")
            axes.set_xlabel("coverage")
        figure.axes[0].set_ylabel("precision")
        handles, names = figure.axes[-1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
        figure.supxlabel(fill(table.attrs["caption"], 150), fontsize=6, color=FAINT)
    return figure
