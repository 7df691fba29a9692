"""The AAE share around a collapse, step by step, beside FGSM accuracy in training and PGD accuracy on the test set.

AAE are abnormal adversarial examples (arXiv 2404.08154); the figure is one of arXiv 2505.22486. FGSM accuracy is that
on the training images.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.figures.studies import recorded, trained
from energylens.plots.style import ABNORMAL, ERROR, FAINT, caption_below, in_style, legend_above
from energylens.tables.overfitting import falls


def table(cache: RunCache) -> pd.DataFrame:
    """The steps around the collapses of plain FGSM training; at the papers' scale at 8/255.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return (
        recorded("co", "falls", "FGSM") if cache.scale == "demo" else falls(*trained(cache, "co-paper", "FGSM, 8/255"))
    )


CURVES: dict[str, dict[str, Any]] = {
    "abnormal_share": {"color": ABNORMAL, "label": "AAE share, training"},
    "train_adv_accuracy": {"color": FAINT, "linestyle": "--", "label": "FGSM accuracy, training"},
    "test_pgd": {"color": ERROR, "marker": "o", "markersize": 3, "markeredgewidth": 0, "label": "PGD accuracy, test"},
}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw the rows of ``tables.overfitting.falls`` of one arm.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    figure = Figure(figsize=(5.2, 3.5))
    axes = figure.subplots()
    for column, style in CURVES.items():
        sns.lineplot(table, x="from_fall", y=column, units="seed", estimator=None, linewidth=1.3, ax=axes, **style)
    axes.axvline(0, color=FAINT, linewidth=0.7, linestyle=":")
    axes.set(xlabel="epochs since the evaluation that shows the collapse", ylabel="[%]", ylim=(-3, 103))
    legend_above(figure)
    caption_below(figure, f"{table.attrs['caption']} A line a seed.", 6)
    return figure
