"""The energy landscape of attacks: row E(x), row E(x, y), a column an attack (arXiv 2407.06315, figure 3)."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.plots.style import ADVERSARIAL, NATURAL, caption_below, in_style, legend_above
from energylens.tables.attack_landscape import PAPER_BINS, landscape

NINE = ("pgd", "trades", "apgd-ce", "apgd-t", "apgd-dlr", "fab", "square", "cw", "diff-pgd")  # the paper's
QUERIES = 1000  # of Square, in the paper
PAPER_NINE = tuple(f"square,queries={QUERIES}" if attack == "square" else attack for attack in NINE)
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-standard", "attacks": NINE, "n": 200},
    "paper": {"model": "Standard", "data": "cifar10", "attacks": PAPER_NINE, "eps": "8/255", "n": 10_000},
}


def table(cache: RunCache) -> pd.DataFrame:
    """The landscape of the paper's nine attacks, at its scale in its bins.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return landscape(cache.profile(**SCALES[cache.scale]), **(PAPER_BINS if cache.scale == "paper" else {}))


COLOURS = {"natural": NATURAL, "adversarial": ADVERSARIAL}
WIDE, NARROW = 2.3, 1.5  # inches a panel, for up to FEW attacks and for more
FEW = 4
LETTERS = 11  # of a title, to the inch
ROWS = {"marginal": "$E(x)$", "joint": "$E(x, y)$"}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energylens.tables.attack_landscape.landscape`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    labels = dict(zip(table["attack"], table["label"], strict=True))
    width = WIDE if len(labels) <= FEW else NARROW
    figure = Figure(figsize=(1.2 + width * max(len(labels), 2), 4.4))
    grid = figure.subplots(len(ROWS), len(labels), sharex="row", sharey="row", squeeze=False)
    for row, (energy, symbol) in zip(grid, ROWS.items(), strict=True):
        bins = table[table["energy"] == energy]
        for axes, attack in zip(row, labels, strict=True):
            _panel(axes, bins[bins["attack"] == attack])
            axes.set_xlabel(f"{symbol}  [nats]")
        row[0].set(ylabel=f"density of {symbol}", ylim=(0, 1.05 * bins["density"].max()))
    for axes, label in zip(grid[0], labels.values(), strict=True):
        axes.set_title(textwrap.fill(label, int(LETTERS * width)))
    legend_above(figure)
    caption_below(figure, f"{table.attrs['caption']}. Dashed: means.", 8)
    return figure


def _panel(axes: Axes, bins: pd.DataFrame) -> None:
    """Natural and adversarial histogram of one energy under one attack: the table's bins, each weighing its density."""
    sns.histplot(
        bins.assign(middle=(bins["left"] + bins["right"]) / 2), x="middle", weights="density", hue="series",
        hue_order=COLOURS, palette=COLOURS, bins=[*bins["left"].unique(), bins["right"].max()], element="step",
        alpha=0.55, linewidth=0.9, ax=axes,
    )  # fmt: skip
    for series, mean in bins.groupby("series")["mean"].first().items():
        axes.axvline(mean, color=COLOURS[str(series)], linestyle=(0, (4, 3)), linewidth=1.1)
    axes.margins(x=0.02)
