"""Presets: the papers' settings under a short name. What a user sets overrides them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from energylens.settings import check_names, check_word
from energylens.training.settings import DIGITS, TrainSettings

#: what the papers' CIFAR-10 settings have in common
_CIFAR10: dict[str, Any] = {
    "dataset": "cifar10", "augment": "crop-flip", "eps": "8/255", "optimizer": "sgd", "weight_decay": 5e-4,
    "batch_size": 128, "val_fraction": 0.02, "channels_last": True, "final_steps": 50,
}  # fmt: skip
#: and the two on four of its classes
_SMALL: dict[str, Any] = {
    "dataset": "cifar10", "classes": (0, 1, 6, 7), "arch": "cifar-smallcnn", "normalize": True, "augment": "none",
    "optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0, "schedule": "constant", "eval_samples": 400,
    "channels_last": True, "final_steps": 50, "final_samples": 500,
}  # fmt: skip

#: name -> (where the settings are from, the settings). co-small and ro-small were chosen so that FGSM collapses and PGD
#: overfits within minutes on one core: that they do so is no finding. docs/reference/training.md has what is ours
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": ("the embedded default; ours", DIGITS),
    "co": (
        "catastrophic overfitting in fast training: arXiv 2001.03994, 2007.02617",
        {
            **_CIFAR10, "arch": "preactresnet18", "normalize": True, "method": "fgsm", "lr": 0.2, "momentum": 0.9,
            "schedule": "cyclic", "peak": 0.5, "epochs": 30,
        },
    ),
    "co-small": (
        "catastrophic overfitting within a minute on one CPU core; ours",
        {
            **_SMALL, "per_class": 1600, "method": "fgsm", "eps": "28/255", "eps_ramp": 1.0, "epochs": 24,
            "batch_size": 128, "val_fraction": 0.0625,
        },
    ),
    "ro": (
        "robust overfitting: arXiv 2002.11569",
        {
            **_CIFAR10, "arch": "preactresnet18", "normalize": True, "method": "pgd", "steps": 10,
            "step_size": "2/255", "lr": 0.1, "momentum": 0.9, "schedule": "piecewise", "milestones": (0.5, 0.75),
            "epochs": 200,
        },
    ),
    "ro-small": (
        "robust overfitting within a few minutes on one CPU core; ours",
        {
            **_SMALL, "per_class": 375, "method": "pgd", "eps": "8/255", "steps": 7, "step_size": "2/255",
            "epochs": 36, "batch_size": 64, "val_fraction": 0.2,
        },
    ),
    "weat": (
        "WEAT: arXiv 2407.06315",
        {
            **_CIFAR10, "arch": "resnet18", "normalize": False, "method": "weat-adv", "steps": 10,
            "step_size": "2/255", "lr": 0.1, "schedule": "onecycle", "peak": 0.25, "epochs": 100,
        },
    ),
}  # fmt: skip


def settings_of(recipe: str = "digits", **own: Any) -> TrainSettings:
    """The recipe's settings, one's own in their place, nothing left open.

    Args:
        recipe: a name of RECIPES.
        own: settings by name.

    Returns:
        The resolved settings.

    Raises:
        InputError: for an unknown name, and for what cannot be run.
    """
    return overridden(TrainSettings(), recipe, own).resolved()


def overridden(settings: TrainSettings, recipe: str | None, own: Mapping[str, Any]) -> TrainSettings:
    """Settings with those of the recipe, if one is named, and one's own in their place.

    Args:
        settings: to begin with.
        recipe: a name of RECIPES, or None.
        own: settings by name.

    Returns:
        The settings, not resolved yet.

    Raises:
        InputError: for an unknown name.
    """
    preset: Mapping[str, Any] = {}
    if recipe is not None:
        check_word("recipe", recipe, RECIPES)
        preset = RECIPES[recipe][1]
    check_names(TrainSettings, own.keys())
    return replace(settings, **{**preset, **own})
