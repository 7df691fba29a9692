"""Energy against the steps of an attack, PGD beside HE-PGD (arXiv 2304.04033, figure 4)."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.plots.style import FAINT, INK, SERIES, STYLE

TITLES = {"marginal": "$E(x')$", "joint": "$E(x', y)$"}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.energy_steps.energy_against_steps`` returns."""
    labels = dict(zip(table["attack"], table["label"], strict=True))
    colours = dict(zip(labels, SERIES * len(labels), strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2))
        for axes, (energy, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
            here = table[table["energy"] == energy]
            for attack, steps in here.groupby("attack", sort=False):
                axes.fill_between(steps["step"], steps["low"], steps["high"], color=colours[attack], alpha=0.15, lw=0)
                axes.plot(steps["step"], steps["mean"], color=colours[attack], label=labels[attack], marker=".", ms=4)
            axes.axhline(here["natural"].iloc[0], color=INK, linestyle=(0, (4, 3)), linewidth=1, label="natural")
            axes.set_xlabel("step")
            axes.set_ylabel(f"{title}  [nats]")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.margins(x=0.02)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 4))
        figure.supxlabel(f"{table.attrs['caption']}. Lines: means; bands: quartiles.", fontsize=8, color=FAINT)
    return figure
