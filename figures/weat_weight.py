"""WEAT's weight w(x) = 1 / log(1 + exp|E(x)|) over the energies of natural images."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from energylens.plots.style import ADVERSARIAL, FAINT, INK, NATURAL, STYLE


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.weat_weight.weights`` returns."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2))
        axes = figure.subplots()
        edges = [*table["left"], table["right"].iloc[-1]]
        both = table["right_share"] + table["wrong_share"]
        axes.stairs(both, edges, fill=True, color=ADVERSARIAL, alpha=0.8, label="misclassified")
        axes.stairs(table["right_share"], edges, fill=True, color=NATURAL, label="classified rightly")
        axes.set(xlabel="$E(x)$  [nats]", ylabel="images  [%]", xlim=(edges[0], edges[-1]))
        right = axes.twinx()
        right.spines["right"].set_visible(True)
        right.plot((table["left"] + table["right"]) / 2, table["weight"], color=INK, linewidth=1.8, label="weight")
        right.set(ylabel="weight $w(x)$", ylim=(0, None))
        figure.legend(loc="outside upper center", ncols=3)
        figure.supxlabel(table.attrs["caption"], fontsize=8, color=FAINT)
    return figure
