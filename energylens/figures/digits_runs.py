"""The training runs that several analyses look at: methods side by side under one recipe, a seed each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from energylens.figures.run_cache import RunCache
from energylens.tables.training_runs import TrainingRun
from energylens.training.checkpoint import LAST
from energylens.training.recipes import settings_of

METHODS: dict[str, dict[str, Any]] = {
    "PGD": {"method": "pgd"},
    "TRADES": {"method": "trades"},
    "MAIL-TRADES": {"method": "mail-trades"},
    "WEAT_nat": {"method": "weat-nat"},
    "WEAT_adv": {"method": "weat-adv"},
}
RECIPES: dict[str, dict[str, Any]] = {
    # ours [R]: a constant rate and no early end, so that PGD overfits
    "demo": {
        "recipe": "digits", "epochs": 60, "schedule": "constant", "lr": 1e-3, "weight_decay": 0.0, "augment": "none",
        "batch_size": 128, "eval_samples": 200, "measure_every": 2, "channels_last": True,
    },
    "paper": {"recipe": "weat"},
}  # fmt: skip


def trained(cache: RunCache, names: Sequence[str]) -> dict[str, TrainingRun]:
    """The runs of these methods at the run cache's scale, by name.

    Args:
        cache: where the runs come from and are kept.
        names: of METHODS.

    Returns:
        The runs, in that order.
    """
    wanted = [settings_of(**RECIPES[cache.scale], **METHODS[name]) for name in names]
    return dict(zip(names, cache.train(wanted), strict=True))


def last_of(run: TrainingRun) -> str:
    """Where the run's last network lies, as ``energylens profile --model`` takes it.

    Args:
        run: that has finished an epoch.

    Returns:
        The path of a safetensors file.
    """
    return str(run.path / LAST)
