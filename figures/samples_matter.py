"""Test accuracy after training without some samples, natural and under PGD: a faint dot a seed, below it their mean
and its 95 % interval. Compare with the samples left out at random."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from energylens.plots.style import ADVERSARIAL, FAINT, NATURAL, STYLE

PANELS = {"natural": NATURAL, "PGD": ADVERSARIAL}
LETTERS = 120  # of the caption's line


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.samples_matter.over_seeds`` returns: a line a rule, a faint dot a seed."""
    rules = list(dict.fromkeys(table["rule"]))[::-1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.9))
        for axes, (quantity, colour) in zip(figure.subplots(1, 2, sharey=True), PANELS.items(), strict=True):
            rows = table[table["quantity"] == quantity]
            above = rows["rule"].map(rules.index) + 0.22
            axes.plot(rows["accuracy"], above, "o", color=FAINT, markersize=3, alpha=0.7, markeredgewidth=0)
            means = rows.drop_duplicates("rule")
            places, half = means["rule"].map(rules.index), means["high"] - means["mean"]
            axes.errorbar(means["mean"], places, xerr=half, fmt="o", color=colour, capsize=3, markersize=5)
            axes.set(xlabel=f"{quantity} accuracy  [%]", ylim=(-0.5, len(rules) - 0.5))
            axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.5)
        left = figure.axes[0]
        left.set_yticks(range(len(rules)), [rule if rule == "all" else f"without {rule}" for rule in rules])
        figure.supxlabel(textwrap.fill(table.attrs["caption"], LETTERS), fontsize=7, color=FAINT)
    return figure
