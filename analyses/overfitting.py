"""What holds catastrophic (CO) and robust overfitting (RO) off? Regularisers side by side, over seeds.

    python -m analyses.overfitting co --data-root DATA --jobs 2

trains what is missing under ``runs/`` and writes to ``analyses/results/``: ``co-runs.csv``, a row a run,
``co-epochs.csv``, a row an epoch of each, and ``co-falls.csv``, the steps around collapses. `energylens figures` draws
them. DER's formula is its author's, what he leaves open is our choice [R]. Its defaults were chosen on seeds 0 to 2, by
test accuracy on images that are among the 500 that ``co`` and ``ro`` are judged on, there on seeds 3 to 5: the seeds
are new, the images are not. ``der-co`` and ``der-ro`` are grids to choose by the validation split; there is no record
of them yet.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import click
import pandas as pd

from analyses.early_warning import failure
from analyses.lab import Lab
from analyses.origin import origin, write_origin
from analyses.training_runs import TrainingRun, shared_settings
from energylens.errors import InputError, RunError
from energylens.program import run_program
from energylens.training.recipes import settings_of
from energylens.training.settings import TrainSettings

RESULTS = Path(__file__).parent / "results"
FOLLOWED = {"test_pgd": 100, "test_clean": 100, "train_fgsm": 100, "delta_marginal": 1, "abnormal_share": 100}  # units
WINDOW, AROUND = 10, 6  # measured steps; epochs before and after a collapse
PROVENANCE = "DER: its author's formula; gamma, beta and what else he leaves open are our choice [R]."
END = 4  # epochs that the validation accuracy at the end, by which settings are chosen, is a mean of: ours [R]


@dataclass(frozen=True)
class Study:
    """recipe: what all runs share; arms: what is compared, name -> settings over the recipe's; seeds: of every arm;
    shared: settings of all arms over the recipe's."""

    recipe: str
    arms: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...] = (0, 1, 2)
    shared: Mapping[str, Any] = field(default_factory=dict)

    def on(self, dataset: str) -> Study:
        """The same study on another data set."""
        return replace(self, arms={arm: {"dataset": dataset, **own} for arm, own in self.arms.items()})

    def runs(self) -> list[tuple[str, TrainSettings]]:
        """Every run, with the name of its arm."""
        pairs = product(self.arms.items(), self.seeds)
        return [(arm, settings_of(self.recipe, seed=seed, **{**self.shared, **own})) for (arm, own), seed in pairs]


def der(**own: Any) -> dict[str, Any]:
    """The settings of DER with these switches; beta: its weight."""
    beta = {"reg_weight": (own.pop("beta"),)} if "beta" in own else {}
    return {"reg": ("der",), **beta, **{f"der_{name}": value for name, value in own.items()}}


def grid(axes: Mapping[str, Sequence[Any]], **fixed: Any) -> dict[str, dict[str, Any]]:
    """DER at every combination, an arm each: ``gamma 0, beta 100``; fixed: switches that the name tells too."""
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    told = "".join(f", {name.replace('_', '-')} {value}" for name, value in fixed.items())
    return {
        ", ".join(f"{name} {value:g}" for name, value in point.items()) + told: der(**point, **fixed)
        for point in points
    }


def single_step_grid() -> dict[str, dict[str, Any]]:
    """DER's switches under FGSM, then where it begins under methods that begin elsewhere."""
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


def outcomes(arms: Sequence[str], runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """One row a run: arm, seed, best_epoch (which the validation split chose), judge (``PGD-50-10``), and in % the test
    accuracies best_pgd, last_pgd, best_clean and last_clean and what was lost, best_pgd - last_pgd, all of
    ``TrainingRun.ends``; val_end, the PGD accuracy on the validation split, mean of the last four epochs, by which
    settings are chosen; failed ("co", "ro" or "", by ``early_warning.failure``, or "diverged") and when, alarm and
    alarm_epoch (the watch's first), delta_marginal (nats) and abnormal_share (%) of the last epoch, seconds, command.
    arms: name of each run's arm."""
    return pd.DataFrame([{"arm": arm, **_outcome(run)} for arm, run in zip(arms, runs, strict=True)])


def _outcome(run: TrainingRun) -> dict[str, Any]:
    history, settings = run.history, TrainSettings.from_manifest(dict(run.settings))
    last, ends = history.iloc[-1], run.ends
    failed, when = failure(history) if run.finished else ("diverged", len(history) + 1)
    heard = history[history["alarm"] != ""].head(1)
    return {
        "seed": settings.seed,
        "best_epoch": ends.best["epoch"],
        "judge": ends.judge,
        **{f"best_{how}": 100 * ends.best[how] for how in ("pgd", "clean")},
        **{f"last_{how}": 100 * ends.last[how] for how in ("pgd", "clean")},
        "lost": 100 * ends.lost,
        "val_end": 100 * history["val_pgd"].tail(END).mean(),
        "failed": failed,
        "failed_epoch": when or None,
        "alarm": "".join(heard["alarm"]),
        "alarm_epoch": next(iter(heard["epoch"]), None),
        "delta_marginal": last["delta_marginal"],
        "abnormal_share": 100 * last["abnormal_share"],
        "seconds": history["seconds"].sum(),
        "machine": machine(),
        "command": f"energylens train {settings.as_options()}",
    }


def machine() -> str:
    """Where the numbers come from: ``Linux x86_64, 2 cores, torch 2.13.0``."""
    import os

    import torch

    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def epochs(arms: Sequence[str], runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """One row an epoch of each run: dataset, arm, seed, epoch, alarm, test_pgd, test_clean, train_fgsm and
    abnormal_share (%), delta_marginal (nats, mean of the training samples seen). ``attrs["caption"]`` says what they
    share."""
    tables = [
        (run.history[list(FOLLOWED)] * list(FOLLOWED.values())).assign(
            dataset=run.settings["dataset"],
            arm=arm,
            seed=run.settings["seed"],
            epoch=run.history["epoch"],
            alarm=run.history["alarm"],
        )
        for arm, run in zip(arms, runs, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)[["dataset", "arm", "seed", "epoch", "alarm", *FOLLOWED]]
    table.attrs["caption"] = _caption(runs)
    return table


def _caption(runs: Sequence[TrainingRun]) -> str:
    return f"{shared_settings(runs)}. {PROVENANCE}"


def falls(arms: Sequence[str], runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """The steps around every collapse: arm, seed, from_fall (epochs since the end of the one whose evaluation showed
    it), and in windows of ten measured steps abnormal_share and train_adv_accuracy (%), delta_marginal (nats); test_pgd
    (%) in the window that ends an epoch, NaN elsewhere."""
    tables = []
    for arm, run in zip(arms, runs, strict=True):
        kind, epoch = failure(run.history)
        if kind == "co":
            tables.append(_fall(run, epoch).assign(arm=arm, seed=run.settings["seed"]))
    if not tables:
        raise InputError(f"none of {len(runs)} runs collapsed: there is no step to show")
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = _caption(runs)
    return table[["arm", "seed", "from_fall", "abnormal_share", "train_adv_accuracy", "delta_marginal", "test_pgd"]]


def _fall(run: TrainingRun, epoch: int) -> pd.DataFrame:
    steps = run.steps()
    within = steps.groupby("epoch").cumcount()  # so that no window crosses the end of an epoch
    windows = steps.groupby([steps["epoch"], within // WINDOW], as_index=False)
    table = windows[["epoch", "step", "abnormal_share", "train_adv_accuracy", "delta_marginal"]].agg("mean")
    table[["abnormal_share", "train_adv_accuracy"]] *= 100
    last = ~table["epoch"].duplicated(keep="last")
    table["test_pgd"] = (100 * table["epoch"].map(run.history.set_index("epoch")["test_pgd"])).where(last)
    table["from_fall"] = table["step"] / (steps["step"].max() / run.history["epoch"].max()) - epoch
    return table[table["from_fall"].abs() <= AROUND]


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """What ``outcomes`` found, over the seeds: arm, n, co, ro and diverged (how many failed so), and mean and sd of
    best_pgd, last_pgd, lost, last_clean and val_end (%), in the order of the arms."""
    arms = runs.groupby("arm", sort=False)
    measured = ("best_pgd", "last_pgd", "lost", "last_clean", "val_end")
    spread = {f"{name}_{what}": (name, of) for name in measured for what, of in {"mean": "mean", "sd": "std"}.items()}
    failures = {kind: ("failed", partial(_count, kind)) for kind in ("co", "ro", "diverged")}
    return arms.agg(n=("seed", "size"), **failures, **spread).reset_index()


def catastrophic(lab: Lab) -> pd.DataFrame:
    """The epochs of the study of catastrophic overfitting."""
    return _epochs_of("co", lab)


def robust(lab: Lab) -> pd.DataFrame:
    """The epochs of the study of robust overfitting."""
    return _epochs_of("ro", lab)


def abnormal_share(lab: Lab) -> pd.DataFrame:
    """The steps around the collapses of plain FGSM training; at the papers' scale at 8/255."""
    if lab.scale == "demo":
        return recorded("co", "falls").query("arm == 'FGSM'").reset_index(drop=True)
    return falls(*_trained(lab, "co-paper", only="FGSM, 8/255"))


def der_settings(lab: Lab) -> pd.DataFrame:
    """What became of DER at every setting of the two grids, and of training without it, as ``outcomes``, with the
    column ``study``: "der-co" or "der-ro". Recorded at every scale: nobody has run them at the papers'."""
    tables = [recorded(name, "runs").assign(study=name) for name in ("der-co", "der-ro")]
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = " ".join(one.attrs["caption"] for one in tables)
    return table


def energy_forms(lab: Lab) -> pd.DataFrame:
    """What became of FGSM under the forms that were tried before DER's formula was known, as recorded then."""
    return recorded(FORMER, "runs")


def _epochs_of(name: str, lab: Lab) -> pd.DataFrame:
    """At demo scale what was recorded, since CIFAR-10 is not at hand everywhere and hours are long; at the papers' both
    data sets, where the second is at hand."""
    if lab.scale == "demo":
        return recorded(name, "epochs")
    arms, runs = _trained(lab, f"{name}-paper")
    try:
        also = _trained(lab, f"{name}-{SECOND}", diverged_too=True)
    except (InputError, RunError) as error:
        lab.tell(f"without {SECOND}: {error}")
        return epochs(arms, runs)
    return epochs([*arms, *also[0]], [*runs, *also[1]])


def _trained(
    lab: Lab, name: str, *, only: str | None = None, without: Sequence[str] = (), diverged_too: bool = False
) -> tuple[list[str], list[TrainingRun]]:
    """The arms and the runs of a study, of one of its arms or of all without some, trained where they are not there
    yet."""
    wanted = [(arm, settings) for arm, settings in STUDIES[name].runs() if only in (None, arm) and arm not in without]
    runs = lab.train([settings for _, settings in wanted], diverged_too=diverged_too)
    return [arm for arm, _ in wanted], runs


def recorded(name: str, what: str) -> pd.DataFrame:
    """The table ("runs", "epochs" or "falls") of a study that was run before, with a caption that says so.

    Raises InputError where it was never run.
    """
    path = RESULTS / f"{name}-{what}.csv"
    if not path.is_file():
        raise InputError(f"no {path.name} in {path.parent}: python -m analyses.overfitting {name} makes it")
    table = pd.read_csv(path, keep_default_na=False, na_values=[""]).fillna({"alarm": "", "failed": ""})
    about = RECORDED[name]
    settings = settings_of(about.recipe, **about.then)
    table["dataset"] = settings.dataset
    table.attrs["caption"] = (
        f"recipe {about.recipe}: {settings.dataset}, classes {','.join(map(str, settings.classes or ()))}, "
        f"{settings.per_class} images a class, {settings.arch}, eps {settings.eps}, {settings.epochs} epochs, PGD-"
        f"{settings.eval_steps} on {settings.eval_samples} test images; seed "
        f"{', '.join(map(str, sorted(table['seed'].unique())))}. {about.provenance} Recorded, not computed now"
        f"{': ' + command_beside(path) if about.again else ''}."
    )
    return table


def command_beside(csv: Path) -> str:
    """The command that made this table, out of the JSON beside it."""
    return str(json.loads(csv.with_suffix(".json").read_text())["command"])


@dataclass(frozen=True)
class Recorded:
    """Where a recorded study comes from. then: settings of its recipe that were others when it was recorded; again:
    whether the command beside it still runs it."""

    recipe: str
    provenance: str = PROVENANCE
    then: Mapping[str, Any] = field(default_factory=dict)
    again: bool = True


RECORDED = {
    **{name: Recorded(study.recipe) for name, study in STUDIES.items()},
    FORMER: Recorded(
        "co-small",
        "Forms of ours, tried before the author's formula of DER was known to us, and none of them that; the version "
        "that recorded them wrote --reg der --der-form for them. Best: the highest test accuracy, as that "
        "version chose; end: the mean of the last four.",
        {"per_class": 1500, "val_fraction": 0.0, "eval_samples": 300},
        again=False,
    ),
}


def _count(kind: str, failed: pd.Series[str]) -> int:
    return int((failed == kind).sum())


@click.command()
@click.argument("name", type=click.Choice(list(STUDIES)))
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where training runs are kept.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where data sets lie.")
@click.option("--jobs", default=1, help="Runs at a time, a thread each.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Where the tables go.")
@click.option("--without", multiple=True, metavar="ARM", help="Leave this arm out, as in 'FGSM + GradAlign'.")
def main(name: str, runs: Path, data_root: Path | None, jobs: int, results: Path, without: tuple[str, ...]) -> None:
    """Run a study and write its tables."""
    if unknown := [arm for arm in without if arm not in STUDIES[name].arms]:
        raise click.BadParameter(
            f"no arm {unknown[0]!r}: one of {', '.join(STUDIES[name].arms)}", param_hint="--without"
        )
    lab = Lab(runs=runs, root=data_root, jobs=jobs, tell=partial(click.echo, err=True))
    arms, found = _trained(lab, name, without=without, diverged_too=True)
    results.mkdir(parents=True, exist_ok=True)
    table = outcomes(arms, found)
    tables = {"runs": table, "epochs": epochs(arms, found)}
    if (table["failed"] == "co").any():
        tables["falls"] = falls(arms, found)
    for what, one in tables.items():
        one.to_csv(csv := results / f"{name}-{what}.csv", index=False, float_format="%.4g")
        left_out = "".join(f" --without '{arm}'" for arm in without)
        command = f"python -m analyses.overfitting {name} --data-root DATA{left_out}"
        write_origin(origin(command, STUDIES[name].seeds), csv)
    click.echo(summary(table).to_string(index=False, float_format="%.1f"))


if __name__ == "__main__":
    run_program(main)
