"""The AAE share around a collapse, step by step, beside FGSM accuracy in training and PGD accuracy on the test set.

AAE are abnormal adversarial examples (arXiv 2404.08154); the figure is one of arXiv 2505.22486. FGSM accuracy is that
on the training images.
"""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.figures.studies import recorded, trained
from energylens.plots.style import ABNORMAL, ERROR, FAINT, STYLE, legend_above
from energylens.tables.overfitting import falls


def table(cache: RunCache) -> pd.DataFrame:
    """The steps around the collapses of plain FGSM training; at the papers' scale at 8/255."""
    if cache.scale == "demo":
        return recorded("co", "falls").query("arm == 'FGSM'").reset_index(drop=True)
    return falls(*trained(cache, "co-paper", only="FGSM, 8/255"))


CURVES: dict[str, dict[str, Any]] = {
    "abnormal_share": {"color": ABNORMAL, "label": "AAE share, training"},
    "train_adv_accuracy": {"color": FAINT, "linestyle": "--", "label": "FGSM accuracy, training"},
    "test_pgd": {"color": ERROR, "marker": "o", "markersize": 3, "markeredgewidth": 0, "label": "PGD accuracy, test"},
}
LETTERS = 75  # of the caption's line


def draw(table: pd.DataFrame) -> Figure:
    """Draw the rows of ``tables.overfitting.falls`` of one arm."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.5))
        axes = figure.subplots()
        for column, style in CURVES.items():
            sns.lineplot(table, x="from_fall", y=column, units="seed", estimator=None, linewidth=1.3, ax=axes, **style)
        axes.axvline(0, color=FAINT, linewidth=0.7, linestyle=":")
        axes.set(xlabel="epochs since the evaluation that shows the collapse", ylabel="[%]", ylim=(-3, 103))
        legend_above(figure)
        figure.supxlabel(textwrap.fill(f"{table.attrs['caption']} A line a seed.", LETTERS), fontsize=6, color=FAINT)
    return figure
