"""The record: one row a sample, what the model makes of it before and after an attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from energylens.attacks.norms import l2_size, linf_size
from energylens.attacks.result import AttackResult
from energylens.data import Samples
from energylens.energy import abnormal, cross_entropy, joint_energy, marginal_energy
from energylens.errors import InputError
from energylens.models import model_title
from energylens.statistics import Separability, separability

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
CLEAN = ("marginal_clean", "joint_clean")  # which no attack changes
TARGET_COLUMN = "target"  # int64, in the records of targeted attacks only
ROUNDED_COLUMN = "pred_uint8"  # int64, where images are kept: the class of the adversarial rounded to 8 bits
PATH_COLUMNS = ("marginal_path", "joint_path")  # lists of float32, traced: E(x'), E(x', y) from the start to x_adv
PURIFIED_COLUMNS: dict[str, str] = {  # of Diff-PGD's: what the model makes of R(x_adv)
    "pred_purified": "int64",
    "marginal_purified": "float32",
    "joint_purified": "float32",
    "cross_entropy_purified": "float32",
    "success_purified": "bool",
}
BROKEN_BY_COLUMN = "broken_by"  # text, of AutoAttack's: the part that broke the sample, "natural", or "" if none did
CYCLED_COLUMN = "cycled"  # int64, of the ascent loop's: the step at which the iterate had been there before, 0 for none
_OPTIONAL = (TARGET_COLUMN, ROUNDED_COLUMN, *PURIFIED_COLUMNS, *PATH_COLUMNS, BROKEN_BY_COLUMN, CYCLED_COLUMN)
#: their types in a table of attacks of which some have no such column
_NULLABLE = {
    **dict.fromkeys((TARGET_COLUMN, ROUNDED_COLUMN, CYCLED_COLUMN, "pred_purified"), "Int64"),
    "success_purified": "boolean",
}


def with_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """A table that was put together of several, its whole numbers whole where some of them lacked a column.

    Args:
        table: with columns of the record.

    Returns:
        The same, the optional columns in types that know of missing values.
    """
    return table.astype({name: kind for name, kind in _NULLABLE.items() if name in table})


#: what ``print(record)`` shows: heading, column of the summary, form
PRINTED: dict[str, tuple[str, Callable[[float], str]]] = {
    "attack": ("attack", str),
    "accuracy": ("accuracy", lambda share: f"{100 * share:.1f} %"),
    "E(x)": ("marginal_mean", "{:.2f}".format),
    "E(x,y)": ("joint_mean", "{:.2f}".format),
    "dE(x)": ("delta_marginal_mean", "{:+.2f}".format),
    "dE(x,y)": ("delta_joint_mean", "{:+.2f}".format),
    "AAE": ("abnormal_share", lambda share: f"{100 * share:.1f} %"),
}


def empty_rows() -> pd.DataFrame:
    """No rows, in the schema of COLUMNS.

    Returns:
        A table without rows.
    """
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
    rounded_logits: Tensor | None = None,
    purified_logits: Tensor | None = None,
) -> pd.DataFrame:
    """The rows of one batch, in the schema of COLUMNS.

    Args:
        indices: of the samples in their split, (N,).
        x: the natural images, (N, C, H, W) in [0, 1].
        y: their labels, (N,).
        clean_logits: of the natural images, (N, K) float32.
        result: of the attack on them.
        adv_logits: of the adversarial images, (N, K) float32.
        target: the classes aimed at, (N,); None where none were.
        rounded_logits: of the adversarial images rounded to 8 bits, (N, K) float32, where images are kept.
        purified_logits: of R(x_adv), (N, K) float32, where the attack purifies.

    Returns:
        N rows; after COLUMNS those of the optional columns that apply.
    """
    delta = result.x_adv - x
    size = linf_size(delta)
    columns = {
        "index": indices,
        "label": y,
        **_read(clean_logits, y, "clean"),
        **_read(adv_logits, y, "adv"),
        "linf": size,
        "l2": l2_size(delta),
        "success": _success(adv_logits, y, target),
        # an image that did not move has lowered nothing, however the last bits of two forwards differ
        "abnormal": abnormal(clean_logits, adv_logits, y) & (size > 0),
        "steps": result.steps,
        "forwards": result.forwards,
        "backwards": result.backwards,
    }
    columns = {name: columns[name] for name in COLUMNS}  # in the order of the schema
    if result.cycled is not None:
        columns[CYCLED_COLUMN] = result.cycled
    if target is not None:
        columns[TARGET_COLUMN] = target
    if rounded_logits is not None:
        columns[ROUNDED_COLUMN] = rounded_logits.argmax(dim=1)
    if purified_logits is not None:
        columns |= _read(purified_logits, y, "purified")
        columns["success_purified"] = _success(purified_logits, y, target)
    table = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()}).astype(COLUMNS)
    if result.trajectory is not None:
        table = table.join(_paths(result.trajectory, table))
    return table if result.broken_by is None else table.assign(**{BROKEN_BY_COLUMN: list(result.broken_by)})


def _read(logits: Tensor, y: Tensor, what: str) -> dict[str, Tensor]:
    """What the model makes of images, in columns whose names end in ``what``."""
    return {
        f"pred_{what}": logits.argmax(dim=1),
        f"marginal_{what}": marginal_energy(logits),
        f"joint_{what}": joint_energy(logits, y),
        f"cross_entropy_{what}": cross_entropy(logits, y),
    }


def _success(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    predicted = logits.argmax(dim=1)
    return predicted != y if target is None else predicted == target


def _paths(trajectory: Tensor, table: pd.DataFrame) -> pd.DataFrame:
    """PATH_COLUMNS: the energies (N, steps, 2) of the iterates, NaN after a sample's last, then those of x_adv."""
    ends = table[["marginal_adv", "joint_adv"]].to_numpy("float32")
    walks = trajectory.cpu().numpy()
    made = trajectory.shape[1] - np.isnan(walks[:, ::-1, 0]).cumprod(axis=1).sum(axis=1)  # before the NaN at the end
    paths = [np.concatenate([walk[:n], end[None]]) for walk, n, end in zip(walks, made, ends, strict=True)]
    return pd.DataFrame({name: [path[:, energy] for path in paths] for energy, name in enumerate(PATH_COLUMNS)})


@dataclass(frozen=True)
class AttackRecord:
    """One attack's part of a record: its rows, its manifest and the seconds it took (recording included).

    load_images: gives back what images were kept with the rows; None where none were.
    """

    name: str
    label: str
    rows: pd.DataFrame = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    seconds: float
    load_images: Callable[[], Mapping[str, Tensor]] | None = field(default=None, repr=False)

    def images(self) -> Mapping[str, Tensor]:
        """The images that were kept with the rows.

        Returns:
            ``x_adv``, (N, C, H, W) float32 in [0, 1], lossless, in the order of the rows; Diff-PGD's R(x_adv) is
            beside it as ``purified``.

        Raises:
            InputError: where they were not kept.
        """
        if self.load_images is None:
            raise InputError(f"the images of {self.name} were not kept: profile with save_images=True (--save-images)")
        return self.load_images()


@dataclass(frozen=True)
class ConsistencyCheck:
    """One check among the accuracies of a record: ``stronger`` must not leave more samples right than ``weaker``.

    rule: a row of ``checks.consistency.RULES``. accuracy_weaker, accuracy_stronger: shares in [0, 1] of the same n
    samples; of the rule huge-eps the share that may be right and the one that is. p: how likely chance alone is that
    far off; NaN where an interval decides. evidence: what was counted instead, in words, where the two accuracies do
    not decide.
    """

    rule: str
    weaker: str
    stronger: str
    accuracy_weaker: float
    accuracy_stronger: float
    n: int
    p: float
    holds: bool
    evidence: str = ""


@dataclass(frozen=True, repr=False)
class Record:
    """What one profile found: the natural samples first, then an attack each.

    model, dataset (``Samples.title``), eps (as text; None where none is known), norm and seed are the profile's own;
    folder is the model's in the runs, None where nothing was kept. samples: the natural images, read when they are
    asked for. notes: what a reader should know of how the rows came about, a sentence each. checks: the consistency
    checks, where they were made.
    """

    model: str
    dataset: str
    eps: str | None
    norm: str
    seed: int
    attacks: tuple[AttackRecord, ...] = field(repr=False)
    folder: Path | None = None
    samples: Samples | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    checks: tuple[ConsistencyCheck, ...] = ()

    def __len__(self) -> int:
        return len(self.attacks[0].rows)

    @property
    def ladder(self) -> tuple[ConsistencyCheck, ...]:
        """An earlier name of ``checks``."""
        return self.checks

    @property
    def model_title(self) -> str:
        """The model as a reader is shown it: of a weights file the last folder and the file.

        The last folder of such a file is a training's run.
        """
        return model_title(self.attacks[0].manifest["model"])

    @property
    def threat(self) -> str:
        """``eps 8/255 linf`` (``eps 4/255, 8/255 linf`` where attacks differ), or that no attack kept to a radius.

        C&W, which seeks the smallest perturbation, is one that does not.
        """
        radii = dict.fromkeys(attack.manifest["eps"]["text"] for attack in self.attacks if attack.manifest["eps"])
        return f"eps {', '.join(radii)} {self.norm}" if radii else "no eps"

    @property
    def title(self) -> str:
        """``digits-pgd on digits, 100 samples, eps 0.2 linf, seed 0``."""
        return f"{self.model} on {self.dataset}, {len(self)} samples, {self.threat}, seed {self.seed}"

    @property
    def caption(self) -> str:
        """What a picture says that it is of: ``digits-pgd on digits, n = 100, eps 0.2 linf, seed 0``."""
        return f"{self.model_title} on {self.dataset}, n = {len(self)}, {self.threat}, seed {self.seed}"

    def __getitem__(self, name: str) -> AttackRecord:
        for attack in self.attacks:
            if attack.name == name:
                return attack
        raise KeyError(f"no attack {name!r} in this record; it holds {', '.join(a.name for a in self.attacks)}")

    def first(self, n: int) -> Samples:
        """The natural images of the first rows.

        Args:
            n: how many, or all where there are fewer.

        Returns:
            Their samples, of a record that has just been profiled: one that is read from a folder has no images.
        """
        assert self.samples is not None, "a record that is read from a folder has no images"
        indices = torch.tensor(self.attacks[0].rows["index"][:n].to_numpy())
        return self.samples.subset(torch.isin(self.samples.indices, indices).nonzero().flatten())

    def frame(self) -> pd.DataFrame:
        """All rows in one table.

        Returns:
            One row a sample and attack, natural first. The columns are ``attack``, COLUMNS, the optional columns that
            some attack has, and the signed differences natural minus adversarial ``delta_marginal`` and
            ``delta_joint``, in nats.
        """
        tables = [attack.rows.assign(attack=attack.name) for attack in self.attacks]
        table = pd.concat(tables, ignore_index=True)
        extra = [name for name in _OPTIONAL if name in table]
        table = with_gaps(table)
        return table[["attack", *COLUMNS, *extra]].assign(
            delta_marginal=table["marginal_clean"] - table["marginal_adv"],
            delta_joint=table["joint_clean"] - table["joint_adv"],
        )

    def summary(self) -> pd.DataFrame:
        """What ``as_numbers`` tells, as a table.

        Returns:
            One row an attack, natural first; NaN where a column does not apply.
        """
        return pd.DataFrame(self.as_numbers())

    def as_numbers(self) -> list[dict[str, Any]]:
        """Means over the samples, summed in float64, as JSON holds them.

        Returns:
            One row an attack, natural first. accuracy and abnormal_share are shares in [0, 1]; energies in nats;
            forwards and backwards are network passes a sample. accuracy_uint8, where images are kept: on the
            adversarial images rounded to 8 bits. accuracy_purified, of Diff-PGD: on R(x_adv). success_share, of
            targeted attacks: how many reached their target, a share. auroc, detector_threshold, detector_side, tpr,
            fpr: see ``Separability``, of the samples whose image the attack has moved; None for few of them, as in the
            natural row.
        """
        return [_summarise(attack) for attack in self.attacks]

    def __repr__(self) -> str:
        """``Record(digits-pgd on digits, 100 samples, eps 0.2 linf, seed 0: natural, fgsm)``."""
        return f"Record({self.title}: {', '.join(attack.name for attack in self.attacks)})"

    def __str__(self) -> str:
        """What it is of, the main columns of the summary and the notes."""
        summary = self.summary()
        table = pd.DataFrame({name: summary[column].map(form) for name, (column, form) in PRINTED.items()})
        return "\n".join([self.title, table.to_string(index=False), *self.notes])


def _summarise(attack: AttackRecord) -> dict[str, Any]:
    rows = attack.rows
    variants = {"accuracy_uint8": ROUNDED_COLUMN, "accuracy_purified": "pred_purified"}

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
        **({"success_share": mean("success")} if TARGET_COLUMN in rows else {}),
        **_separated(attack),
        **{name: float((rows[of] == rows["label"]).mean()) for name, of in variants.items() if of in rows},
    }


def _separated(attack: AttackRecord) -> dict[str, Any]:
    """How well E(x) tells the images that the attack has moved from the natural ones.

    Those that it gave back as they were, having failed, are natural.
    """
    moved = attack.rows[attack.rows["linf"] > 0]
    found = separability(*(moved[name].to_numpy() for name in ("marginal_clean", "marginal_adv")))
    return {f.name: None if found is None else getattr(found, f.name) for f in fields(Separability)}
