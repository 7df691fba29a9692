"""Models side by side: half-violins of dE(x) (left) and dE(x, y) (right), accuracies with intervals on top
(arXiv 2407.06315)."""

from __future__ import annotations

import textwrap
from typing import Literal, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from energylens.plots.style import ADVERSARIAL, DELTA, ERROR, FAINT, INK, NATURAL, STYLE

HALVES: dict[str, tuple[Literal["low", "high"], str, str]] = {
    "delta_marginal": ("low", DELTA, "$\\Delta E(x)$"),
    "delta_joint": ("high", ERROR, "$\\Delta E(x, y)$"),
}
ACCURACIES = {"natural": NATURAL, "robust": ADVERSARIAL}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.model_survey.survey`` returns."""
    models = list(dict.fromkeys(table["model"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.4 + 1.15 * max(len(models), 3), 4.2))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
        _accuracies(above, table.drop_duplicates("model"))
        _violins(below, [table[table["model"] == model] for model in models])
        below.set_xticks(range(len(models)), [textwrap.fill(name, 14, break_on_hyphens=True) for name in models])
        handles = [Patch(color=colour, label=f"{name} accuracy") for name, colour in ACCURACIES.items()]
        handles += [Patch(color=colour, alpha=0.6, label=symbol) for _, colour, symbol in HALVES.values()]
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
        figure.supxlabel(f"{table.attrs['caption']}. Bars: medians.", fontsize=8, color=FAINT)
    return figure


def _accuracies(axes: Axes, rows: pd.DataFrame) -> None:
    """A bar each for natural and robust accuracy."""
    for shift, (kind, colour) in zip((-0.17, 0.17), ACCURACIES.items(), strict=True):
        at, high = np.arange(len(rows)) + shift, rows[f"{kind}_high"]
        error = [rows[kind] - rows[f"{kind}_low"], high - rows[kind]]
        axes.bar(at, rows[kind], 0.32, color=colour, yerr=error, ecolor=INK, error_kw={"linewidth": 0.8})
        for x, top, value in zip(at, high, rows[kind], strict=True):
            axes.annotate(f"{value:.0f}", (x, top), xytext=(0, 1), textcoords="offset points", ha="center", fontsize=7)
    axes.set(ylim=(0, 118), yticks=(0, 50, 100), ylabel="accuracy  [%]")
    axes.tick_params(bottom=False)


def _violins(axes: Axes, models: list[pd.DataFrame]) -> None:
    """Both energies' differences of every model."""
    axes.axhline(0, color=FAINT, linewidth=0.7)
    for column, (side, colour, _) in HALVES.items():
        values = [rows[column].to_numpy() for rows in models]
        parts = axes.violinplot(values, range(len(models)), widths=0.8, side=side, showextrema=False, showmedians=True)
        for body in cast("list[PolyCollection]", parts["bodies"]):
            body.set(facecolor=colour, alpha=0.6, edgecolor=colour)
        parts["cmedians"].set(color=INK, linewidth=1.2)
    axes.set_ylabel("natural minus adversarial  [nats]")
