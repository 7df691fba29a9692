"""WEAT's weight w(x) = 1 / log(1 + exp|E(x)|) over the energies of natural images."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from energylens.plots.style import ADVERSARIAL, FAINT, INK, NATURAL, STYLE, legend_above

NAMES = {"wrong_share": "misclassified", "right_share": "classified rightly"}  # from the top of the stack
COLOURS = {"misclassified": ADVERSARIAL, "classified rightly": NATURAL}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.weat_weight.weights`` returns."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2))
        axes = figure.subplots()
        right = axes.twinx()
        edges = [*table["left"], table["right"].iloc[-1]]
        bins = table.assign(middle=(table["left"] + table["right"]) / 2).rename(columns=NAMES)
        sns.histplot(
            bins.melt("middle", list(COLOURS)), x="middle", weights="value", bins=edges, hue="variable",
            palette=COLOURS, multiple="stack", element="step", alpha=0.9, linewidth=0, ax=axes,
        )  # fmt: skip
        sns.lineplot(bins, x="middle", y="weight", color=INK, linewidth=1.8, label="weight", ax=right)
        axes.set(xlabel="$E(x)$  [nats]", ylabel="images  [%]", xlim=(edges[0], edges[-1]))
        right.spines["right"].set_visible(True)
        right.set(ylabel="weight $w(x)$", ylim=(0, None))
        legend_above(figure)
        figure.supxlabel(table.attrs["caption"], fontsize=8, color=FAINT)
    return figure
