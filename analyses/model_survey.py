"""How do models part in dE(x) and dE(x, y) under one attack? (arXiv 2407.06315, the survey of RobustBench.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analyses.digits_runs import last_of, trained
from analyses.lab import Lab
from energylens.record import Record
from energylens.sign_test import accuracy_interval

PAPER_MODELS = (
    "Standard", "Andriushchenko2020Understanding", "Wong2020Fast", "Engstrom2019Robustness", "Rice2020Overfitting",
    "Zhang2019Theoretically", "Carmon2019Unlabeled", "Wang2020Improving", "Wu2020Adversarial_extra",
    "Gowal2020Uncovering_28_10_extra", "Rebuffi2021Fixing_28_10_cutmix_ddpm", "Wang2023Better_WRN-28-10",
)  # fmt: skip
PAPER: dict[str, Any] = {"data": "cifar10", "attacks": "pgd", "eps": "8/255", "n": 10_000}


def exhibit(lab: Lab) -> pd.DataFrame:
    """At demo scale the two shipped digits models and two trained here, else twelve of RobustBench's."""
    if lab.scale == "paper":
        return survey({name: lab.profile(name, **PAPER) for name in PAPER_MODELS})
    models = {name: name for name in ("digits-standard", "digits-pgd")}
    models |= {name: last_of(run) for name, run in trained(lab, ("PGD", "TRADES")).items()}
    return survey({name: lab.profile(model, data="digits", attacks="pgd", n=500) for name, model in models.items()})


def survey(records: Mapping[str, Record]) -> pd.DataFrame:
    """Every sample of every model's record, each of one attack: model, index, delta_marginal and delta_joint (nats,
    natural minus adversarial), natural, natural_low, natural_high and robust, robust_low, robust_high: the model's
    accuracies in % with their exact 95 % intervals. ``attrs["caption"]`` says what was measured."""
    tables = []
    for name, record in records.items():
        rows = record.attacks[1].rows
        correct = {"natural": rows["pred_clean"] == rows["label"], "robust": rows["pred_adv"] == rows["label"]}
        table = pd.DataFrame(
            {
                "model": name,
                "index": rows["index"],
                **{f"delta_{kind}": rows[f"{kind}_clean"] - rows[f"{kind}_adv"] for kind in ("marginal", "joint")},
            }
        )
        for kind, right in correct.items():
            low, high = accuracy_interval(int(right.sum()), len(right))
            table[[kind, f"{kind}_low", f"{kind}_high"]] = 100 * right.mean(), 100 * low, 100 * high
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    record = next(iter(records.values()))
    table.attrs["caption"] = (
        f"{record.dataset}, {record.attacks[1].label}, n = {len(record)} a model, {record.threat}, seed {record.seed}"
    )
    return table
