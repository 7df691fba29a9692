"""What became of a training run? The tables of its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from energylens.attacks.radius import shown_setting
from energylens.errors import InputError
from energylens.records.run_folder import MANIFEST, read_manifest
from energylens.statistics import accuracy_interval
from energylens.tables.overfitting import failure
from energylens.tables.training_runs import TrainingRun
from energylens.training.checkpoint import BEST
from energylens.training.final import read_ends
from energylens.training.methods import METHODS
from energylens.training.regularizers import REGULARIZERS
from energylens.training.settings import TrainSettings

ACCURACIES = ("clean", "fgsm", "pgd")
ENERGIES = ("delta_marginal", "delta_joint", "abnormal_share")
RECONSTRUCTED = {  # methods
    "mail-trades": "MAIL (from the first epoch on, slope 2) is our reading of arXiv 2106.07904."
}


def outcomes(runs: Sequence[TrainingRun]) -> pd.DataFrame:
    """What became of runs.

    Args:
        runs: finished or not.

    Returns:
        A row a run: seed, epochs (finished), asked (for), verdict ("collapsed": catastrophic overfitting, "overfitted":
        robust overfitting, "healthy", or "natural" where nothing adversarial was trained; the rules are ours, those of
        ``tables.overfitting.failure``), fell (epoch of the failure, 0 for none), alarms (a list of (epoch, kind)), n
        (test images, None where it is not known), judge ("validation" or "training" picked the best epoch), final (the
        judgement at the end, an ``Ends``, or None), and as best_NAME and last_NAME the epoch, the test accuracies
        (shares in [0, 1], with their 95 % intervals ``_low`` and ``_high`` where n is known) and ENERGIES.

    Raises:
        InputError: no epoch of a run was judged yet.
        RunError: a file cannot be read.
    """
    return pd.DataFrame([_outcome(run) for run in runs])


def _outcome(run: TrainingRun) -> dict[str, Any]:
    history, n = run.history, _test_images(run)
    kind, fell = failure(history)
    verdict = {"co": "collapsed", "ro": "overfitted", "": "healthy"}[kind]
    ends = dict(zip(("best", "last"), run.best_and_last, strict=True))
    alarms = history[history["alarm"] != ""]
    return {
        "seed": run.settings["seed"],
        "epochs": len(history),
        "asked": run.settings["epochs"],
        "verdict": verdict if METHODS[run.settings["method"]].adversarial else "natural",
        "fell": fell,
        "alarms": list(zip(alarms["epoch"].tolist(), alarms["alarm"], strict=True)),
        "n": n,
        "judge": run.best_by,
        "final": read_ends(run.path),
        **{f"{when}_{name}": value for when, row in ends.items() for name, value in _epoch(row, n).items()},
    }


def _epoch(row: pd.Series[Any], n: int | None) -> dict[str, float]:
    """One epoch's numbers."""
    told = {"epoch": int(row["epoch"]), **{name: float(row[name]) for name in ENERGIES}}
    for attack in ACCURACIES:
        told[attack] = float(row[f"test_{attack}"])
        if n:
            told[f"{attack}_low"], told[f"{attack}_high"] = accuracy_interval(round(told[attack] * n), n)
    return told


def _test_images(run: TrainingRun) -> int | None:
    """How many test images judged an epoch; the JSON beside the best weights tells."""
    try:
        return int(json.loads((run.path / BEST).with_suffix(".json").read_text())["test_images"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def reconstructions(settings: Mapping[str, Any]) -> list[str]:
    """What of these settings is our own reading of its source, a sentence each.

    Args:
        settings: of a run, as its manifest keeps them.

    Returns:
        The sentences; none where every part is an author's own.
    """
    said = [RECONSTRUCTED[settings["method"]]] if settings["method"] in RECONSTRUCTED else []
    for name, weight in zip(settings["reg"], settings["reg_weight"], strict=True):
        source = REGULARIZERS[name].source
        if "[R]" in source:
            said.append(f"{name} (weight {weight:g}): {source.replace(' [R]', '')}.")
    return said


def repeat(run: TrainingRun) -> str | None:
    """The command line that trains this run again; None where its settings are another version's.

    Args:
        run: with its settings.

    Returns:
        One line for a shell, or None.
    """
    try:
        return f"energylens train {TrainSettings.from_manifest(dict(run.settings)).as_options()}"
    except InputError:
        return None


def all_settings(run: TrainingRun) -> list[tuple[str, str]]:
    """Every setting that is set, the seed left out: name and value.

    Args:
        run: with its settings.

    Returns:
        Names and values in the order of the manifest.
    """
    return [
        (name.replace("_", "-"), shown_setting(name, value))
        for name, value in run.recipe.items()
        if value not in (None, [])
    ]


def provenance(runs: Sequence[TrainingRun]) -> list[tuple[str, str]]:
    """The runs' folders, their data's hashes, the versions and machines, as name and value.

    There are several values where runs differ in them.

    Args:
        runs: one at least.

    Returns:
        Names and values.
    """
    facts: dict[str, dict[str, None]] = {}
    for run in runs:
        manifest = read_manifest(run.path / MANIFEST)
        told = {f"{split} data sha256": digest for split, digest in manifest["identity"].get("data", {}).items()}
        told["versions"] = ", ".join(f"{name} {one}" for name, one in manifest.get("versions", {}).items())
        told["machine"] = manifest.get("machine", "")
        for name, value in ({"run": run.path.name} | told).items():
            facts.setdefault(name, {})[value] = None
    return [(name, "; ".join(filter(None, values))) for name, values in facts.items()]
