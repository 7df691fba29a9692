"""How long before the PGD accuracy falls does the early warning fire, and how often wrongly? Runs are replayed.

    python -m analyses.early_warning RUN... > early_warning.csv

writes one row a run, window and threshold. Beside it stands fast_adversarial's rule (Wong et al., arXiv 2001.03994):
the PGD accuracy on training images, attacked anew every epoch, drops by more than 0.2 from one epoch to the next.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import click
import numpy as np
import pandas as pd

from analyses.training_runs import TrainingRun, labels, read_runs
from energylens.program import run_program
from energylens.training.watch import Alarm, EnergyWatch, WatchSettings

DROP = 0.2  # fast_adversarial's
COLLAPSED = 0.5  # of the best PGD accuracy so far: below it a run has collapsed
LOST, SMOOTH = 0.03, 5  # PGD test accuracy under its best, mean of so many epochs, that make robust overfitting
WINDOWS = (1, 10, 0)  # measured steps between two looks; 0 for one look an epoch
RISES = (0.02, 0.03, 0.05, 0.1, 0.2)


def early_warning(
    runs: Sequence[TrainingRun], *, windows: Sequence[int] = WINDOWS, rises: Sequence[float] = RISES
) -> pd.DataFrame:
    """What the watch would have said to these runs.

    windows: measured steps between two calls of ``EnergyWatch.step``, 0 for one an epoch. rises: thresholds of the AAE
    share to try, in [0, 1].

    Returns one row a run, window and threshold: label, seed, failed ("co", "ro" or "") and fell (the step at whose
    epoch's end an evaluation first shows it), window, rise, alarm (kind of the first one, or "") and step (when), lead
    (fell - step) and lead_epochs, right (whether alarm and failure agree), drop and drop_lead: the PGD-drop rule's step
    and lead; gap and gap_lead: those of the watch's rule on FGSM minus PGD accuracy, heard at epochs' ends. NaN for
    steps that are not there.
    """
    cases = [replace(WatchSettings(), rise=rise) for rise in rises]
    rows = []
    for run, label in zip(runs, labels([run.recipe for run in runs]), strict=True):
        steps = run.steps()
        ends = steps.groupby("epoch")["step"].max()
        failed, fell = failure(run.history)
        drop = ends.get(pgd_drop(run.history))
        gap = ends.get(gap_alarm(run.history, int(run.settings["eval_samples"])))
        about = {"label": label, "seed": run.settings["seed"], "failed": failed, "fell": ends.get(fell)}
        about |= {"drop": drop, "gap": gap}
        for window, settings in product(windows, cases):
            step, alarm = next(replay(steps, run.settings["batch_size"], window, settings), (None, None))
            said = {"window": window, "rise": settings.rise, "alarm": alarm.kind if alarm else "", "step": step}
            rows.append(about | said | {"epoch_steps": ends.iloc[0]})
    table = pd.DataFrame(rows)
    numbers = table[["fell", "step", "drop", "gap"]].astype(float)
    return table.assign(
        **numbers,
        lead=numbers["fell"] - numbers["step"],
        lead_epochs=(numbers["fell"] - numbers["step"]) / table["epoch_steps"],
        drop_lead=numbers["fell"] - numbers["drop"],
        gap_lead=numbers["fell"] - numbers["gap"],
        right=table["alarm"] == table["failed"],
    ).drop(columns="epoch_steps")


def replay(
    steps: pd.DataFrame, batch_size: int, window: int, settings: WatchSettings | None = None
) -> Iterator[tuple[int, Alarm]]:
    """The alarms that a watch would have raised on a run's measured steps, each with the step it came at."""
    watch = EnergyWatch(settings)
    windows = steps["epoch"] if window == 0 else np.arange(len(steps)) // window
    for _, rows in steps.groupby(windows):
        alarm = watch.judge(rows["delta_marginal"].mean(), rows["abnormal_share"].mean(), batch_size * len(rows))
        if alarm:
            yield int(rows["step"].iloc[-1]), alarm


def failure(history: pd.DataFrame) -> tuple[str, int]:
    """What became of a run, by its test set: ("co" | "ro" | "", the epoch whose evaluation first shows it, 0 for none).

    co: the PGD accuracy falls under half of its best so far. ro: without that, its mean over five epochs falls 3 points
    under the best such mean so far, while PGD accuracy on the training images does not. Before the best epoch of all
    there is nothing to lose: a dip there is none of both. Epochs that were not judged show nothing.
    """
    pgd, mean = history["test_pgd"], _smooth(history["test_pgd"])
    fits = _smooth(history["train_pgd"]).diff(SMOOTH) > 0
    late = pgd.notna() & (history["epoch"] > history["epoch"].iloc[int(pgd.argmax())])
    signs = {"co": late & (pgd < COLLAPSED * pgd.cummax()), "ro": late & (mean < mean.cummax() - LOST) & fits}
    return next(((kind, _first(history, sign)) for kind, sign in signs.items() if sign.any()), ("", 0))


def _smooth(accuracy: pd.Series[float]) -> pd.Series[float]:
    """The mean of the judged among the last SMOOTH epochs; NaN for the first epochs, which are too few."""
    mean = accuracy.rolling(SMOOTH, min_periods=1).mean()
    mean.iloc[: SMOOTH - 1] = np.nan
    return mean


def gap_alarm(history: pd.DataFrame, samples: int, settings: WatchSettings | None = None) -> int:
    """The first epoch at whose end the watch would have heard FGSM leave PGD behind, 0 for none. samples: training
    images that an epoch is judged by."""
    watch = EnergyWatch(settings)
    judged = history.dropna(subset="train_pgd")
    for epoch, fgsm, pgd in zip(judged["epoch"], judged["train_fgsm"], judged["train_pgd"], strict=True):
        if watch.judge_gap(fgsm, pgd, samples):
            return int(epoch)
    return 0


def pgd_drop(history: pd.DataFrame) -> int:
    """The epoch at which fast_adversarial would have stopped, 0 for none."""
    judged = history.dropna(subset="train_pgd")
    return _first(judged, judged["train_pgd"].diff() < -DROP)


def _first(history: pd.DataFrame, sign: pd.Series[bool]) -> int:
    """The first epoch with this sign, 0 for none."""
    return int(history["epoch"][sign].min()) if sign.any() else 0


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--window", "windows", multiple=True, type=int, default=WINDOWS, help="Measured steps; 0 for an epoch.")
@click.option("--rise", "rises", multiple=True, type=float, default=RISES, help="Of the AAE share, in [0, 1].")
def main(runs: tuple[Path, ...], windows: tuple[int, ...], rises: tuple[float, ...]) -> None:
    """Write the table as CSV."""
    early_warning(read_runs(runs), windows=windows, rises=rises).to_csv(sys.stdout, index=False, float_format="%.5g")


if __name__ == "__main__":
    run_program(main)
