"""How robust are models? Accuracy on natural images, under PGD and under AutoAttack, beside what is published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analyses.digits_runs import last_of, trained
from analyses.lab import Lab
from analyses.model_survey import PAPER_MODELS, profiled
from energylens.published import published_accuracy
from energylens.record import Record
from energylens.sign_test import accuracy_interval

ATTACKS = ("pgd,steps=50", "autoattack")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"data": "digits", "eps": "0.2", "n": 200},
    "paper": {"data": "cifar10", "eps": "8/255", "n": 10_000},
}


def exhibit(lab: Lab) -> pd.DataFrame:
    """At demo scale the two shipped digits models and two trained here, else the eight of RobustBench's that the paper
    surveys, as far as they can be had."""
    settings = {"attacks": ATTACKS, **SCALES[lab.scale]}
    if lab.scale == "paper":
        records, without = profiled(lab, PAPER_MODELS, **settings)
        table = robustness(records)
        table.attrs["caption"] += without
        return table
    models = {name: name for name in ("digits-standard", "digits-pgd")}
    models |= {name: last_of(run) for name, run in trained(lab, ("PGD", "TRADES")).items()}
    return robustness({name: lab.profile(model, **settings) for name, model in models.items()})


def robustness(records: Mapping[str, Record]) -> pd.DataFrame:
    """One row a model and attack, natural first: model, dataset, eps, attack, n, accuracy, low, high (%, with the exact
    95 % interval), published (%, NaN where RobustBench publishes nothing that compares), seconds."""
    rows = []
    for name, record in records.items():
        for attack in record.attacks:
            right = int((attack.rows["pred_adv"] == attack.rows["label"]).sum())
            low, high = accuracy_interval(right, len(attack.rows))
            rows.append(
                {
                    "model": name,
                    "dataset": record.dataset,
                    "eps": record.eps,
                    "attack": attack.label,
                    "n": len(attack.rows),
                    "accuracy": 100 * right / len(attack.rows),
                    "low": 100 * low,
                    "high": 100 * high,
                    "published": published_accuracy(attack),
                    "seconds": attack.seconds,
                }
            )
    table = pd.DataFrame(rows)
    table.attrs["caption"] = f"accuracy in % (95 % interval), {table['dataset'][0]}, eps {table['eps'][0]}"
    return table
