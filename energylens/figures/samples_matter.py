"""Test accuracy after training without some samples, natural and under PGD; compare with those left out at random.

A faint dot is a seed; below it are their mean and its 95 % interval.

Which samples matter? Adversarial training without some of them, left out by what a reference model makes of them
(arXiv 2407.06315). The rules, their shares and the reference are OUR RECONSTRUCTION [R]: see ``training/omission.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from energylens.figures.digits_runs import last_of
from energylens.figures.run_cache import RunCache
from energylens.plots.style import ADVERSARIAL, FAINT, NATURAL, caption_below, in_style
from energylens.statistics import mean_interval
from energylens.training.omission import RULES
from energylens.training.recipes import settings_of

ALL = "all"  # nothing is left out
SEEDS = (0, 1, 2, 3)
SHARE = 0.1
#: by scale of the run cache: how all are trained, how far the reference comes, and how they are judged; the demo's is
#: ours [R]
SCALES: dict[str, dict[str, dict[str, Any]]] = {
    "demo": {
        "training": {
            "recipe": "digits", "epochs": 10, "lr": 1e-2, "weight_decay": 0.0, "eps_ramp": 0.0, "steps": 5,
            "augment": "none", "batch_size": 128, "eval_samples": 16,  # the networks are judged afterwards
        },
        "reference": {"epochs": 6},
        "judging": {"n": 500},
    },
    "paper": {"training": {"recipe": "weat", "method": "pgd"}, "reference": {"epochs": 30}, "judging": {"n": 10_000}},
}  # fmt: skip
QUANTITIES = ("natural", "PGD")


def table(cache: RunCache) -> pd.DataFrame:
    """PGD training with all samples and without those of each rule, SEEDS each.

    The reference is a shorter training, which still errs on more than SHARE of the images.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    scale = SCALES[cache.scale]
    (reference,) = cache.train([settings_of(**scale["training"] | scale["reference"])])
    arms: dict[str, dict[str, Any]] = {ALL: {}}
    for name, rule in RULES.items():
        arms[name] = {"omit": name, "omit_share": SHARE, "omit_by": last_of(reference) if rule.judged else None}
    pairs = list(product(arms, SEEDS))
    runs = cache.train([settings_of(**scale["training"] | arms[arm], seed=seed) for arm, seed in pairs])
    records = [cache.profile(last_of(run), attacks="pgd", **scale["judging"]) for run in runs]
    measured = [[100 * float(row["accuracy"]) for row in record.as_numbers()] for record in records]
    table = over_seeds(dict(zip(pairs, measured, strict=True)))
    table.attrs["caption"] = (
        f"PGD training for {runs[0].settings['epochs']} epochs on {records[0].dataset} without {100 * SHARE:g} % of "
        f"the training images; a network trained for {reference.settings['epochs']} epochs (seed 0) says which. "
        f"Last networks under PGD, {records[0].threat}, n = {len(records[0])} test images, seeds "
        f"{', '.join(map(str, SEEDS))}; 95 % intervals of the mean. {_against_random(table)} Fewer images are fewer "
        "steps, too, and energies go with classes. Rules and reference are our reconstruction [R]."
    )
    return table


def over_seeds(measured: Mapping[tuple[str, int], list[float]]) -> pd.DataFrame:
    """One row a rule, seed and quantity (natural, PGD).

    The columns hold accuracy (%), and of the rule's seeds mean, low and high, the 95 % interval; of the difference from
    the same seed's accuracy with as many left out by chance, worse (points, mean) and worse_half (half its interval).

    Args:
        measured: by rule and seed the accuracies in %, in the order of QUANTITIES.

    Returns:
        The table.
    """
    rows = [
        {"rule": rule, "seed": seed, "quantity": quantity, "accuracy": accuracy}
        for (rule, seed), accuracies in measured.items()
        for quantity, accuracy in zip(QUANTITIES, accuracies, strict=True)
    ]
    table = pd.DataFrame(rows)
    for (_, quantity), group in table.groupby(["rule", "quantity"]):
        mean, half = mean_interval(group["accuracy"].tolist())
        control = table[(table["rule"] == "random") & (table["quantity"] == quantity)].set_index("seed")["accuracy"]
        worse = group["seed"].map(control) - group["accuracy"]
        columns = ["mean", "low", "high", "worse", "worse_half"]
        table.loc[group.index, columns] = mean, mean - half, mean + half, *mean_interval(worse.tolist())
    return table


def _against_random(table: pd.DataFrame) -> str:
    """What each rule costs beside the control, in words."""
    told = []
    for rule, rows in table[~table["rule"].isin((ALL, "random"))].groupby("rule", sort=False):
        costs = rows.drop_duplicates("quantity").to_dict("records")
        told.append(f"{rule} " + " and ".join(f"{row['worse']:.1f} ± {row['worse_half']:.1f}" for row in costs))
    return f"Points of {' and '.join(QUANTITIES)} accuracy lost beside as many left out at random: {'; '.join(told)}."


PANELS = {"natural": NATURAL, "PGD": ADVERSARIAL}


def interval(accuracies: pd.Series[float]) -> tuple[float, float]:
    """The 95 % interval of the mean, as in the table: four seeds are too few for seaborn's own, a bootstrap.

    Args:
        accuracies: of several seeds, in %.

    Returns:
        Both ends, in %.
    """
    mean, half = mean_interval(accuracies.tolist())
    return mean - half, mean + half


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``over_seeds`` returns: a line a rule, a faint dot a seed.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    names = table["rule"].where(table["rule"] == "all", "without " + table["rule"])
    figure = Figure(figsize=(7.2, 2.9))
    for axes, (quantity, colour) in zip(figure.subplots(1, 2, sharey=True), PANELS.items(), strict=True):
        rows = table[table["quantity"] == quantity]
        sns.stripplot(rows, x="accuracy", y=names, color=FAINT, jitter=False, size=3.5, alpha=0.7, ax=axes)
        for dots in axes.collections:  # above the mean, not on its interval
            dots.set_offsets(dots.get_offsets() - [0, 0.22])
        sns.pointplot(
            rows, x="accuracy", y=names, errorbar=interval, color=colour, capsize=0.25, linestyle="none",
            markersize=5, err_kws={"linewidth": 1.4}, ax=axes,
        )  # fmt: skip
        axes.set(xlabel=f"{quantity} accuracy  [%]", ylabel="")
        axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.5)
    caption_below(figure, table.attrs["caption"])
    return figure
