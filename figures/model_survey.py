"""Models side by side: half-violins of dE(x) (left) and dE(x, y) (right), accuracies with intervals on top, and above
them AutoAttack's as published (arXiv 2407.06315)."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.plots.style import ADVERSARIAL, DELTA, ERROR, FAINT, INK, NATURAL, STYLE, legend_above

HALVES = {"delta_marginal": "$\\Delta E(x)$", "delta_joint": "$\\Delta E(x, y)$"}
COLOURS = {"$\\Delta E(x)$": DELTA, "$\\Delta E(x, y)$": ERROR}
ACCURACIES = {"natural": NATURAL, "robust": ADVERSARIAL}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.model_survey.survey`` returns."""
    models = list(dict.fromkeys(table["model"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.4 + 1.15 * max(len(models), 3), 4.2))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
        _accuracies(above, table.drop_duplicates("model"))
        _violins(below, table.rename(columns=HALVES))
        below.set_xticks(range(len(models)), [textwrap.fill(name, 14, break_on_hyphens=True) for name in models])
        legend_above(figure)
        figure.supxlabel(f"{table.attrs['caption']}. Lines: quartiles.", fontsize=8, color=FAINT)
    return figure


def _accuracies(axes: Axes, rows: pd.DataFrame) -> None:
    """A bar each for natural and robust accuracy."""
    for shift, (kind, colour) in zip((-0.17, 0.17), ACCURACIES.items(), strict=True):
        at, high = np.arange(len(rows)) + shift, rows[f"{kind}_high"]
        error = [rows[kind] - rows[f"{kind}_low"], high - rows[kind]]
        axes.bar(
            at, rows[kind], 0.32, color=colour, label=f"{kind} accuracy",
            yerr=error, ecolor=INK, error_kw={"linewidth": 0.8},
        )  # fmt: skip
        for x, top, value in zip(at, high, rows[kind], strict=True):
            axes.annotate(f"{value:.0f}", (x, top), xytext=(0, 1), textcoords="offset points", ha="center", fontsize=7)
    for x, published in enumerate(rows["autoattack"]):
        if pd.notna(published):
            axes.annotate(f"AutoAttack\n{published:.2f}", (x, 112), ha="center", va="bottom", fontsize=7)
    axes.set(ylim=(0, 118 if rows["autoattack"].isna().all() else 152), yticks=(0, 50, 100), ylabel="accuracy  [%]")
    axes.tick_params(bottom=False)


def _violins(axes: Axes, table: pd.DataFrame) -> None:
    """Both energies' differences of every model, each as wide at its densest."""
    axes.axhline(0, color=FAINT, linewidth=0.7)
    sns.violinplot(
        table.melt("model", list(COLOURS)), x="model", y="value", hue="variable", palette=COLOURS, split=True,
        inner="quart", cut=0, density_norm="width", linewidth=0.9, saturation=1, alpha=0.6, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="", ylabel="natural minus adversarial  [nats]")
