"""How does dE(x) go with the epochs under several methods, and in which phases? (arXiv 2407.06315.)"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.digits_runs import trained
from analyses.lab import Lab
from analyses.training_runs import TrainingRun, shared_settings

PIECES, SHORTEST = 3, 4  # phases, and epochs in the shortest
CHOSEN = {"demo": " The recipe was chosen so that PGD overfits; one seed.", "paper": ""}  # by scale of the lab


def sat_and_trades(lab: Lab) -> pd.DataFrame:
    """Standard adversarial training beside TRADES, in phases."""
    table = curves(trained(lab, ("PGD", "TRADES")), phased=("PGD",))
    table.attrs["caption"] += f". Phases are cut by our rule [R].{CHOSEN[lab.scale]}"
    return table


def weat_family(lab: Lab) -> pd.DataFrame:
    """TRADES and the methods that weigh its samples."""
    table = curves(trained(lab, ("TRADES", "MAIL-TRADES", "WEAT_nat", "WEAT_adv")))
    table.attrs["caption"] += f". MAIL's details are our reading [R].{CHOSEN[lab.scale]}"
    return table


def curves(runs: Mapping[str, TrainingRun], phased: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row an epoch of each run: method, epoch, delta_marginal (nats, mean of the training samples seen), test_pgd
    (accuracy, %), phase (from 1; always 1 where the method is not among the phased)."""
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
    """The phase of every epoch, from 1: three straight pieces, cut where their summed squared error is least. [R]

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
