"""What a record says of itself: everything its rows depend on, and what else a reader would ask."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from torch import nn

from energylens.attacks.battery import Attack
from energylens.data import Samples
from energylens.models import ModelCard, module_digest
from energylens.record import SCHEMA_VERSION

PACKAGES = ("energylens", "torch", "torchvision", "pyautoattack")  # whose versions are told


def shared_identity(model: nn.Module, samples: Samples, seed: int) -> dict[str, Any]:
    """What every row depends on, whatever the attack."""
    return {
        "schema": SCHEMA_VERSION,
        "model": module_digest(model),
        "dataset": {"name": samples.name, "split": samples.split, "digest": samples.digest},
        "seed": seed,
    }


def manifest_of(attack: Attack, card: ModelCard, samples: Samples, common: dict[str, Any]) -> dict[str, Any]:
    """What the rows of one attack are of; its ``identity`` is all that they depend on."""
    settings = asdict(attack.settings)
    own = {"name": attack.row.name, "revision": attack.row.revision, "settings": settings, "target": attack.target}
    identity = {**common, "attack": own}
    if attack.settings.block:  # its rows depend on who else was chosen
        identity["selection"] = hashlib.sha256(samples.indices.numpy().tobytes()).hexdigest()
    return {
        "identity": identity,
        "model": asdict(card),
        "eps": None if attack.eps_text is None else {"text": attack.eps_text, "value": settings["eps"]},
        "versions": {name: version(name) for name in PACKAGES},
        "machine": platform.platform(),
    }
