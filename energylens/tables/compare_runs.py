"""Which training kept its robustness? Best and last epoch of runs side by side.

Runs that differ only in their seed are one row.

One rule for what was lost, here and everywhere: the test accuracy of the best epoch, which the validation split chose,
minus that of the last, neither smoothed; under the PGD that judged the run at its end, else under the epochs' own.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from energylens.tables.training_runs import TrainingRun, group_runs

MEASURED = ("best_epoch", "best_pgd", "last_pgd", "gap_pgd", "best_clean", "last_clean", "gap_clean")
SPREAD = {"mean": "mean", "sd": "std"}  # the end of a column's name: pandas' word
FOLLOWED = ["test_pgd", "test_clean", "delta_marginal", "abnormal_share"]


def comparison(runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """The best and the last epoch of runs, over their seeds.

    Args:
        runs: one or more, finished or not.

    Returns:
        One row a group of runs that differ only in their seed: label, dataset, seeds (how many runs), best_by
        ("validation" or "training": the split by whose highest PGD accuracy the best epoch was chosen), judge
        (``PGD-50-10``: steps and restarts), unfinished ("12/30 epochs" of the first such run, or ""), alarms (kinds and
        in how many of the runs), and NAME_mean and NAME_sd (over seeds, n - 1; NaN for one) of best_epoch, then in %
        the test accuracies best_pgd, last_pgd, best_clean, last_clean and gap = best - last. ``attrs["notes"]`` says
        what a reader must know to compare.

    Raises:
        InputError: no epoch of a run was judged yet.
        RunError: a file cannot be read.
    """
    rows = []
    for label, group in group_runs(runs).items():
        measured = pd.DataFrame([_best_and_last(run) for run in group])
        spread = {f"{name}_{what}": measured[name].agg(of) for name in MEASURED for what, of in SPREAD.items()}
        about = {
            "label": label,
            "dataset": group[0].settings["dataset"],
            "seeds": len(group),
            "best_by": " or ".join(dict.fromkeys(run.best_by for run in group)),
            "judge": " or ".join(dict.fromkeys(run.ends.judge for run in group)),
            "unfinished": next(
                (f"{len(run.history)}/{run.settings['epochs']} epochs" for run in group if not run.finished), ""
            ),
            "alarms": _alarms(group),
        }
        rows.append(about | spread)
    table = pd.DataFrame(rows)
    table.attrs["notes"] = _notes(runs)
    return table


def followed(runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """The epochs of runs.

    Args:
        runs: one or more, finished or not.

    Returns:
        One row an epoch of every run and quantity: label (of its group), seed, quantity, epoch, value. The quantities
        are test_pgd and test_clean (accuracy, %), delta_marginal (nats), abnormal_share (%).
    """
    tables = []
    for label, group in group_runs(runs).items():
        for run in group:
            columns = run.percent.melt("epoch", FOLLOWED, var_name="quantity")
            tables.append(columns.assign(label=label, seed=run.settings["seed"]))
    return pd.concat(tables, ignore_index=True)[["label", "seed", "quantity", "epoch", "value"]]


def _best_and_last(run: TrainingRun) -> dict[str, float]:
    """The numbers of one run."""
    best, last = run.ends.best, run.ends.last
    numbers = {"best_epoch": float(best["epoch"])}
    for attack in ("pgd", "clean"):
        at_best, at_last = 100 * best[attack], 100 * last[attack]
        numbers |= {f"best_{attack}": at_best, f"last_{attack}": at_last, f"gap_{attack}": at_best - at_last}
    return numbers


def _alarms(group: Sequence[TrainingRun]) -> str:
    """``co 3/3``: in how many runs each kind was raised."""
    raised = [set(run.history["alarm"]) - {""} for run in group]
    kinds = sorted(set().union(*raised))
    return ", ".join(f"{kind} {sum(kind in one for one in raised)}/{len(group)}" for kind in kinds)


def _notes(runs: Sequence[TrainingRun]) -> list[str]:
    notes = []
    if len(names := dict.fromkeys(run.settings["dataset"] for run in runs)) > 1:
        notes.append(f"the data sets differ ({', '.join(names)}): rows of different ones do not compare")
    if any(run.judge == "train_pgd" for run in runs):
        notes.append("without a validation split the best epoch was picked on training images, where the last often is")
    if len(judges := dict.fromkeys(f"{run.ends.judge} on {run.ends.images or 'all'}" for run in runs)) > 1:
        notes.append(f"runs were judged differently ({', '.join(judges)} test images): their accuracies do not compare")
    if any(len({run.settings["seed"] for run in group}) < len(group) for group in group_runs(runs).values()):
        notes.append("a seed comes twice in one row: its deviation is too small")
    if any(not run.finished for run in runs):
        notes.append("unfinished runs are shown as far as they are: their last epoch is not the end")
    return notes
