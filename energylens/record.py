"""The record: one row a sample, what the model makes of it before and after an attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from energylens.attacks.norms import l2_size, linf_size
from energylens.attacks.result import AttackResult
from energylens.energy import abnormal, cross_entropy, joint_energy, marginal_energy

SCHEMA_VERSION = 1

COLUMNS: dict[str, str] = {
    "index": "int64",  # the sample's position in the whole split
    "label": "int64",
    "pred_clean": "int64",
    "pred_adv": "int64",
    "marginal_clean": "float32",  # E(x), nats
    "marginal_adv": "float32",
    "joint_clean": "float32",  # E(x, y) at the true label, nats
    "joint_adv": "float32",
    "cross_entropy_clean": "float32",
    "cross_entropy_adv": "float32",
    "linf": "float32",  # size of the perturbation, images in [0, 1]
    "l2": "float32",
    "success": "bool",  # misclassified, or the target reached
    "abnormal": "bool",  # the attack lowered the loss
    "steps": "int64",
    "forwards": "int64",
    "backwards": "int64",
}
TARGET_COLUMN = "target"  # int64, in the records of targeted attacks only
BROKEN_BY_COLUMN = "broken_by"  # text, of AutoAttack's: the part that felled the sample, "natural", or "" if none did


def empty_rows() -> pd.DataFrame:
    """No rows, in the schema of COLUMNS."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})


@torch.no_grad()
def measure(
    indices: Tensor,
    x: Tensor,
    y: Tensor,
    clean_logits: Tensor,
    result: AttackResult,
    adv_logits: Tensor,
    target: Tensor | None = None,
) -> pd.DataFrame:
    """The rows of one batch, in the schema of COLUMNS.

    indices, y, target: (N,); x: (N, C, H, W) natural images; clean_logits, adv_logits: (N, K) float32.
    """
    delta = result.x_adv - x
    size = linf_size(delta)
    predicted = adv_logits.argmax(dim=1)
    columns = {
        "index": indices,
        "label": y,
        "pred_clean": clean_logits.argmax(dim=1),
        "pred_adv": predicted,
        "marginal_clean": marginal_energy(clean_logits),
        "marginal_adv": marginal_energy(adv_logits),
        "joint_clean": joint_energy(clean_logits, y),
        "joint_adv": joint_energy(adv_logits, y),
        "cross_entropy_clean": cross_entropy(clean_logits, y),
        "cross_entropy_adv": cross_entropy(adv_logits, y),
        "linf": size,
        "l2": l2_size(delta),
        "success": predicted != y if target is None else predicted == target,
        # an image that did not move has lowered nothing, however the last bits of two forwards differ
        "abnormal": abnormal(clean_logits, adv_logits, y) & (size > 0),
        "steps": result.steps,
        "forwards": result.forwards,
        "backwards": result.backwards,
    }
    if target is not None:
        columns[TARGET_COLUMN] = target
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()}).astype(COLUMNS)
    return table if result.broken_by is None else table.assign(**{BROKEN_BY_COLUMN: list(result.broken_by)})


@dataclass(frozen=True)
class AttackRecord:
    """One attack's part of a record: its rows, its manifest and the seconds it took (recording included)."""

    name: str
    label: str
    rows: pd.DataFrame
    manifest: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Record:
    """What one profile found: the natural samples first, then an attack each.

    model, dataset, eps (as text; None where none is known), norm and seed are the profile's own; folder is the
    model's in the runs, None where nothing was kept.
    """

    model: str
    dataset: str
    eps: str | None
    norm: str
    seed: int
    attacks: tuple[AttackRecord, ...] = field(repr=False)
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.attacks[0].rows)

    @property
    def threat(self) -> str:
        """``eps 8/255 linf``, or that no attack kept to a radius (C&W seeks the smallest perturbation)."""
        bounded = any(attack.manifest["eps"] for attack in self.attacks)
        return f"eps {self.eps} {self.norm}" if bounded else "no eps"

    def __getitem__(self, name: str) -> AttackRecord:
        for attack in self.attacks:
            if attack.name == name:
                return attack
        raise KeyError(f"no attack {name!r} in this record; it holds {', '.join(a.name for a in self.attacks)}")

    def frame(self) -> pd.DataFrame:
        """All rows in one table: COLUMNS, before them ``attack``, after them the signed differences natural minus
        adversarial ``delta_marginal`` and ``delta_joint``."""
        tables = [attack.rows.assign(attack=attack.name) for attack in self.attacks]
        table = pd.concat(tables, ignore_index=True)
        if TARGET_COLUMN in table:  # untargeted attacks have none
            table[TARGET_COLUMN] = table[TARGET_COLUMN].astype("Int64")
        extra = [name for name in (TARGET_COLUMN, BROKEN_BY_COLUMN) if name in table]
        return table[["attack", *COLUMNS, *extra]].assign(
            delta_marginal=table["marginal_clean"] - table["marginal_adv"],
            delta_joint=table["joint_clean"] - table["joint_adv"],
        )

    def summary(self) -> list[dict[str, Any]]:
        """One row an attack, natural first: means over the samples, summed in float64.

        accuracy and abnormal_share are shares in [0, 1]; energies in nats; forwards and backwards are network passes
        a sample.
        """
        return [_summarise(attack) for attack in self.attacks]


def _summarise(attack: AttackRecord) -> dict[str, Any]:
    rows = attack.rows

    def mean(column: str) -> float:
        return float(rows[column].astype("float64").mean())

    return {
        "attack": attack.name,
        "n": len(rows),
        "accuracy": float((rows["pred_adv"] == rows["label"]).mean()),
        "marginal_mean": mean("marginal_adv"),
        "joint_mean": mean("joint_adv"),
        "delta_marginal_mean": mean("marginal_clean") - mean("marginal_adv"),
        "delta_joint_mean": mean("joint_clean") - mean("joint_adv"),
        "abnormal_share": mean("abnormal"),
        "linf_mean": mean("linf"),
        "l2_mean": mean("l2"),
        "forwards": mean("forwards"),
        "backwards": mean("backwards"),
        "seconds": round(attack.seconds, 3),
    }
