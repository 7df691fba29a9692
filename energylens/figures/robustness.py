"""The robustness table, a line a model: clean, PGD and AutoAttack with their intervals, published beside ours.

How robust are models? Accuracy on natural images, under PGD and under AutoAttack, beside what is published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from energylens.figures.model_survey import profiled
from energylens.figures.run_cache import RunCache
from energylens.records.record import Record
from energylens.statistics import accuracy_interval
from energylens.tables.published import published_accuracy

COLUMNS = ("model", "dataset", "eps", "attack", "n", "accuracy", "low", "high", "published", "seconds")
ATTACKS = ("pgd,steps=50", "autoattack")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"data": "digits", "eps": "0.2", "n": 200},
    "paper": {"data": "cifar10", "eps": "8/255", "n": 10_000},
}


def table(cache: RunCache) -> pd.DataFrame:
    """The accuracies of the models of ``model_survey.profiled`` under PGD-50 and AutoAttack.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    records, without = profiled(cache, attacks=ATTACKS, **SCALES[cache.scale])
    table = robustness(records)
    table.attrs["caption"] += without
    return table


def robustness(records: Mapping[str, Record]) -> pd.DataFrame:
    """How robust models are.

    Args:
        records: by the model's name.

    Returns:
        One row a model and attack, natural first: model, dataset, eps, attack, n, accuracy, low, high (%, with the
        exact 95 % interval), published (%, NaN where RobustBench publishes nothing that compares), seconds.
        ``attrs["caption"]`` says what was measured.
    """
    rows = []
    for name, record in records.items():
        for attack in record.attacks:
            n, right = len(attack.rows), int((attack.rows["pred_adv"] == attack.rows["label"]).sum())
            shares = (100 * share for share in (right / n, *accuracy_interval(right, n)))
            told = (name, record.dataset, record.eps, attack.label, n)
            rows.append((*told, *shares, published_accuracy(attack), attack.seconds))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["caption"] = f"accuracy in % (95 % interval), {table['dataset'][0]}, eps {table['eps'][0]}"
    return table


def draw(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange what ``robustness`` returns, as text.

    Args:
        table: as ``table`` returns it.

    Returns:
        The cells, all of them text.
    """
    rows = []
    for model, group in table.groupby("model", sort=False):
        cells = {"model": str(model), "n": str(group["n"].iloc[0])}
        for row in group.to_dict("records"):
            cells[row["attack"]] = f"{row['accuracy']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
            if group["published"].notna().any():
                cells[f"{row['attack']}, published"] = "" if pd.isna(row["published"]) else f"{row['published']:.2f}"
        rows.append(cells)
    return pd.DataFrame(rows).fillna("")
