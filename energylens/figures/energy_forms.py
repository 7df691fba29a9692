"""Forms and weights of an energy penalty, a line a run: PGD accuracy at the end beside the best on the way."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.figures.studies import FORMER, recorded
from energylens.plots.style import ADVERSARIAL, DELTA, FAINT, NATURAL, caption_below, in_style, legend_above


def table(cache: RunCache) -> pd.DataFrame:
    """What became of FGSM under the forms that were tried before DER's formula was known, as recorded then.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return recorded(FORMER, "runs")


FATES = {"held": DELTA, "collapsed or diverged": ADVERSARIAL}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``tables.overfitting.outcomes`` returns, a line a run.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    rows = table.iloc[::-1].reset_index(drop=True)
    failed = rows["failed"].isin(("co", "diverged"))
    figure = Figure(figsize=(6.4, 1.1 + 0.165 * len(rows)))
    axes = figure.subplots()
    for (fate, colour), some in zip(FATES.items(), (rows[~failed], rows[failed]), strict=True):
        axes.hlines(some.index, some["end_pgd"], some["best_pgd"], color=colour, linewidth=1.0, alpha=0.6, label=fate)
        axes.plot(some["best_pgd"], some.index, "o", color=colour, markersize=4, markerfacecolor="white")
        axes.plot(some["end_pgd"], some.index, "o", color=colour, markersize=4)
    axes.plot(rows["end_clean"], rows.index, "|", color=NATURAL, ms=6, mew=1.6, label="clean at the end")
    axes.plot([], [], "o", color=FAINT, label="PGD at the end")  # in the legend of neither fate's colour
    axes.plot([], [], "o", color=FAINT, markerfacecolor="white", label="PGD at best")
    axes.set_yticks(rows.index, rows["arm"], fontsize=7)
    axes.set(xlabel="test accuracy  [%]", xlim=(-2, 82), ylim=(-0.8, len(rows) - 0.2))
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.5)
    legend_above(figure, ncols=3, fontsize=8)
    caption_below(figure, table.attrs["caption"])
    return figure
