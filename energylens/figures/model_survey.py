"""Half-violins of dE(x) (left) and dE(x, y) (right), a model each; above them its accuracies, ours and published.

Ours come with their intervals; above them is AutoAttack's accuracy as published (arXiv 2407.06315).

How do models part in dE(x) and dE(x, y) under one attack? (arXiv 2407.06315, the survey of RobustBench.)
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.errors import InputError, RunError
from energylens.figures.digits_runs import last_of, trained
from energylens.figures.run_cache import RunCache
from energylens.plots.style import ADVERSARIAL, DELTA, ERROR, FAINT, INK, NATURAL, STYLE, legend_above
from energylens.records.record import Record
from energylens.statistics import accuracy_interval

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


def table(cache: RunCache) -> pd.DataFrame:
    """At demo scale the two shipped digits models and two trained here, else the paper's eight of RobustBench."""
    if cache.scale == "paper":
        records, without = profiled(cache, PAPER_MODELS, **PAPER)
        table = survey(records, published=PAPER_MODELS)
        table.attrs["caption"] += without
        return table
    models = {name: name for name in ("digits-standard", "digits-pgd")}
    models |= {name: last_of(run) for name, run in trained(cache, ("PGD", "TRADES")).items()}
    return survey({name: cache.profile(model, data="digits", attacks="pgd", n=500) for name, model in models.items()})


def profiled(cache: RunCache, models: Iterable[str], **settings: Any) -> tuple[dict[str, Record], str]:
    """The records of those models that can be had, and in words which ones cannot: "" for none.

    Raises what the last one raised where none can.
    """
    records: dict[str, Record] = {}
    missing: list[str] = []
    for name in models:
        try:
            records[name] = cache.profile(name, **settings)
        except (InputError, RunError) as error:
            cache.tell(f"without {name}: {error}")
            missing.append(name)
            failure = error
    if not records:
        raise failure
    return records, f"; without {', '.join(missing)}, which could not be had" if missing else ""


def survey(records: Mapping[str, Record], published: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Every sample of every model's record, each of one attack.

    The columns are model, index, delta_marginal and delta_joint (nats, natural minus adversarial), natural,
    natural_low, natural_high and robust, robust_low, robust_high (the model's accuracies in % with their exact 95 %
    intervals), autoattack (in %, as published, NaN where nothing is).

    ``attrs["caption"]`` says what was measured.
    """
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


HALVES = {"delta_marginal": "$\\Delta E(x)$", "delta_joint": "$\\Delta E(x, y)$"}
COLOURS = {"$\\Delta E(x)$": DELTA, "$\\Delta E(x, y)$": ERROR}
ACCURACIES = {"natural": NATURAL, "robust": ADVERSARIAL}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``survey`` returns."""
    models = list(dict.fromkeys(table["model"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.4 + 1.15 * max(len(models), 3), 4.2))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
        _accuracies(above, table.drop_duplicates("model"))
        _violins(below, table.rename(columns=HALVES))
        below.set_xticks(range(len(models)), [textwrap.fill(name, 14, break_on_hyphens=True) for name in models])
        legend_above(figure)
        figure.supxlabel(f"{table.attrs['caption']}. Lines: quartiles.", fontsize=8, color=FAINT)
    return figure


def _accuracies(axes: Axes, rows: pd.DataFrame) -> None:
    """A bar each for natural and robust accuracy."""
    for shift, (kind, colour) in zip((-0.17, 0.17), ACCURACIES.items(), strict=True):
        at, high = np.arange(len(rows)) + shift, rows[f"{kind}_high"]
        error = [rows[kind] - rows[f"{kind}_low"], high - rows[kind]]
        axes.bar(
            at, rows[kind], 0.32, color=colour, label=f"{kind} accuracy",
            yerr=error, ecolor=INK, error_kw={"linewidth": 0.8},
        )  # fmt: skip
        for x, top, value in zip(at, high, rows[kind], strict=True):
            axes.annotate(f"{value:.0f}", (x, top), xytext=(0, 1), textcoords="offset points", ha="center", fontsize=7)
    for x, published in enumerate(rows["autoattack"]):
        if pd.notna(published):
            axes.annotate(f"AutoAttack\n{published:.2f}", (x, 112), ha="center", va="bottom", fontsize=7)
    axes.set(ylim=(0, 118 if rows["autoattack"].isna().all() else 152), yticks=(0, 50, 100), ylabel="accuracy  [%]")
    axes.tick_params(bottom=False)


def _violins(axes: Axes, table: pd.DataFrame) -> None:
    """Both energies' differences of every model, each as wide at its densest."""
    axes.axhline(0, color=FAINT, linewidth=0.7)
    sns.violinplot(
        table.melt("model", list(COLOURS)), x="model", y="value", hue="variable", palette=COLOURS, split=True,
        inner="quart", cut=0, density_norm="width", linewidth=0.9, saturation=1, alpha=0.6, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="", ylabel="natural minus adversarial  [nats]")
