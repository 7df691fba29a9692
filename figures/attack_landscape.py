"""The energy landscape of attacks: row E(x), row E(x, y), a column an attack (arXiv 2407.06315, figure 3)."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from energylens.plots.style import ADVERSARIAL, FAINT, NATURAL, STYLE

COLOURS = {"natural": NATURAL, "adversarial": ADVERSARIAL}
WIDE, NARROW = 2.3, 1.5  # inches a panel, for up to FEW attacks and for more
FEW = 4
LETTERS = 11  # of a title, to the inch
ROWS = {"marginal": "$E(x)$", "joint": "$E(x, y)$"}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.attack_landscape.landscape`` returns."""
    attacks = list(dict.fromkeys(table["attack"]))
    labels = dict(zip(table["attack"], table["label"], strict=True))
    with mpl.rc_context(STYLE):
        width = WIDE if len(attacks) <= FEW else NARROW
        figure = Figure(figsize=(1.2 + width * max(len(attacks), 2), 4.4))
        grid = figure.subplots(len(ROWS), len(attacks), sharex="row", sharey="row", squeeze=False)
        for row, (energy, symbol) in zip(grid, ROWS.items(), strict=True):
            for axes, attack in zip(row, attacks, strict=True):
                _panel(axes, table[(table["attack"] == attack) & (table["energy"] == energy)])
                axes.set_xlabel(f"{symbol}  [nats]")
            row[0].set_ylabel(f"density of {symbol}")
            row[0].set_ylim(0, 1.05 * table.loc[table["energy"] == energy, "density"].max())
        for axes, attack in zip(grid[0], attacks, strict=True):
            axes.set_title(textwrap.fill(labels[attack], int(LETTERS * width)))
        handles = [Patch(color=colour, alpha=0.7, label=series) for series, colour in COLOURS.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
        figure.supxlabel(f"{table.attrs['caption']}. Dashed: means.", fontsize=8, color=FAINT)
    return figure


def _panel(axes: Axes, bins: pd.DataFrame) -> None:
    """Natural and adversarial histogram of one energy under one attack."""
    for series, colour in COLOURS.items():
        here = bins[bins["series"] == series]
        edges = [*here["left"], here["right"].iloc[-1]]
        axes.stairs(here["density"], edges, fill=True, color=colour, alpha=0.55)
        axes.stairs(here["density"], edges, color=colour, linewidth=0.9)
        axes.axvline(here["mean"].iloc[0], color=colour, linestyle=(0, (4, 3)), linewidth=1.1)
    axes.margins(x=0.02)
