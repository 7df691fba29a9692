"""The manifest of a record: everything that its rows depend on, and what made them."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from energylens.attacks.battery import ConfiguredAttack
from energylens.attacks.settings import Settings
from energylens.data import Samples
from energylens.models import ModelCard, module_digest
from energylens.models.usable import device_of
from energylens.records.record import SCHEMA_VERSION
from energylens.records.shards import Shard
from energylens.settings import declared

PACKAGES = ("energylens", "torch", "torchvision", "pyautoattack", "diffusers")  # whose versions are told


@dataclass(frozen=True)
class Subject:
    """What the rows of a record are of, whatever the attack: a model, the samples, and the seed of the noise."""

    model: nn.Module
    card: ModelCard
    samples: Samples
    seed: int

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return device_of(self.model)


def shared_identity(model: nn.Module, samples: Samples, seed: int) -> dict[str, Any]:
    """What every row depends on, whatever the attack, as JSON holds it.

    Args:
        model: any module, for its digest.
        samples: of the request, for their split's digest and the classes kept of it.
        seed: of the noise.

    Returns:
        Values that JSON holds: schema, model, dataset and seed.
    """
    data: dict[str, Any] = {"name": samples.name, "split": samples.split, "digest": samples.digest}
    if samples.kept is not None:  # the digest is the whole split's
        data["classes"] = list(samples.kept)
    return {"schema": SCHEMA_VERSION, "model": module_digest(model), "dataset": data, "seed": seed}


def manifest_of(
    attack: ConfiguredAttack,
    card: ModelCard,
    samples: Samples,
    common: Mapping[str, Any],
    also: Sequence[str] = (),
    share: Shard | None = None,
) -> dict[str, Any]:
    """The manifest of one attack's rows. Its ``identity`` is everything that they depend on.

    Args:
        attack: with all its settings.
        card: the model's.
        samples: all samples of the request.
        common: what all attacks share, see ``shared_identity``.
        also: what the rows hold beside the usual columns, "images" or "trajectory".
        share: for rows that are never reused, the share that this process does alone: they must not replace those of
            another share.

    Returns:
        Values that JSON holds: the identity, and beside it what a reader wants to know of model, radius and software.
    """
    settings = told_settings(attack.settings)
    if attack.diffuser:  # its weights, not where they lie
        settings["diffusion"] = attack.diffuser.digest
    own = {"name": attack.row.name, "revision": attack.row.revision, "settings": settings, "target": attack.target}
    if attack.rounded:  # the other backends are the same to rounding; the name is that of earlier versions
        own["kernels"] = attack.backend
    identity = {**common, "attack": own}
    if attack.settings.block:  # its rows depend on who else was chosen
        identity["selection"] = hashlib.sha256(samples.indices.numpy().tobytes()).hexdigest()
    if also:
        identity["also"] = list(also)
    if share:
        identity["shard"] = str(share)
    return {
        "identity": identity,
        "model": asdict(card),
        "eps": None if attack.eps_text is None else {"text": attack.eps_text, "value": settings["eps"]},
        "diffusion": attack.diffuser and attack.diffuser.name,
        **software(),
    }


def told_settings(settings: Settings) -> dict[str, Any]:
    """An attack's settings as a manifest tells them.

    Args:
        settings: of the attack.

    Returns:
        Their values by name, those of later releases where they differ from their defaults alone: so the rows of an
        earlier one stay the rows of the same attack.
    """
    told = asdict(settings)
    for one in declared(type(settings)):
        if one.later and told[one.name] == one.default:
            del told[one.name]
    return told


def software() -> dict[str, Any]:
    """What made the rows, as every manifest tells it.

    Returns:
        The versions of PACKAGES that are installed, and the platform.
    """
    return {"versions": _versions(), "machine": platform.platform()}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES if find_spec(name)}


def made_elsewhere(manifest: Mapping[str, Any]) -> str | None:
    """How the software that made these rows differs from what runs here, in words; None where it does not.

    Args:
        manifest: of the rows; an early one tells no versions.

    Returns:
        Packages with both versions, with commas between them.
    """
    there, here = manifest.get("versions", {}), _versions()
    both = there.keys() & here.keys()
    other = [f"{name} {there[name]}, not {here[name]}" for name in sorted(both) if there[name] != here[name]]
    return ", ".join(other) or None
