"""What became of training runs under catastrophic (CO) and robust overfitting (RO)? Tables over arms and seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from energylens.errors import InputError
from energylens.tables.origin import machine
from energylens.tables.training_runs import TrainingRun, shared_settings
from energylens.training.settings import TrainSettings

FOLLOWED = ("test_pgd", "test_clean", "train_fgsm", "delta_marginal", "abnormal_share")
WINDOW, AROUND = 10, 6  # measured steps; epochs before and after a collapse
PROVENANCE = "DER: its author's formula; gamma, beta and what else he leaves open are our choice [R]."
END = 4  # epochs that the validation accuracy at the end, by which settings are chosen, is a mean of: ours [R]
# both definitions of a failure are ours [R]
COLLAPSED = 0.5  # of the best PGD accuracy so far: below it a run has collapsed
LOST, SMOOTH = 0.03, 5  # PGD test accuracy under its best, mean of so many epochs, that make robust overfitting


def outcomes(arms: Sequence[str], runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """How runs were trained, how they ended, and what they lost.

    Args:
        arms: the name of each run's arm.
        runs: finished or diverged.

    Returns:
        One row a run: arm, seed, best_epoch (which the validation split chose), judge (``PGD-50-10``), and in % the
        test accuracies best_pgd, last_pgd, best_clean and last_clean and what was lost, best_pgd - last_pgd, all of
        ``TrainingRun.ends``; val_end, the PGD accuracy on the validation split, mean of the last four epochs, by which
        settings are chosen; failed ("co", "ro" or "", by ``failure``, or "diverged") and failed_epoch, alarm and
        alarm_epoch (the watch's first), delta_marginal (nats) and abnormal_share (%) of the last epoch, seconds,
        machine, command.
    """
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


def epochs(arms: Sequence[str], runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """The epochs of every run.

    Args:
        arms: the name of each run's arm.
        runs: finished or not.

    Returns:
        One row an epoch of each run: dataset, arm, seed, epoch, alarm, test_pgd, test_clean, train_fgsm and
        abnormal_share (%), delta_marginal (nats, mean of the training samples seen). ``attrs["caption"]`` says what
        they share.
    """
    tables = [
        run.percent.assign(arm=arm, dataset=run.settings["dataset"], seed=run.settings["seed"])
        for arm, run in zip(arms, runs, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)[["dataset", "arm", "seed", "epoch", "alarm", *FOLLOWED]]
    table.attrs["caption"] = _caption(runs)
    return table


def provenance(regularizers: Iterable[Collection[str]]) -> str:
    """What a caption says of DER's source where one of some runs has it, else nothing.

    Args:
        regularizers: of each run, as the setting ``reg``.

    >>> provenance([(), ("gradalign",)]), provenance([(), ("der",)]) == PROVENANCE
    ('', True)

    Returns:
        A sentence, or nothing.
    """
    return PROVENANCE if any("der" in names for names in regularizers) else ""


def _caption(runs: Sequence[TrainingRun]) -> str:
    return f"{shared_settings(runs)}. {provenance(run.settings['reg'] for run in runs)}".strip()


def falls(arms: Sequence[str], runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """The steps around every collapse.

    Args:
        arms: the name of each run's arm.
        runs: whose measured steps are on the disk.

    Returns:
        One row a window of ten measured steps: arm, seed, from_fall (epochs since the end of the one whose evaluation
        showed the collapse), abnormal_share and train_adv_accuracy (%), delta_marginal (nats); test_pgd (%) in the
        window that ends an epoch, NaN elsewhere. ``attrs["caption"]`` says what the runs share.

    Raises:
        InputError: no run collapsed.
    """
    failures = [(arm, run, *failure(run.history)) for arm, run in zip(arms, runs, strict=True)]
    tables = [
        _fall(run, epoch).assign(arm=arm, seed=run.settings["seed"])
        for arm, run, kind, epoch in failures
        if kind == "co"
    ]
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
    """What ``outcomes`` found, over the seeds.

    Args:
        runs: of ``outcomes``.

    Returns:
        One row an arm, in their order: arm, n, co, ro and diverged (how many failed so), and NAME_mean and NAME_sd of
        best_pgd, last_pgd, lost, last_clean and val_end (%).
    """
    failed = {kind: runs["failed"] == kind for kind in ("co", "ro", "diverged")}
    measured = ("best_pgd", "last_pgd", "lost", "last_clean", "val_end")
    spread = {f"{name}_{what}": (name, of) for name in measured for what, of in {"mean": "mean", "sd": "std"}.items()}
    counts = {kind: (kind, "sum") for kind in failed}
    arms = runs.assign(**failed).groupby("arm", sort=False)
    return arms.agg(n=("seed", "size"), **counts, **spread).reset_index()


def failure(history: pd.DataFrame) -> tuple[str, int]:
    """What became of a run, by its test set.

    co: the PGD accuracy falls under half of its best so far. ro: without that, its mean over five epochs falls 3 points
    under the best such mean so far, while PGD accuracy on the training images does not. Before the best epoch of all
    there is nothing to lose: a dip there is none of both. Epochs that were not judged show nothing. Both
    definitions are ours [R]. It is a diagnosis: it chooses no epoch and no training setting; the rules' thresholds
    are chosen by it, on other runs than are judged.

    Args:
        history: one row an epoch: epoch, test_pgd and train_pgd, shares in [0, 1], NaN where it was not judged.

    Returns:
        "co", "ro" or "", and the epoch whose evaluation first shows it, 0 for none.
    """
    pgd, mean = history["test_pgd"], _smooth(history["test_pgd"])
    fits = _smooth(history["train_pgd"]).diff(SMOOTH) > 0
    late = pgd.notna() & (history["epoch"] > history["epoch"].iloc[int(pgd.argmax())])
    signs = {"co": late & (pgd < COLLAPSED * pgd.cummax()), "ro": late & (mean < mean.cummax() - LOST) & fits}
    return next(((kind, first_epoch(history, sign)) for kind, sign in signs.items() if sign.any()), ("", 0))


def _smooth(accuracy: pd.Series[float]) -> pd.Series[float]:
    """The mean of the judged among the last SMOOTH epochs; NaN for the first epochs, which are too few."""
    mean = accuracy.rolling(SMOOTH, min_periods=1).mean()
    mean.iloc[: SMOOTH - 1] = np.nan
    return mean


def first_epoch(history: pd.DataFrame, sign: pd.Series[bool]) -> int:
    """The first epoch with a sign.

    Args:
        history: one row an epoch.
        sign: (epochs,), whether the epoch has it.

    Returns:
        The epoch, 0 for none.
    """
    return int(history["epoch"][sign].min()) if sign.any() else 0
