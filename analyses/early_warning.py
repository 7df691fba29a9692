"""How long before the PGD accuracy falls does the early warning fire, and how often wrongly?

Runs are replayed under the watch's rules and its rivals', at several thresholds.

    python -m analyses.early_warning record chosen RUN...      # analyses/results/early-warning-chosen.csv
    python -m analyses.early_warning record held-out RUN...
    python -m analyses.early_warning table                     # chosen on the first, judged on the second

Thresholds are chosen on runs that have no part in what is told of them. Recall counts all failures, not only those
that a rule could have heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import pandas as pd

from energylens.cli.program import run_program
from energylens.errors import InputError
from energylens.tables.origin import origin, record_table
from energylens.tables.overfitting import failure, first_epoch
from energylens.tables.training_runs import TrainingRun, read_runs
from energylens.training.watch import Alarm, EnergyWatch, WatchSettings

RESULTS = Path(__file__).parent / "results"
WINDOW = 10  # measured steps between two looks, as the trainer has it
Heard = tuple[str, float] | None  # kind and epoch, with fractions, of the first alarm


@dataclass(frozen=True)
class Rule:
    """A rule that calls a failure.

    Attributes:
        first: (run, threshold) -> its first alarm.
        thresholds: to choose among, from the strictest, which says least, to the loosest.
        usual: the one it has without being fitted, its source's or the trainer's; the loss's .2 is ours [R], of no
            data.
    """

    first: Callable[[TrainingRun, float], Heard]
    thresholds: Sequence[float]
    usual: float


def abnormal_rise(run: TrainingRun, rise: float) -> Heard:
    """The watch on the energies of the training samples.

    Args:
        run: one that was trained and watched.
        rise: of the AAE share over its median, in [0, 1].

    Returns:
        Kind and epoch of the first alarm, None for none.
    """
    steps = run.steps()
    length = _epoch_length(steps)
    heard = steps[steps["step"] >= run.settings["eps_ramp"] * length]  # while eps grows the trainer hears nothing
    settings = replace(WatchSettings(), rise=rise)
    step, alarm = next(replay(heard, run.settings["batch_size"], WINDOW, settings), (0, None))
    return (alarm.kind, step / length) if alarm else None


def gap_rise(run: TrainingRun, gap: float) -> Heard:
    """The watch on FGSM minus PGD accuracy of training images, at epochs' ends.

    Args:
        run: one that was trained and watched.
        gap: over its median, in [0, 1].

    Returns:
        Kind and epoch of the first alarm, None for none.
    """
    return _collapse(gap_alarm(run.history, int(run.settings["eval_samples"]), replace(WatchSettings(), gap=gap)))


def _collapse(epoch: int) -> Heard:
    """An alarm of a collapse in this epoch, none in epoch 0."""
    return ("co", epoch) if epoch else None


def both(run: TrainingRun, rise: float) -> Heard:
    """Whichever of the two comes first, as the trainer hears them; the gap's threshold is the trainer's.

    Args:
        run: one that was trained and watched.
        rise: of the AAE share over its median, in [0, 1].

    Returns:
        Kind and epoch of the first alarm, None for none.
    """
    heard = [abnormal_rise(run, rise), gap_rise(run, WatchSettings().gap)]
    return min((one for one in heard if one), key=lambda one: one[1], default=None)


def drop_rule(run: TrainingRun, drop: float) -> Heard:
    """fast_adversarial's rule (arXiv 2001.03994, its code).

    Args:
        run: one that was trained and watched.
        drop: of PGD accuracy on training images, in [0, 1].

    Returns:
        Kind and epoch of the first alarm, None for none.
    """
    return _collapse(pgd_drop(run.history, drop))


def loss_rule(run: TrainingRun, share: float) -> Heard:
    """The training loss falls by this share of itself from one epoch to the next.

    This is what is left to someone who follows nothing else. Ours.

    Args:
        run: with its history.
        share: in (0, 1).

    Returns:
        The epoch at which it is heard, if it is.
    """
    loss = run.history["loss"]
    return _collapse(first_epoch(run.history, loss < (1 - share) * loss.shift()))


RULES = {
    "energies": Rule(abnormal_rise, (0.2, 0.1, 0.05, 0.03, 0.02), WatchSettings().rise),
    "energies or gap": Rule(both, (0.2, 0.1, 0.05, 0.03, 0.02), WatchSettings().rise),
    "gap": Rule(gap_rise, (0.3, 0.2, 0.15, 0.1, 0.05), WatchSettings().gap),
    "PGD drop": Rule(drop_rule, (0.2, 0.15, 0.1, 0.07, 0.05), 0.2),
    "loss": Rule(loss_rule, (0.5, 0.3, 0.2, 0.1, 0.05), 0.2),
}


def alarms(runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """What every rule would have said to these runs, at every threshold.

    One row a run, rule and threshold: method (with its regularisers), dataset, eps, seed, epochs, failed ("co",
    "ro" or "") and fell (the epoch whose evaluation first shows it), rule, threshold, kind of the first alarm, or "",
    and heard (its epoch, with fractions). NaN for epochs that are not there.

    Args:
        runs: with histories and measured steps.

    Returns:
        The table.
    """
    rows = []
    for run in runs:
        failed, fell = failure(run.history)
        about = {
            "method": " + ".join([run.settings["method"], *run.settings["reg"]]),
            **{name: run.settings[name] for name in ("dataset", "eps", "seed")},
            "epochs": len(run.history),
            "failed": failed,
            "fell": fell or np.nan,
        }
        for name, rule in RULES.items():
            for threshold in sorted({*rule.thresholds, rule.usual}, reverse=True):
                kind, heard = rule.first(run, threshold) or ("", np.nan)
                rows.append(about | {"rule": name, "threshold": threshold, "kind": kind, "heard": heard})
    return pd.DataFrame(rows)


def chosen(table: pd.DataFrame) -> dict[str, float]:
    """For each rule the threshold that tells these runs apart best.

    Best is the largest share of failures that it calls by their right kind before the evaluation that shows them, less
    the share of healthy runs that it calls; of equals the strictest.

    Args:
        table: of ``alarms``.

    Returns:
        The thresholds, by rule.

    Raises:
        InputError: where nothing failed, or everything did.
    """
    if not 0 < (table["failed"] != "").mean() < 1:
        raise InputError("thresholds are chosen on runs some of which failed and some of which did not")
    best = {}
    for rule, rows in table.groupby("rule", sort=False):
        strictest_first = sorted(rows["threshold"].unique(), reverse=True)
        values = [_told_apart(rows[rows["threshold"] == threshold]) for threshold in strictest_first]
        best[str(rule)] = float(strictest_first[values.index(max(values))])
    return best


def _told_apart(rows: pd.DataFrame) -> float:
    failed = rows["failed"] != ""
    right = (rows["kind"] == rows["failed"]) & (rows["heard"] < rows["fell"])
    called = rows["kind"] != ""
    return float(right[failed].mean() - called[~failed].mean())


def judged(table: pd.DataFrame, thresholds: dict[str, float]) -> pd.DataFrame:
    """How each rule did at its threshold, by method and over all.

    The columns are rule, threshold, method ("all" last), runs; for each failure ("co", "ro") how many runs had it and
    of these called (by its kind, at any time) and early (before the evaluation that showed it); lead: epochs between
    alarm and evaluation, median over all failures that were called; healthy epochs and false alarms per 100 of them.

    Args:
        table: of ``alarms``, of runs that had no part in the thresholds.
        thresholds: by rule.

    Returns:
        The table.
    """
    rows = []
    for rule, threshold in thresholds.items():
        own = table[(table["rule"] == rule) & (table["threshold"] == threshold)]
        groups = [*own.groupby("method", sort=False), ("all", own)]
        rows += [{"rule": rule, "threshold": threshold, "method": name, **_score(part)} for name, part in groups]
    return pd.DataFrame(rows)


def _score(rows: pd.DataFrame) -> dict[str, float]:
    right = (rows["kind"] == rows["failed"]) & (rows["failed"] != "")
    healthy = rows[rows["failed"] == ""]
    score: dict[str, float] = {"runs": len(rows)}
    for kind in ("co", "ro"):
        mine = rows["failed"] == kind
        early = mine & right & (rows["heard"] < rows["fell"])
        score |= {kind: int(mine.sum()), f"{kind}_called": int((mine & right).sum()), f"{kind}_early": int(early.sum())}
    wrong, epochs = int((healthy["kind"] != "").sum()), int(healthy["epochs"].sum())
    return score | {
        "lead": (rows["fell"] - rows["heard"])[right].median(),
        "healthy_epochs": epochs,
        "false_per_100": 100 * wrong / epochs if epochs else np.nan,
    }


def replay(
    steps: pd.DataFrame, batch_size: int, window: int, settings: WatchSettings | None = None
) -> Iterator[tuple[int, Alarm]]:
    """The alarms that a watch would have raised on a run's measured steps, each with the step it came at.

    Args:
        steps: measured ones, a row each, as a run's history keeps them.
        batch_size: samples a step.
        window: measured steps between two calls of ``EnergyWatch.step``, 0 for none but that at an
            epoch's end, which there is always, as in the trainer.
        settings: of the watch; None for its own.

    Yields:
        Steps and alarms, in their order.
    """
    watch = EnergyWatch(settings)
    within = steps.groupby("epoch").cumcount() // (window or len(steps))
    for _, rows in steps.groupby([steps["epoch"], within]):
        alarm = watch.judge(rows["delta_marginal"].mean(), rows["abnormal_share"].mean(), batch_size * len(rows))
        if alarm:
            yield int(rows["step"].iloc[-1]), alarm


def gap_alarm(history: pd.DataFrame, samples: int, settings: WatchSettings | None = None) -> int:
    """The first epoch at whose end the watch would have heard FGSM leave PGD behind, 0 for none.

    Args:
        history: of a run, a row an epoch.
        samples: training images that an epoch is judged by.
        settings: of the watch; None for its own.

    Returns:
        The epoch, from 1.
    """
    watch = EnergyWatch(settings)
    judged = history.dropna(subset="train_pgd")
    for epoch, fgsm, pgd in zip(judged["epoch"], judged["train_fgsm"], judged["train_pgd"], strict=True):
        if watch.judge_gap(fgsm, pgd, samples):
            return int(epoch)
    return 0


def pgd_drop(history: pd.DataFrame, drop: float = 0.2) -> int:
    """The epoch at which fast_adversarial would have stopped, 0 for none.

    Args:
        history: of a run, a row an epoch.
        drop: of the accuracy, in [0, 1]; its own is 0.2, which an accuracy of 40 % that halves does not reach.

    Returns:
        The epoch, from 1.
    """
    judged = history.dropna(subset="train_pgd")
    return first_epoch(judged, judged["train_pgd"].diff() < -drop)


def _epoch_length(steps: pd.DataFrame) -> float:
    """Training steps in an epoch, whose first one is always measured."""
    last = int(steps["epoch"].max())
    first = steps.loc[steps["epoch"] == last, "step"].min()
    return float((first - 1) / (last - 1) if last > 1 else steps["step"].max())


def recorded(name: str) -> pd.DataFrame:
    """The alarms that ``record NAME`` wrote down.

    Args:
        name: of the set of runs, as in held-out.

    Returns:
        The table of ``alarms``.

    Raises:
        InputError: where nothing was written under this name.
    """
    path = RESULTS / f"early-warning-{name}.csv"
    if not path.is_file():
        command = f"python -m analyses.early_warning record {name} RUN..."
        raise InputError(f"no {path.name} in {path.parent}: {command} first")
    return pd.read_csv(path, keep_default_na=False, na_values=dict.fromkeys(("fell", "heard"), ""))


@click.group()
def main() -> None:
    """Judge the early warning."""


@main.command()
@click.argument("name")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
def record(name: str, runs: tuple[Path, ...]) -> None:
    """Write down what the rules say to these runs, as analyses/results/early-warning-NAME.csv."""
    found = alarms(read_runs(runs))
    _write(found, name, f"python -m analyses.early_warning record {name} RUN...", found)


@main.command()
@click.option("--chosen-on", default="chosen", show_default=True, metavar="NAME", help="Runs that thresholds are from.")
@click.option("--judged-on", default="held-out", show_default=True, metavar="NAME", help="Runs that had no part.")
@click.option("--usual", is_flag=True, help="Judge the thresholds that the rules have unfitted.")
def table(chosen_on: str, judged_on: str, usual: bool) -> None:
    """Write how the rules did, as analyses/results/early-warning-judged.csv (-usual.csv), and print it."""
    thresholds = {name: rule.usual for name, rule in RULES.items()} if usual else chosen(recorded(chosen_on))
    runs = recorded(judged_on)
    table = judged(runs, thresholds)
    thresholds_of = "--usual" if usual else f"--chosen-on {chosen_on}"
    command = f"python -m analyses.early_warning table {thresholds_of} --judged-on {judged_on}"
    _write(table, "usual" if usual else "judged", command, runs)
    click.echo(table.to_string(index=False, float_format="%.3g"))


def _write(table: pd.DataFrame, name: str, command: str, runs: pd.DataFrame) -> None:
    """The table and where it is from; runs: the rows of the runs that it is of."""
    path = RESULTS / f"early-warning-{name}.csv"
    record_table(table, path, origin(command, sorted(map(int, runs["seed"].unique()))))
    click.echo(path)


if __name__ == "__main__":
    run_program(main)
