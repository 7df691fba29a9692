"""Test accuracy after training without some samples, natural and under PGD: a faint dot a seed, below it their mean
and its 95 % interval. Compare with the samples left out at random."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from energylens.mean_interval import mean_interval
from energylens.plots.style import ADVERSARIAL, FAINT, NATURAL, STYLE

PANELS = {"natural": NATURAL, "PGD": ADVERSARIAL}
LETTERS = 120  # of the caption's line


def interval(accuracies: pd.Series[float]) -> tuple[float, float]:
    """The 95 % interval of the mean, as in the table: four seeds are too few for seaborn's own, a bootstrap."""
    mean, half = mean_interval(accuracies.tolist())
    return mean - half, mean + half


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.samples_matter.over_seeds`` returns: a line a rule, a faint dot a seed."""
    names = table["rule"].where(table["rule"] == "all", "without " + table["rule"])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.9))
        for axes, (quantity, colour) in zip(figure.subplots(1, 2, sharey=True), PANELS.items(), strict=True):
            rows = table[table["quantity"] == quantity]
            sns.stripplot(rows, x="accuracy", y=names, color=FAINT, jitter=False, size=3.5, alpha=0.7, ax=axes)
            for dots in axes.collections:  # above the mean, not on its interval
                dots.set_offsets(dots.get_offsets() - [0, 0.22])
            sns.pointplot(
                rows, x="accuracy", y=names, errorbar=interval, color=colour, capsize=0.25, linestyle="none",
                markersize=5, err_kws={"linewidth": 1.4}, ax=axes,
            )  # fmt: skip
            axes.set(xlabel=f"{quantity} accuracy  [%]", ylabel="")
            axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.5)
        figure.supxlabel(textwrap.fill(table.attrs["caption"], LETTERS), fontsize=7, color=FAINT)
    return figure
