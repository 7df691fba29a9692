"""Energy against the steps of an attack, PGD beside HE-PGD (arXiv 2304.04033, figure 4)."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.plots.bands import lines_with_bands
from energylens.plots.style import FAINT, INK, SERIES, STYLE, legend_above

TITLES = {"marginal": "$E(x')$", "joint": "$E(x', y)$"}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.energy_steps.energy_against_steps`` returns."""
    labels = table["label"].unique()
    colours = dict(zip(labels, SERIES * len(labels), strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2))
        for axes, (energy, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
            here = table[table["energy"] == energy]
            lines_with_bands(axes, here, hue="label", palette=colours, marker=".", markersize=5, markeredgewidth=0)
            axes.axhline(here["natural"].iloc[0], color=INK, linestyle=(0, (4, 3)), linewidth=1, label="natural")
            axes.set(xlabel="step", ylabel=f"{title}  [nats]")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.margins(x=0.02)
        legend_above(figure, ncols=min(len(labels) + 1, 4))
        figure.supxlabel(f"{table.attrs['caption']}. Lines: means; bands: quartiles.", fontsize=8, color=FAINT)
    return figure
