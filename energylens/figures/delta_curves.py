"""dE(x) of training samples and PGD test accuracy by epoch, a colour a method; dotted lines part a curve's phases.

How does dE(x) go with the epochs under several methods, and in which phases? (arXiv 2407.06315.)
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from energylens.figures.digits_runs import trained
from energylens.figures.run_cache import RunCache
from energylens.plots.style import SERIES, caption_below, in_style, legend_above
from energylens.tables.training_runs import TrainingRun, shared_settings

PIECES, SHORTEST = 3, 4  # phases, and epochs in the shortest
CHOSEN = {"demo": " The recipe was chosen so that PGD overfits; one seed.", "paper": ""}  # by scale of the run cache


def sat_and_trades(cache: RunCache) -> pd.DataFrame:
    """Standard adversarial training beside TRADES, in phases.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    table = curves(trained(cache, ("PGD", "TRADES")), phased=("PGD",))
    table.attrs["caption"] += f". Phases are cut by our rule [R].{CHOSEN[cache.scale]}"
    return table


def weat_family(cache: RunCache) -> pd.DataFrame:
    """TRADES and the methods that weigh its samples.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    table = curves(trained(cache, ("TRADES", "MAIL-TRADES", "WEAT_nat", "WEAT_adv")))
    table.attrs["caption"] += f". MAIL's details are our reading [R].{CHOSEN[cache.scale]}"
    return table


def curves(runs: Mapping[str, TrainingRun], phased: tuple[str, ...] = ()) -> pd.DataFrame:
    """The epochs of runs of several methods.

    Args:
        runs: by method, as it is called in the figure.
        phased: the methods whose dE(x) is cut into phases.

    Returns:
        One row an epoch of each run: method, epoch, delta_marginal (nats, mean of the training samples seen), test_pgd
        (accuracy, %), phase (from 1; always 1 where the method is not among the phased).
    """
    tables = []
    for method, run in runs.items():
        phase = phases(run.history["delta_marginal"].to_numpy("float64")) if method in phased else 1
        tables.append(run.percent.assign(method=method, phase=phase))
    table = pd.concat(tables, ignore_index=True)[["method", "epoch", "delta_marginal", "test_pgd", "phase"]]
    table.attrs["caption"] = shared_settings(list(runs.values()))
    return table


def phases(curve: NDArray[np.float64]) -> NDArray[np.int64]:
    """The phases of a curve: three straight pieces, cut where their summed squared error is least [R].

    The paper sets its lines by eye.

    Args:
        curve: (epochs,), dE(x) in nats.

    Returns:
        The phase of every epoch, (epochs,), from 1; fewer than 12 epochs are one phase.
    """
    count = len(curve)
    if count < PIECES * SHORTEST:
        return np.ones(count, dtype=np.int64)
    pairs = combinations(range(SHORTEST, count - SHORTEST + 1), PIECES - 1)
    allowed = [(first, second) for first, second in pairs if second - first >= SHORTEST]
    cuts = min(allowed, key=lambda cuts: sum(map(_misfit, np.split(curve, cuts))))
    return 1 + np.searchsorted(cuts, np.arange(count), side="right")


def _misfit(piece: NDArray[np.float64]) -> float:
    """Summed squared distance of a piece of the curve from its straight line."""
    x = np.arange(len(piece)) - (len(piece) - 1) / 2
    centred = piece - piece.mean()
    return float(centred @ centred - (x @ centred) ** 2 / (x @ x))


PANELS = {"delta_marginal": "$\\Delta E(x)$, training  [nats]", "test_pgd": "PGD test accuracy  [%]"}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``curves`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    colours = dict(zip(table["method"].unique(), SERIES, strict=False))
    figure = Figure(figsize=(7.2, 3.3))
    for axes, (column, name) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        sns.lineplot(table, x="epoch", y=column, hue="method", palette=colours, estimator=None, linewidth=1.6, ax=axes)
        for method, rows in table.groupby("method"):
            for epoch in rows.loc[rows["phase"].diff() > 0, "epoch"]:
                axes.axvline(epoch, color=colours[method], linewidth=1.0, linestyle=":")
        axes.set(ylabel=name, xlim=(1, table["epoch"].max()))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend_above(figure)
    caption_below(figure, table.attrs["caption"])
    return figure
