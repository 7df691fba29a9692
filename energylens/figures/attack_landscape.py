"""The energy landscape of attacks: row E(x), row E(x, y), a column an attack (arXiv 2407.06315, figure 3)."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.plots.style import ADVERSARIAL, FAINT, NATURAL, STYLE, legend_above
from energylens.tables.attack_landscape import PAPER_BINS, landscape

NINE = ("pgd", "trades", "apgd-ce", "apgd-t", "apgd-dlr", "fab", "square", "cw", "diff-pgd")  # the paper's
QUERIES = 1000  # of Square, in the paper
PAPER_NINE = tuple(f"square,queries={QUERIES}" if attack == "square" else attack for attack in NINE)
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-standard", "attacks": NINE, "n": 200},
    "paper": {"model": "Standard", "data": "cifar10", "attacks": PAPER_NINE, "eps": "8/255", "n": 10_000},
}
BINS: dict[str, dict[str, Any]] = {"demo": {}, "paper": PAPER_BINS}


def table(cache: RunCache) -> pd.DataFrame:
    """The landscape of the paper's nine attacks, at its scale in its bins."""
    return landscape(cache.profile(**SCALES[cache.scale]), **BINS[cache.scale])


COLOURS = {"natural": NATURAL, "adversarial": ADVERSARIAL}
WIDE, NARROW = 2.3, 1.5  # inches a panel, for up to FEW attacks and for more
FEW = 4
LETTERS = 11  # of a title, to the inch
ROWS = {"marginal": "$E(x)$", "joint": "$E(x, y)$"}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energylens.tables.attack_landscape.landscape`` returns."""
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
        legend_above(figure)
        figure.supxlabel(f"{table.attrs['caption']}. Dashed: means.", fontsize=8, color=FAINT)
    return figure


def _panel(axes: Axes, bins: pd.DataFrame) -> None:
    """Natural and adversarial histogram of one energy under one attack: the table's bins, each weighing its density."""
    sns.histplot(
        bins.assign(middle=(bins["left"] + bins["right"]) / 2), x="middle", weights="density", hue="series",
        hue_order=COLOURS, palette=COLOURS, bins=[*bins["left"].unique(), bins["right"].max()], element="step",
        alpha=0.55, linewidth=0.9, ax=axes,
    )  # fmt: skip
    means = bins.groupby("series")["mean"].first()
    for series, colour in COLOURS.items():
        axes.axvline(means[series], color=colour, linestyle=(0, (4, 3)), linewidth=1.1)
    axes.margins(x=0.02)
