"""Which way does an attack move a sample in the plane of (E(x, y), E(x))? (arXiv 2407.06315.)"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analyses.lab import Lab
from energylens.record import Record

THREE = ("pgd", "trades", "cw")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-standard", "attacks": THREE, "n": 256},
    "paper": {"model": "Standard", "data": "cifar10", "attacks": THREE, "eps": "8/255", "n": 1000},
}
COLUMNS = ["index", "joint_clean", "marginal_clean", "joint_adv", "marginal_adv", "success"]
ARROWS = 120  # more of them are a tangle


def exhibit(lab: Lab) -> pd.DataFrame:
    """The plane under PGD, TRADES-KL and C&W."""
    return plane(lab.profile(**SCALES[lab.scale]))


def plane(record: Record, *, arrows: int = ARROWS) -> pd.DataFrame:
    """The samples of every attack of a record: attack, label, index, joint_clean, marginal_clean, joint_adv,
    marginal_adv (nats), success, shown (whether among the first so many, chosen evenly, that have an arrow).

    ``attrs["caption"]`` says what was measured.
    """
    tables = []
    for attack in record.attacks[1:]:
        rows = attack.rows[COLUMNS].astype(dict.fromkeys(COLUMNS[1:5], "float64"))
        shown = np.zeros(len(rows), dtype=bool)
        shown[np.linspace(0, len(rows) - 1, min(arrows, len(rows))).astype(int)] = True
        tables.append(rows.assign(attack=attack.name, label=attack.label, shown=shown))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = (
        f"{record.model_title} on {record.dataset}, n = {len(record)}, {record.threat}, seed {record.seed}"
    )
    return table
