"""CO and RO, a panel a regulariser: PGD test error (left) and dE(x) (right) by epoch, mean and range over the seeds.

dE(x) is of the training samples. Each of two data sets has a column (arXiv 2505.22486). Lines are means over the seeds;
bands go from the lowest to the highest of them.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.errors import InputError, RunError
from energylens.figures.run_cache import RunCache
from energylens.figures.studies import SECOND, recorded, trained
from energylens.plots.style import ADVERSARIAL, DELTA, ERROR, caption_below, in_style, legend_above
from energylens.tables.overfitting import epochs


def catastrophic(cache: RunCache) -> pd.DataFrame:
    """The epochs of the study of catastrophic overfitting.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return _epochs_of("co", cache)


def robust(cache: RunCache) -> pd.DataFrame:
    """The epochs of the study of robust overfitting.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return _epochs_of("ro", cache)


def _epochs_of(name: str, cache: RunCache) -> pd.DataFrame:
    """The epochs of a study: what was recorded at demo scale, both data sets at the papers'.

    CIFAR-10 is not at hand everywhere and hours are long, so that at demo scale nothing is trained. At the papers'
    scale the second data set is left out where it is not at hand.
    """
    if cache.scale == "demo":
        return recorded(name, "epochs")
    arms, runs = trained(cache, f"{name}-paper")
    try:
        also = trained(cache, f"{name}-{SECOND}", diverged_too=True)
    except (InputError, RunError) as error:
        cache.tell(f"without {SECOND}: {error}")
        return epochs(arms, runs)
    return epochs([*arms, *also[0]], [*runs, *also[1]])


ACROSS = 4  # panels side by side, of one data set
RANGE = ("pi", 100)  # from the lowest seed to the highest
ALARM = "first alarm of the watch (a seed each)"
CURVES: dict[str, dict[str, Any]] = {
    "error": {"color": ERROR, "label": "PGD test error"},
    "delta_marginal": {"color": DELTA, "label": "$\\Delta E(x)$, training samples"},
}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``tables.overfitting.epochs`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    table = table.assign(error=100 - table["test_pgd"])
    arms, datasets = list(dict.fromkeys(table["arm"])), list(dict.fromkeys(table["dataset"]))
    panels = list(product(arms, datasets))
    wide = min(len(panels), ACROSS)
    across = len(datasets) if len(datasets) > 1 else wide
    down = -(-len(panels) // across)
    figure = Figure(figsize=(2.45 * wide, 1.9 * down + 0.9))
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    limits = _delta_limits(table)
    grid[0, 0].set_xlim(1, table["epoch"].max())  # all panels share their axes
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for number, (axes, (arm, dataset)) in enumerate(zip(grid.flat, panels, strict=False)):
        # seaborn names an axis whose ticks are numbered: the lowest of its column
        axes.tick_params(labelbottom=number + across >= len(panels))
        right = _panel(axes, table[(table["arm"] == arm) & (table["dataset"] == dataset)], limits)
        axes.set_title(arm if len(datasets) == 1 else f"{dataset}, {arm}", pad=8)  # above the alarms
        last = number % across == across - 1 or number == len(panels) - 1
        right.tick_params(labelright=last)
        if last:
            right.set_ylabel("$\\Delta E(x)$  [nats]", color=DELTA)
        if number % across == 0:
            axes.set_ylabel("PGD test error  [%]", color=ERROR)
    legend_above(figure)
    caption_below(figure, table.attrs["caption"])
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, limits: tuple[float, float]) -> Axes:
    """One arm; returns the right axes."""
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.axhline(0, color=DELTA, linewidth=0.6, alpha=0.5)
    for (column, style), side in zip(CURVES.items(), (axes, right), strict=True):
        sns.lineplot(
            rows, x="epoch", y=column, errorbar=RANGE, err_kws={"alpha": 0.25, "linewidth": 0}, linewidth=1.8, ax=side,
            **style,
        )  # fmt: skip
    alarms = rows[rows["alarm"] != ""].drop_duplicates("seed")
    if len(alarms):  # the legend names nothing that is not drawn
        axes.plot(alarms["epoch"], [103] * len(alarms), "v", color=ADVERSARIAL, clip_on=False, label=ALARM)
    axes.set(ylim=(-3, 103), ylabel="")
    right.set(ylim=limits, ylabel="")
    right.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    return right


def _delta_limits(table: pd.DataFrame) -> tuple[float, float]:
    """One right axis for all panels, on which every line is whole."""
    low, high = min(table["delta_marginal"].min(), 0), max(table["delta_marginal"].max(), 0)
    margin = 0.1 * max(high - low, 0.1)
    return float(low - margin), float(high + margin)
