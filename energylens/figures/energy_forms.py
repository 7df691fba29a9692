"""Forms and weights of an energy penalty, a line a run: PGD accuracy at the end beside the best on the way."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from energylens.figures.run_cache import RunCache
from energylens.figures.studies import FORMER, recorded
from energylens.plots.style import ADVERSARIAL, DELTA, FAINT, NATURAL, STYLE


def table(cache: RunCache) -> pd.DataFrame:
    """What became of FGSM under the forms that were tried before DER's formula was known, as recorded then."""
    return recorded(FORMER, "runs")


LETTERS = 100  # of the caption's line
HELD = {True: DELTA, False: ADVERSARIAL}  # by whether no collapse and no divergence was seen


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``tables.overfitting.outcomes`` returns, a line a run."""
    rows = table.iloc[::-1].reset_index(drop=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.1 + 0.165 * len(rows)))
        axes = figure.subplots()
        for held, colour in HELD.items():
            some = rows[~rows["failed"].isin(("co", "diverged")) == held]
            axes.hlines(some.index, some["end_pgd"], some["best_pgd"], color=colour, linewidth=1.0, alpha=0.6)
            axes.plot(some["best_pgd"], some.index, "o", color=colour, markersize=4, markerfacecolor="white")
            axes.plot(some["end_pgd"], some.index, "o", color=colour, markersize=4)
        axes.plot(rows["end_clean"], rows.index, "|", color=NATURAL, markersize=6, markeredgewidth=1.6)
        axes.set_yticks(np.arange(len(rows)), rows["arm"], fontsize=7)
        axes.set(xlabel="test accuracy  [%]", xlim=(-2, 82), ylim=(-0.8, len(rows) - 0.2))
        axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.5)
        figure.legend(handles=_handles(), loc="outside upper center", ncols=3, fontsize=8)
        figure.supxlabel(textwrap.fill(table.attrs["caption"], LETTERS), fontsize=7, color=FAINT)
    return figure


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=FAINT, marker="o", linestyle="", label="PGD at the end"),
        Line2D([], [], color=FAINT, marker="o", markerfacecolor="white", linestyle="", label="PGD at best"),
        Line2D([], [], color=NATURAL, marker="|", linestyle="", markeredgewidth=1.6, label="clean at the end"),
        Line2D([], [], color=DELTA, linewidth=2, label="held"),
        Line2D([], [], color=ADVERSARIAL, linewidth=2, label="collapsed or diverged"),
    ]
