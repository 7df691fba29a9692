"""Half-violins of dE(x) (left) and dE(x, y) (right), a model each; above them its accuracies, ours and published.

Ours come with their intervals; above them is AutoAttack's accuracy as published (arXiv 2407.06315).

How do models part in dE(x) and dE(x, y) under one attack? (arXiv 2407.06315, the survey of RobustBench.)
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.errors import InputError, RunError
from energylens.figures.digits_runs import last_of, trained
from energylens.figures.run_cache import RunCache
from energylens.plots.style import ADVERSARIAL, DELTA, ERROR, FAINT, INK, NATURAL, caption_below, in_style, legend_above
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
COLUMNS = (
    "model", "index", "delta_marginal", "delta_joint",
    "natural", "natural_low", "natural_high", "robust", "robust_low", "robust_high", "autoattack",
)  # fmt: skip
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"data": "digits", "n": 500},
    "paper": {"data": "cifar10", "eps": "8/255", "n": 10_000},
}


def table(cache: RunCache) -> pd.DataFrame:
    """dE(x) and dE(x, y) of every sample of the models of ``profiled``, under PGD.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    records, without = profiled(cache, attacks="pgd", **SCALES[cache.scale])
    table = survey(records, published=PAPER_MODELS)
    table.attrs["caption"] += without
    return table


def profiled(cache: RunCache, **settings: Any) -> tuple[dict[str, Record], str]:
    """The records of the models that are compared.

    At demo scale these are the two shipped digits models and two trained here, else the eight of RobustBench's that the
    paper surveys, as far as they can be had.

    Args:
        cache: where runs come from.
        settings: of ``energylens.profile``.

    Returns:
        The records by the model's name, and in words which ones cannot be had: "" for none.

    Raises:
        InputError: no model can be had.
        RunError: no model can be had.
    """
    if cache.scale == "paper":
        models = {name: name for name in PAPER_MODELS}
    else:
        models = {name: name for name in ("digits-standard", "digits-pgd")}
        models |= {name: last_of(run) for name, run in trained(cache, ("PGD", "TRADES")).items()}
    records: dict[str, Record] = {}
    missing: list[str] = []
    for name, model in models.items():
        try:
            records[name] = cache.profile(model, **settings)
        except (InputError, RunError) as error:
            cache.tell(f"without {name}: {error}")
            missing.append(name)
            failure = error
    if not records:
        raise failure
    return records, f"; without {', '.join(missing)}, which could not be had" if missing else ""


def survey(records: Mapping[str, Record], published: Mapping[str, float] = MappingProxyType({})) -> pd.DataFrame:
    """What one attack does to the energies of several models.

    Args:
        records: by the model's name, each of one attack.
        published: AutoAttack accuracies in %, by the model's name.

    Returns:
        One row a sample and model: model, index, delta_marginal and delta_joint (nats, natural minus adversarial),
        natural, natural_low, natural_high and robust, robust_low, robust_high (the model's accuracies in % with their
        exact 95 % intervals), autoattack (in %, as published, NaN where nothing is). ``attrs["caption"]`` says what was
        measured.
    """
    tables = []
    for name, record in records.items():
        rows = record.attacks[1].rows
        correct = {"natural": rows["pred_clean"] == rows["label"], "robust": rows["pred_adv"] == rows["label"]}
        deltas = {f"delta_{kind}": rows[f"{kind}_clean"] - rows[f"{kind}_adv"] for kind in ("marginal", "joint")}
        table = rows[["index"]].assign(model=name, **deltas, autoattack=published.get(name, math.nan))
        for kind, right in correct.items():
            low, high = accuracy_interval(int(right.sum()), len(right))
            table[[kind, f"{kind}_low", f"{kind}_high"]] = 100 * right.mean(), 100 * low, 100 * high
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    record = next(iter(records.values()))
    table.attrs["caption"] = (
        f"{record.dataset}, {record.attacks[1].label}, n = {len(record)} a model, {record.threat}, seed {record.seed}"
    )
    return table


HALVES = {"delta_marginal": "$\\Delta E(x)$", "delta_joint": "$\\Delta E(x, y)$"}
COLOURS = dict(zip(HALVES.values(), (DELTA, ERROR), strict=True))
ACCURACIES = {"natural": NATURAL, "robust": ADVERSARIAL}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``survey`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    models = list(dict.fromkeys(table["model"]))
    figure = Figure(figsize=(1.4 + 1.15 * max(len(models), 3), 4.2))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    _accuracies(above, table.drop_duplicates("model"))
    _violins(below, table.rename(columns=HALVES))
    below.set_xticks(range(len(models)), [textwrap.fill(name, 14, break_on_hyphens=True) for name in models])
    legend_above(figure)
    caption_below(figure, f"{table.attrs['caption']}. Lines: quartiles.", 8)
    return figure


def _accuracies(axes: Axes, rows: pd.DataFrame) -> None:
    """A bar each for natural and robust accuracy."""
    for shift, (kind, colour) in zip((-0.17, 0.17), ACCURACIES.items(), strict=True):
        ends = [rows[kind] - rows[f"{kind}_low"], rows[f"{kind}_high"] - rows[kind]]
        style = {"color": colour, "ecolor": INK, "error_kw": {"linewidth": 0.8}}
        bars = axes.bar(np.arange(len(rows)) + shift, rows[kind], 0.32, yerr=ends, label=f"{kind} accuracy", **style)
        axes.bar_label(bars, fmt="%.0f", padding=1, fontsize=7)
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
