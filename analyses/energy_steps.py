"""Where do an attack's energies go, step by step? E(x') and E(x', y) of every iterate (arXiv 2304.04033)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analyses.lab import Lab
from energylens.errors import InputError
from energylens.record import PATH_COLUMNS, Record

ENERGIES = ("marginal", "joint")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-standard", "n": 256},
    "paper": {"model": "Standard", "data": "cifar10", "eps": "8/255", "n": 1000},
}


def exhibit(lab: Lab) -> pd.DataFrame:
    """PGD, which leaves a trace, beside HE-PGD, which hides it, 40 steps each."""
    attacks = ("pgd,steps=40", "he-pgd,steps=40")
    return energy_against_steps(lab.profile(attacks=attacks, trajectory=True, **SCALES[lab.scale]))


def energy_against_steps(record: Record) -> pd.DataFrame:
    """The energies of the iterates of every traced attack in a record.

    Returns one row a step: attack, label, energy (marginal or joint), step (0 is the attack's start), mean, low and
    high (the quartiles over the samples), natural (the mean of the natural images), all in nats. ``attrs["caption"]``
    says what was measured. Raises InputError where no attack of the record was traced.
    """
    traced = [attack for attack in record.attacks if PATH_COLUMNS[0] in attack.rows]
    if not traced:
        raise InputError(
            "no attack of this record tells the energies of its steps: take attacks that climb (pgd, he-pgd, trades, "
            "fgsm ...) and profile with trajectory=True (--trajectory)"
        )
    tables = []
    for attack in traced:
        for energy, column in zip(ENERGIES, PATH_COLUMNS, strict=True):
            paths = np.stack(attack.rows[column].to_list()).astype("float64")
            low, high = np.quantile(paths, [0.25, 0.75], axis=0)
            tables.append(
                pd.DataFrame(
                    {
                        "attack": attack.name,
                        "label": attack.label,
                        "energy": energy,
                        "step": np.arange(paths.shape[1]),
                        "mean": paths.mean(axis=0),
                        "low": low,
                        "high": high,
                        "natural": attack.rows[f"{energy}_clean"].astype("float64").mean(),
                    }
                )
            )
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = (
        f"{record.model_title} on {record.dataset}, n = {len(record)}, {record.threat}, seed {record.seed}"
    )
    return table
