"""The studies of catastrophic (CO) and robust overfitting (RO), as data, and what was recorded of them.

``python -m analyses.overfitting NAME`` runs them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from energylens.errors import InputError
from energylens.figures.run_cache import RunCache
from energylens.tables.overfitting import provenance
from energylens.tables.training_runs import TrainingRun
from energylens.training.recipes import settings_of
from energylens.training.settings import TrainSettings

RECORDS = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Study:
    """Runs that are compared with each other.

    Attributes:
        recipe: what all runs share.
        arms: what is compared, name -> settings over the recipe's.
        seeds: of every arm.
        shared: settings of all arms over the recipe's.
    """

    recipe: str
    arms: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...] = (0, 1, 2)
    shared: Mapping[str, Any] = field(default_factory=dict)

    def on(self, dataset: str) -> Study:
        """The same study on another data set.

        Args:
            dataset: its name.

        Returns:
            The study.
        """
        return replace(self, arms={arm: {"dataset": dataset, **own} for arm, own in self.arms.items()})

    def runs(self) -> list[tuple[str, TrainSettings]]:
        """Every run, with the name of its arm.

        Returns:
            Names and resolved settings: an arm's seeds one after another.
        """
        pairs = product(self.arms.items(), self.seeds)
        return [(arm, settings_of(self.recipe, seed=seed, **{**self.shared, **own})) for (arm, own), seed in pairs]


def der(**own: Any) -> dict[str, Any]:
    """The settings of DER with these switches.

    Args:
        own: DER's settings without ``der_``, and ``beta``, its weight.

    Returns:
        Settings of a training, by name.
    """
    beta = {"reg_weight": (own.pop("beta"),)} if "beta" in own else {}
    return {"reg": ("der",), **beta, **{f"der_{name}": value for name, value in own.items()}}


def grid(axes: Mapping[str, Sequence[Any]], **fixed: Any) -> dict[str, dict[str, Any]]:
    """DER at every combination, an arm each: ``gamma 0, beta 100``; fixed: switches that the name tells too.

    A mean that is not told is over all samples.

    Args:
        axes: switches and the values to try.
        fixed: switches that all of them share and the name tells too.

    Returns:
        The arms, settings by name.
    """
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    told = "".join(f", {name.replace('_', '-')} {value}" for name, value in fixed.items())
    return {
        ", ".join(f"{name} {value:g}" for name, value in point.items()) + told: der(**point, **{"mean": "all"} | fixed)
        for point in points
    }


def weights(regularizer: str, *values: float) -> dict[str, dict[str, Any]]:
    """A regulariser at each of these weights, an arm each: ``delta-l2, weight 10``.

    Args:
        regularizer: a row of REGULARIZERS.
        *values: its weights.

    Returns:
        The arms, settings by name.
    """
    return {f"{regularizer}, weight {value:g}": {"reg": (regularizer,), "reg_weight": (value,)} for value in values}


def single_step_grid() -> dict[str, dict[str, Any]]:
    """DER's switches under FGSM, then where it begins under methods that begin elsewhere.

    Returns:
        The arms, settings by name, FGSM alone first.
    """
    starts = {
        f"{method}, start {start}": {"method": method, **der(start=start)}
        for method in ("rs-fgsm", "n-fgsm")
        for start in ("clean", "start")
    }
    return {
        "FGSM": {},
        **grid({"gamma": (0.0, 0.1), "beta": (10.0, 100.0, 300.0)}, on="abnormal"),
        **grid({"gamma": (0.0, 0.1), "beta": (1.0, 3.0, 10.0)}, on="abnormal", mean="selected"),
        **grid({"gamma": (0.0,), "beta": (0.3,)}, on="all"),
        **grid({"gamma": (0.0,), "beta": (100.0,)}, on="both"),
        **grid({"gamma": (0.0,), "beta": (30.0, 100.0)}, on="both", unit="spread"),
        **grid({"gamma": (0.0,), "beta": (100.0,)}, on="abnormal", stop_gradient="clean"),
        **grid({"gamma": (0.0,), "beta": (100.0,)}, on="abnormal", stop_gradient="adv"),
        **grid({"gamma": (0.0,), "beta": (300.0,)}, on="abnormal", warmup=8.0),
        **starts,
    }


CHOOSING, JUDGED = (0, 1, 2), (3, 4, 5)  # seeds that settings are chosen on, and those that they are judged on
NOT_AT_THE_END = {"final_steps": 0}  # the validation split chooses, and needs no strong PGD on test images
STUDIES: dict[str, Study] = {
    "co": Study(
        "co-small",
        {
            "FGSM": {},
            "FGSM + DER": der(),
            "RS-FGSM": {"method": "rs-fgsm"},
            "N-FGSM": {"method": "n-fgsm"},
            "FGSM + GradAlign": {"reg": ("gradalign",)},
            "FGSM + AAER": {"reg": ("aaer",)},
            "FGSM + ELLE-A": {"reg": ("elle-a",)},
            "FGSM + energy-linearity": {"reg": ("energy-linearity",)},
        },
        JUDGED,
    ),
    "ro": Study(
        "ro-small",
        {
            "PGD": {},
            "PGD + DER": der(),
            "PGD + delta-l2": {"reg": ("delta-l2",)},
            "PGD + energy-linearity": {"reg": ("energy-linearity",)},
        },
        JUDGED,
    ),
    "der-co": Study("co-small", single_step_grid(), CHOOSING, NOT_AT_THE_END),
    "der-ro": Study(
        "ro-small",
        {
            "PGD": {},
            **grid({"gamma": (0.0, 0.1, 0.5), "beta": (1.0, 5.0)}, on="all"),
            **grid({"gamma": (0.1,), "beta": (20.0,)}, on="all"),
            **grid({"gamma": (0.0,), "beta": (1.0, 5.0)}, on="all", unit="spread"),
        },
        CHOOSING,
        NOT_AT_THE_END,
    ),
    "weights-co": Study("co-small", weights("energy-linearity", 1000.0, 4000.0, 16000.0), CHOOSING, NOT_AT_THE_END),
    "weights-ro": Study("ro-small", weights("delta-l2", 1.0, 10.0, 100.0), CHOOSING, NOT_AT_THE_END),
    "co-paper": Study(
        "co",
        {
            f"{name}, {eps}": {"eps": eps, **own}
            for eps in ("8/255", "16/255")
            for name, own in {
                "FGSM": {},
                "FGSM + DER": der(),
                "RS-FGSM": {"method": "rs-fgsm"},
                "RS-FGSM + DER": {"method": "rs-fgsm", **der()},
            }.items()
        },
    ),
    "ro-paper": Study(
        "ro",
        {
            "PGD": {},
            "PGD + DER": der(),
            "TRADES": {"method": "trades"},
            "WEAT": {"method": "weat-adv"},
        },
    ),
}
SECOND = "cifar100"  # the data set that the papers' studies are repeated on
STUDIES |= {f"{name}-{SECOND}": STUDIES[f"{name}-paper"].on(SECOND) for name in ("co", "ro")}
FORMER = "energy-forms"  # recorded by a version before DER's formula was known; its forms were called DER's there


@dataclass(frozen=True)
class Former:
    """A study that an earlier version recorded, and that this one cannot run.

    Attributes:
        recipe: what all runs share.
        then: settings of the recipe that were others then.
        told: what a caption says of it.
    """

    recipe: str
    then: Mapping[str, Any]
    told: str


FORMERLY = {
    FORMER: Former(
        "co-small",
        {"per_class": 1500, "val_fraction": 0.0, "eval_samples": 300},
        "Forms of ours, tried before the author's formula of DER was known to us, and none of them that; the version "
        "that recorded them wrote --reg der --der-form for them. Best: the highest test accuracy, as that "
        "version chose; end: the mean of the last four. Recorded, not computed now.",
    ),
}


def recorded(name: str, what: str, only: str | None = None) -> pd.DataFrame:
    """A table of a study that was run before, with a caption that says so.

    Args:
        name: of the study.
        what: "runs", "epochs" or "falls".
        only: one of its arms.

    Returns:
        The table of ``tables.overfitting.outcomes``, ``epochs`` or ``falls``, with the column dataset.

    Raises:
        InputError: it was never run.
    """
    path = RECORDS / f"{name}-{what}.csv"
    if not path.is_file():
        raise InputError(f"no {path.name} in {path.parent}: python -m analyses.overfitting {name} makes it")
    table = pd.read_csv(path, keep_default_na=False, na_values=[""]).fillna({"alarm": "", "failed": ""})
    if only:
        table = table[table["arm"] == only].reset_index(drop=True)
    if former := FORMERLY.get(name):
        settings, told = settings_of(former.recipe, **former.then), former.told
    else:
        study = STUDIES[name]
        settings = settings_of(study.recipe)
        source = provenance(study.arms[arm].get("reg", ()) for arm in table["arm"].unique())
        told = f"{source} Recorded, not computed now: {command_beside(path)}.".strip()
    table["dataset"] = settings.dataset
    table.attrs["caption"] = (
        f"recipe {(former or study).recipe}: {settings.dataset}, classes {','.join(map(str, settings.classes or ()))}, "
        f"{settings.per_class} images a class, {settings.arch}, eps {settings.eps}, {settings.epochs} epochs, PGD-"
        f"{settings.eval_steps} on {settings.eval_samples} test images; seed "
        f"{', '.join(map(str, sorted(table['seed'].unique())))}. {told}"
    )
    return table


def command_beside(csv: Path) -> str:
    """The command that made this table, out of the JSON beside it.

    Args:
        csv: of a recorded table.

    Returns:
        One line for a shell.
    """
    return str(json.loads(csv.with_suffix(".json").read_text())["command"])


def trained(
    cache: RunCache, name: str, only: str | None = None, *, without: Sequence[str] = (), diverged_too: bool = False
) -> tuple[list[str], list[TrainingRun]]:
    """The runs of a study, trained where they are not there yet.

    Args:
        cache: where runs are kept.
        name: of the study.
        only: one of its arms.
        without: arms that are left out.
        diverged_too: whether runs that diverge are there as far as they come; else they are an error.

    Returns:
        The arm of each run, and the runs.

    Raises:
        DivergenceError: a run diverged.
    """
    wanted = [(arm, settings) for arm, settings in STUDIES[name].runs() if only in (None, arm) and arm not in without]
    runs = cache.train([settings for _, settings in wanted], diverged_too=diverged_too)
    return [arm for arm, _ in wanted], runs
