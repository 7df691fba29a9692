"""Training on the whole of CIFAR-10, an arm a column: PGD test error and dE(x) of the training samples by epoch.

Below them stand the share of abnormal examples and how far FGSM accuracy leaves PGD accuracy behind (arXiv 2505.22486).
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.figures.overfitting import ALARM
from energylens.plots.style import ABNORMAL, ADVERSARIAL, DELTA, ERROR, FAINT, caption_below, in_style, legend_above

ACROSS = 4  # arms side by side
CURVES: dict[str, dict[str, Any]] = {
    "error": {"color": ERROR, "linewidth": 1.4, "label": "PGD test error"},
    "delta_marginal": {"color": DELTA, "linewidth": 1.4, "label": "$\\Delta E(x)$, training samples"},
    "abnormal_share": {"color": ABNORMAL, "clip_on": False, "label": "abnormal examples, training"},
    "gap": {"color": FAINT, "clip_on": False, "label": "FGSM minus PGD accuracy, training"},
}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.campaign.curves`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    table = table.assign(error=100 - table["test_pgd"])
    arms = list(dict.fromkeys(table["arm"]))
    across, bands = min(len(arms), ACROSS), -(-len(arms) // ACROSS)
    low, high = min(table["delta_marginal"].min(), 0), max(table["delta_marginal"].max(), 0)
    margin = 0.1 * max(high - low, 0.1)
    figure = Figure(figsize=(2.6 * across + 0.6, 3.2 * bands + 0.9))
    grid = figure.subplots(2 * bands, across, squeeze=False, height_ratios=[2, 1] * bands)
    for number in range(bands * across):
        upper, lower = (grid[2 * (number // across) + down, number % across] for down in (0, 1))
        if number >= len(arms):
            upper.set_visible(False)
            lower.set_visible(False)
            continue
        right = _arm(upper, lower, table[table["arm"] == arms[number]])
        right.set_ylim(low - margin, high + margin)
        upper.set_title(arms[number])
        last = number % across == across - 1 or number == len(arms) - 1
        right.tick_params(labelright=last)
        if number % across == 0:
            upper.set_ylabel("PGD test error  [%]", color=ERROR)
            lower.set_ylabel("[%]")
        if last:
            right.set_ylabel("$\\Delta E(x)$  [nats]", color=DELTA)
    legend_above(figure, ncols=3)
    caption_below(figure, f"{table.attrs['caption']} A line a seed.", 6)
    return figure


def _arm(upper: Axes, lower: Axes, rows: pd.DataFrame) -> Axes:
    """One arm, a line a seed; returns the upper panel's right axes."""
    right = upper.twinx()
    right.spines["right"].set_visible(True)
    right.axhline(0, color=DELTA, linewidth=0.6, alpha=0.5)
    for (column, style), axes in zip(CURVES.items(), (upper, right, lower, lower), strict=True):
        sns.lineplot(rows, x="epoch", y=column, units="seed", estimator=None, ax=axes, **style)
    alarms = rows[rows["alarm"] != ""].drop_duplicates("seed")
    if len(alarms):  # the legend names nothing that is not drawn
        upper.plot(alarms["epoch"], [103] * len(alarms), "v", color=ADVERSARIAL, clip_on=False, label=ALARM)
    upper.sharex(lower)  # one epoch axis, one set of ticks
    upper.tick_params(labelbottom=False)
    upper.set(ylim=(-3, 103), xlabel="", ylabel="")
    lower.set(ylim=(-3, 103), ylabel="")
    right.set_ylabel("")
    return right
