"""Presets: the papers' settings under a short name. What a user sets overrides them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from energylens.errors import InputError
from energylens.files import is_there
from energylens.records.run_folder import MANIFEST, check_same, read_manifest
from energylens.settings import check_names
from energylens.training.checkpoint import load_state
from energylens.training.schedules import SCHEDULES, Position
from energylens.training.settings import DIGITS, TrainSettings

#: name -> (where the settings are from, the settings). co-small and ro-small were chosen so that FGSM collapses and PGD
#: overfits within minutes on one core: that they do so is no finding. docs/reference/training.md has what is ours
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": ("the embedded default; ours", DIGITS),
    "co": (
        "catastrophic overfitting in fast training: arXiv 2001.03994, 2007.02617",
        {
            "dataset": "cifar10", "arch": "preactresnet18", "normalize": True, "augment": "crop-flip",
            "method": "fgsm", "eps": "8/255", "optimizer": "sgd", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4,
            "schedule": "cyclic", "peak": 0.5, "epochs": 30, "batch_size": 128, "val_fraction": 0.02,
            "channels_last": True, "final_steps": 50,
        },
    ),
    "co-small": (
        "catastrophic overfitting within a minute on one CPU core; ours",
        {
            "dataset": "cifar10", "classes": (0, 1, 6, 7), "per_class": 1600, "arch": "cifar-smallcnn",
            "normalize": True, "augment": "none", "method": "fgsm", "eps": "28/255", "eps_ramp": 1.0,
            "optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, "schedule": "constant", "epochs": 24,
            "batch_size": 128, "val_fraction": 0.0625, "eval_samples": 400, "channels_last": True,
            "final_steps": 50, "final_samples": 500,
        },
    ),
    "ro": (
        "robust overfitting: arXiv 2002.11569",
        {
            "dataset": "cifar10", "arch": "preactresnet18", "normalize": True, "augment": "crop-flip",
            "method": "pgd", "eps": "8/255", "steps": 10, "step_size": "2/255", "optimizer": "sgd", "lr": 0.1,
            "momentum": 0.9, "weight_decay": 5e-4, "schedule": "piecewise", "milestones": (0.5, 0.75), "epochs": 200,
            "batch_size": 128, "val_fraction": 0.02, "channels_last": True, "final_steps": 50,
        },
    ),
    "ro-small": (
        "robust overfitting within a few minutes on one CPU core; ours",
        {
            "dataset": "cifar10", "classes": (0, 1, 6, 7), "per_class": 375, "arch": "cifar-smallcnn",
            "normalize": True, "augment": "none", "method": "pgd", "eps": "8/255", "steps": 7, "step_size": "2/255",
            "optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, "schedule": "constant", "epochs": 36,
            "batch_size": 64, "val_fraction": 0.2, "eval_samples": 400, "channels_last": True,
            "final_steps": 50, "final_samples": 500,
        },
    ),
    "weat": (
        "WEAT: arXiv 2407.06315",
        {
            "dataset": "cifar10", "arch": "resnet18", "normalize": False, "augment": "crop-flip",
            "method": "weat-adv", "eps": "8/255", "steps": 10, "step_size": "2/255", "optimizer": "sgd", "lr": 0.1,
            "weight_decay": 5e-4, "schedule": "onecycle", "peak": 0.25, "epochs": 100, "batch_size": 128,
            "val_fraction": 0.02, "channels_last": True, "final_steps": 50,
        },
    ),
}  # fmt: skip


def settings_of(recipe: str = "digits", **own: Any) -> TrainSettings:
    """The recipe's settings, one's own before them, nothing left open. Raises InputError for an unknown name."""
    return _with(TrainSettings(), recipe, own).resolved()


def settings_in(folder: Path, recipe: str | None = None, **own: Any) -> TrainSettings:
    """The settings of the run in this folder; with more ``epochs`` than it has, those that it is extended to.

    recipe, own: what was asked for beside. Raises InputError that names the first difference where the run has other
    settings, and where a run is to be extended that is not finished or is longer already.
    """
    found = _found(folder)
    epochs = own.get("epochs", found.epochs)
    if epochs < found.epochs:
        raise InputError(f"{folder} is a run of {found.epochs} epochs: --epochs {epochs} cannot make it shorter")
    asked = _with(found, recipe, own | {"epochs": found.epochs} if "epochs" in own else own)
    check_same(found.manifest(), asked.manifest(), folder)
    if epochs == found.epochs:
        return found
    state = load_state(folder)
    if state is None or state["epoch"] < found.epochs or state["stopped"]:
        done, ended = (0, "") if state is None else (state["epoch"], state["stopped"])
        how = f", ended by the {ended.upper()} alarm" if ended else ""
        mend = "train anew with --on-alarm warn" if ended else f"finish it first, with --resume {folder} alone"
        raise InputError(f"{folder} has {done} of {found.epochs} epochs{how}: only a finished run is extended; {mend}")
    return found.extended_to(epochs)


def extension(folder: Path, settings: TrainSettings) -> str:
    """What becomes of the run in this folder when it is trained with settings of ``settings_in``, in a sentence.

    "" where it is not extended.
    """
    found = _found(folder)
    if found.epochs == settings.epochs:
        return ""
    said = f"{folder} is extended from {found.epochs} to {settings.epochs} epochs"
    row = SCHEDULES[found.schedule]
    if not row.by_length:
        return f"{said}: the {found.schedule} schedule does not depend on them, this is what {settings.epochs} are"
    before, after = (
        found.lr * row(Position(step, 1000 * length, found.peak, found.milestones)).factor
        for step, length in ((1000 * found.epochs - 1, found.epochs), (1000 * found.epochs, settings.epochs))
    )
    return (
        f"{said}: the {found.schedule} schedule depends on them, and goes on as that of {settings.epochs}, from a rate "
        f"of {before:.2g} to one of {after:.2g}; this is not a run of {settings.epochs} from the start, and its "
        "settings say so"
    )


def _found(folder: Path) -> TrainSettings:
    """The settings of the run in this folder; InputError where there is none."""
    manifest = read_manifest(folder / MANIFEST) if is_there(folder / MANIFEST) else {"identity": {}}
    if "settings" not in manifest["identity"]:
        raise InputError(f"{folder} holds no training run: give the folder that `energylens train` made")
    return TrainSettings.from_manifest(manifest["identity"]["settings"] | manifest.get("named", {}))


def _with(settings: TrainSettings, recipe: str | None, own: dict[str, Any]) -> TrainSettings:
    if recipe is not None and recipe not in RECIPES:
        raise InputError(f"unknown recipe {recipe!r}: give one of {', '.join(RECIPES)}")
    check_names(TrainSettings, own.keys())
    return replace(settings, **{**(RECIPES[recipe][1] if recipe else {}), **own})
