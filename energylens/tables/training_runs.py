"""Training runs as they lie on disk: settings and history, and what tells several runs apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from energylens.attacks.radius import shown_setting
from energylens.errors import InputError, tell
from energylens.files import check_readable, is_there, reading, shown
from energylens.records.run_folder import MANIFEST
from energylens.training.final import Ends, read_ends
from energylens.training.history import HISTORY, STEPS

ALWAYS_TOLD = ("dataset", "arch", "eps")  # where they differ at all; the rest only between runs of one method on these
# only where nothing else tells runs apart: what follows from eps or a rule, and how a run is judged
LAST_TOLD = (
    "step_size", "omit_share", "omit_by", "eval_samples", "eval_steps", "eval_restarts", "eval_step", "eval_every",
    "final_steps", "final_restarts", "final_samples", "measure_every", "watch_every", "classwise", "on_alarm",
)  # fmt: skip

CAPTION = ("dataset", "classes", "per_class", "arch", "eps", "optimizer", "lr", "schedule", "batch_size", "seed")


@dataclass(frozen=True)
class TrainingRun:
    """One run folder of ``energylens train``.

    Attributes:
        path: the folder.
        settings: those of the trainer, as the manifest has them.
        history: one row an epoch, the columns of ``training.history.COLUMNS``.
    """

    path: Path
    settings: Mapping[str, Any]
    history: pd.DataFrame

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings without the seed: what the runs of one group share."""
        return {name: value for name, value in self.settings.items() if name != "seed"}

    @property
    def percent(self) -> pd.DataFrame:
        """The history with accuracies and shares in %, where it has them in [0, 1]."""
        shares = self.history.filter(regex="^(test|train|val)_|^abnormal_share$")
        return self.history.assign(**100 * shares)

    @property
    def finished(self) -> bool:
        """Whether every epoch that was asked for is there."""
        return len(self.history) >= int(self.settings["epochs"])

    @property
    def judge(self) -> str:
        """The column that picked the best epoch.

        It is of the validation split where there is one, else of training images; never of the test set.
        """
        return "val_pgd" if self.history["val_pgd"].notna().any() else "train_pgd"

    @property
    def best_by(self) -> str:
        """The split of that column, in a word: "validation" or "training"."""
        return {"val_pgd": "validation", "train_pgd": "training"}[self.judge]

    @cached_property
    def ends(self) -> Ends:
        """Test accuracies of the best and the last epoch, shares in [0, 1].

        They are those that the run was judged by at its end, else those that the epochs were judged by on the way.

        Raises:
            InputError: no epoch was judged.
            RunError: a file cannot be read.
        """
        if (found := read_ends(self.path)) is not None:
            return found
        attack = f"pgd,steps={self.settings['eval_steps']},restarts={self.settings.get('eval_restarts', 1)}"
        ends = (
            {"epoch": int(row["epoch"]), "clean": row["test_clean"], "pgd": row["test_pgd"]}
            for row in self.best_and_last
        )
        return Ends(attack, int(self.settings["eval_samples"]), *ends)

    @property
    def best_and_last(self) -> tuple[pd.Series[Any], pd.Series[Any]]:
        """The rows of the best and of the last epoch that was judged.

        Raises:
            InputError: none was yet.
        """
        judged = self.history.dropna(subset=self.judge)
        if judged.empty:
            raise InputError(f"{self.path}: no epoch was judged yet: run the command that made it again")
        return judged.iloc[int(judged[self.judge].argmax())], judged.iloc[-1]

    def steps(self) -> pd.DataFrame:
        """One row a measured step, the columns of ``training.history.STEP_COLUMNS``.

        Returns:
            The table, in the order of the steps.

        Raises:
            RunError: the file is not readable.
        """
        return _table(self.path / STEPS)


def read_run(path: Path) -> TrainingRun:
    """The run in this folder, finished or not.

    Args:
        path: of the run's folder.

    Returns:
        The run with its settings and its history.

    Raises:
        InputError: it is none, or has no finished epoch yet.
        RunError: it cannot be read.
    """
    if not is_there(path / MANIFEST):
        raise InputError(f"{path} is no run folder (no {MANIFEST}): give one that `energylens train` made")
    check_readable(path / MANIFEST)
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        settings = manifest["identity"]["settings"] | manifest.get("named", {})
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path / MANIFEST} is not a training run's ({error!r}): give a folder that `energylens train` made"
        ) from error
    if not (path / HISTORY).is_file():
        raise InputError(f"{path} has no finished epoch yet (no {HISTORY}): run the command that made it again")
    return TrainingRun(path, settings, _table(path / HISTORY))


def read_runs(paths: Iterable[Path]) -> list[TrainingRun]:
    """The runs in these folders; one that is named twice is one run.

    Of several, those that have not finished an epoch yet are passed over with a Note.

    Args:
        paths: of the runs' folders.

    Returns:
        The runs in the order given, each once.

    Raises:
        InputError: a folder is no run, or none has a finished epoch.
        RunError: a run cannot be read.
    """
    folders = list(dict.fromkeys(path.resolve() for path in paths))
    begun = [path for path in folders if is_there(path / HISTORY) or not is_there(path / MANIFEST)]
    for path in folders if begun else ():
        if path not in begun:
            tell(f"{shown(path)} has not finished an epoch yet and is passed over")
    return [read_run(path) for path in begun or folders]


def group_runs(runs: Sequence[TrainingRun]) -> dict[str, list[TrainingRun]]:
    """Runs that differ only in their seed, under a label that tells the groups apart, in order of appearance.

    Args:
        runs: one at least.

    Returns:
        The runs of each label, in their order.
    """
    groups: dict[str, list[TrainingRun]] = defaultdict(list)
    for run in runs:
        groups[json.dumps(run.recipe, sort_keys=True)].append(run)
    return dict(zip(labels([group[0].recipe for group in groups.values()]), groups.values(), strict=True))


def labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Method and regularisers of each, then what else tells it from the others: ``fgsm + der, eps 8/255, seed 1``.

    Args:
        settings: of each run or group, as a manifest keeps them.

    Returns:
        A label each, no two alike where the settings differ.
    """
    methods = [" + ".join([one["method"], *one["reg"], *(["awp"] if one["awp"] else [])]) for one in settings]
    told = [method + _telling(own, settings, ALWAYS_TOLD) for method, own in zip(methods, settings, strict=True)]
    kin = [(method, own["dataset"], own["arch"]) for method, own in zip(methods, settings, strict=True)]
    every = dict.fromkeys(name for one in settings for name in one)
    loud = [name for name in every if name not in (*ALWAYS_TOLD, *LAST_TOLD)]
    told = _told_apart(told, kin, settings, loud)
    return _told_apart(told, told, settings, LAST_TOLD)


def _told_apart(
    told: Sequence[str], kin: Sequence[Hashable], settings: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[str]:
    """Each label with those of the names that differ among settings of its kin."""
    families: dict[Hashable, list[Mapping[str, Any]]] = defaultdict(list)
    for family, own in zip(kin, settings, strict=True):
        families[family].append(own)
    return [
        text + _telling(own, families[family], names) for text, family, own in zip(told, kin, settings, strict=True)
    ]


def _telling(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str:
    """Those settings in which the others differ among each other, as they are here; nothing for one that is not set."""
    return "".join(
        f", {name.replace('_', '-')} {shown_setting(name, own[name])}"
        for name in names
        if _differ(name, others) and own.get(name) is not None
    )


def shared_settings(runs: Sequence[TrainingRun]) -> str:
    """What a caption says of runs drawn together: ``dataset cifar10, eps 8/255, seed 0, n = 1000 images a split``.

    Args:
        runs: one at least.

    Returns:
        The settings that all of them share, with commas between them.
    """
    settings = [run.settings for run in runs]
    shared = [name for name in CAPTION if settings[0].get(name) is not None and not _differ(name, settings)]
    told = [f"{name.replace('_', '-')} {shown_setting(name, settings[0][name])}" for name in shared]
    counts = dict.fromkeys(one["eval_samples"] or "all" for one in settings)
    return ", ".join([*told, f"n = {' or '.join(map(str, counts))} images a split"])


def _differ(name: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    return any(one.get(name) != settings[0].get(name) for one in settings)


def _table(path: Path) -> pd.DataFrame:
    with reading(path, "run the command that made it again", (pa.ArrowException,)):
        return pd.read_parquet(path)
