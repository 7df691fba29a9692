"""The robustness table, a line a model: clean, PGD and AutoAttack with their intervals, published beside ours.

How robust are models? Accuracy on natural images, under PGD and under AutoAttack, beside what is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from energylens.figures.digits_runs import last_of, trained
from energylens.figures.model_survey import PAPER_MODELS, profiled
from energylens.figures.run_cache import RunCache
from energylens.records.record import Record
from energylens.statistics import accuracy_interval
from energylens.tables.published import published_accuracy

ATTACKS = ("pgd,steps=50", "autoattack")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"data": "digits", "eps": "0.2", "n": 200},
    "paper": {"data": "cifar10", "eps": "8/255", "n": 10_000},
}


def table(cache: RunCache) -> pd.DataFrame:
    """The accuracies of the models that the table shows.

    At demo scale these are the two shipped digits models and two trained here, else the eight of RobustBench's that the
    paper surveys, as far as they can be had.
    """
    settings = {"attacks": ATTACKS, **SCALES[cache.scale]}
    if cache.scale == "paper":
        records, without = profiled(cache, PAPER_MODELS, **settings)
        table = robustness(records)
        table.attrs["caption"] += without
        return table
    models = {name: name for name in ("digits-standard", "digits-pgd")}
    models |= {name: last_of(run) for name, run in trained(cache, ("PGD", "TRADES")).items()}
    return robustness({name: cache.profile(model, **settings) for name, model in models.items()})


def robustness(records: Mapping[str, Record]) -> pd.DataFrame:
    """One row a model and attack, natural first.

    The columns are model, dataset, eps, attack, n, accuracy, low, high (%, with the exact 95 % interval), published (%,
    NaN where RobustBench publishes nothing that compares), seconds.
    """
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


def draw(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange what ``robustness`` returns, as text."""
    rows = []
    for model, group in table.groupby("model", sort=False):
        cells = {"model": str(model), "n": str(group["n"].iloc[0])}
        for row in group.to_dict("records"):
            cells[row["attack"]] = f"{row['accuracy']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
            if group["published"].notna().any():
                published = row["published"]
                cells[f"{row['attack']}, published"] = f"{published:.2f}" if published == published else ""
        rows.append(cells)
    return pd.DataFrame(rows).fillna("")
