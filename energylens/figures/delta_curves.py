"""dE(x) of training samples and PGD test accuracy by epoch, a colour a method; dotted lines part a curve's phases.

How does dE(x) go with the epochs under several methods, and in which phases? (arXiv 2407.06315.)
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from energylens.figures.digits_runs import trained
from energylens.figures.run_cache import RunCache
from energylens.plots.style import FAINT, SERIES, STYLE, legend_above
from energylens.tables.training_runs import TrainingRun, shared_settings

PIECES, SHORTEST = 3, 4  # phases, and epochs in the shortest
CHOSEN = {"demo": " The recipe was chosen so that PGD overfits; one seed.", "paper": ""}  # by scale of the run cache


def sat_and_trades(cache: RunCache) -> pd.DataFrame:
    """Standard adversarial training beside TRADES, in phases."""
    table = curves(trained(cache, ("PGD", "TRADES")), phased=("PGD",))
    table.attrs["caption"] += f". Phases are cut by our rule [R].{CHOSEN[cache.scale]}"
    return table


def weat_family(cache: RunCache) -> pd.DataFrame:
    """TRADES and the methods that weigh its samples."""
    table = curves(trained(cache, ("TRADES", "MAIL-TRADES", "WEAT_nat", "WEAT_adv")))
    table.attrs["caption"] += f". MAIL's details are our reading [R].{CHOSEN[cache.scale]}"
    return table


def curves(runs: Mapping[str, TrainingRun], phased: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row an epoch of each run.

    The columns are method, epoch, delta_marginal (nats, mean of the training samples seen), test_pgd (accuracy, %),
    phase (from 1; always 1 where the method is not among the phased).
    """
    tables = []
    for method, run in runs.items():
        history = run.history
        rows = pd.DataFrame(
            {
                "method": method,
                "epoch": history["epoch"],
                "delta_marginal": history["delta_marginal"],
                "test_pgd": 100 * history["test_pgd"],
                "phase": 1,
            }
        )
        if method in phased:
            rows["phase"] = phases(rows["delta_marginal"].to_numpy("float64"))
        tables.append(rows)
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = shared_settings(list(runs.values()))
    return table


def phases(curve: NDArray[np.float64]) -> NDArray[np.int64]:
    """The phase of every epoch, from 1: three straight pieces, cut where their summed squared error is least [R].

    curve: (epochs,). The paper sets its lines by eye; fewer than 12 epochs are one phase.
    """
    count = len(curve)
    if count < PIECES * SHORTEST:
        return np.ones(count, dtype=np.int64)
    pairs = [
        (first, second)
        for first in range(SHORTEST, count - 2 * SHORTEST + 1)
        for second in range(first + SHORTEST, count - SHORTEST + 1)
    ]
    first, second = min(pairs, key=lambda cuts: sum(map(_misfit, np.split(curve, cuts))))
    return 1 + (np.arange(count) >= first).astype(np.int64) + (np.arange(count) >= second)


def _misfit(piece: NDArray[np.float64]) -> float:
    """Summed squared distance of a piece of the curve from its straight line."""
    x = np.arange(len(piece)) - (len(piece) - 1) / 2
    centred = piece - piece.mean()
    return float(centred @ centred - (x @ centred) ** 2 / (x @ x))


PANELS = {"delta_marginal": "$\\Delta E(x)$, training  [nats]", "test_pgd": "PGD test accuracy  [%]"}
LETTERS = 105  # of the caption's line


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``curves`` returns."""
    colours = dict(zip(table["method"].unique(), SERIES, strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.3))
        for axes, (column, name) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            sns.lineplot(
                table, x="epoch", y=column, hue="method", palette=colours, estimator=None, linewidth=1.6, ax=axes
            )
            for method, rows in table.groupby("method"):
                for epoch in rows.loc[rows["phase"].diff() > 0, "epoch"]:
                    axes.axvline(epoch, color=colours[method], linewidth=1.0, linestyle=":")
            axes.set(ylabel=name, xlim=(1, table["epoch"].max()))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend_above(figure)
        figure.supxlabel(textwrap.fill(table.attrs["caption"], LETTERS), fontsize=7, color=FAINT)
    return figure
