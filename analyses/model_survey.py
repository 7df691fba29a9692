"""How do models part in dE(x) and dE(x, y) under one attack? (arXiv 2407.06315, the survey of RobustBench.)"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analyses.digits_runs import last_of, trained
from analyses.lab import Lab
from energylens.errors import InputError, RunError
from energylens.record import Record
from energylens.sign_test import accuracy_interval

#: arXiv 2407.06315's, in its order, with the AutoAttack accuracies in % that stand above them
PAPER_MODELS = {
    "Engstrom2019Robustness": 49.25,
    "Zhang2020Geometry": 59.64,
    "Zhang2019Theoretically": 53.08,
    "Wang2020Improving": 56.29,
    "Wu2020Adversarial": 56.17,
    "Cui2023Decoupled_WRN-34-10": 57.09,
    "Cui2023Decoupled_WRN-28-10": 67.73,
    "Wang2023Better_WRN-70-16": 70.69,
}
PAPER: dict[str, Any] = {"data": "cifar10", "attacks": "pgd", "eps": "8/255", "n": 10_000}


def exhibit(lab: Lab) -> pd.DataFrame:
    """At demo scale the two shipped digits models and two trained here, else the paper's eight of RobustBench."""
    if lab.scale == "paper":
        records, without = profiled(lab, PAPER_MODELS, **PAPER)
        table = survey(records, published=PAPER_MODELS)
        table.attrs["caption"] += without
        return table
    models = {name: name for name in ("digits-standard", "digits-pgd")}
    models |= {name: last_of(run) for name, run in trained(lab, ("PGD", "TRADES")).items()}
    return survey({name: lab.profile(model, data="digits", attacks="pgd", n=500) for name, model in models.items()})


def profiled(lab: Lab, models: Iterable[str], **settings: Any) -> tuple[dict[str, Record], str]:
    """The records of those models that can be had, and in words which ones cannot: "" for none. Raises what the last
    one raised where none can."""
    records: dict[str, Record] = {}
    missing: list[str] = []
    for name in models:
        try:
            records[name] = lab.profile(name, **settings)
        except (InputError, RunError) as error:
            lab.tell(f"without {name}: {error}")
            missing.append(name)
            failure = error
    if not records:
        raise failure
    return records, f"; without {', '.join(missing)}, which could not be had" if missing else ""


def survey(records: Mapping[str, Record], published: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Every sample of every model's record, each of one attack: model, index, delta_marginal and delta_joint (nats,
    natural minus adversarial), natural, natural_low, natural_high and robust, robust_low, robust_high: the model's
    accuracies in % with their exact 95 % intervals, autoattack: in %, as published, NaN where nothing is.
    ``attrs["caption"]`` says what was measured."""
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
        table["autoattack"] = (published or {}).get(name, math.nan)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    record = next(iter(records.values()))
    table.attrs["caption"] = (
        f"{record.dataset}, {record.attacks[1].label}, n = {len(record)} a model, {record.threat}, seed {record.seed}"
    )
    return table
