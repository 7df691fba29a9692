"""What a run leaves of its course: one row an epoch, and one a measured step; each file rewritten whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from energylens.energy import abnormal, joint_energy, kl_terms, marginal_energy
from energylens.errors import RunError
from energylens.files import is_there, reading, whole_file
from energylens.training.step import Step

HISTORY, STEPS, CLASSES = "history.parquet", "steps.parquet", "classes.parquet"

#: means are over the training samples that the steps saw, energies in nats; "delta_" is natural minus adversarial
COLUMNS: tuple[str, ...] = (
    "epoch", "lr", "seconds",  # the epoch from 1, the rate of its last step
    "loss", "reg",  # of the method, without the regularisers; sum of weight * regulariser
    "train_accuracy", "train_adv_accuracy", "marginal_clean", "marginal_adv", "joint_clean", "joint_adv",
    "delta_marginal", "delta_joint", "abnormal_share",
    "trades_conditional", "trades_marginal",  # the two parts of KL(p(.|x) || p(.|x*))
    "probe_delta_marginal", "probe_delta_joint", "probe_abnormal_share",  # eval mode, under the training attack
    "val_clean", "val_fgsm", "val_pgd", "test_clean", "test_fgsm", "test_pgd",
    "train_clean", "train_fgsm", "train_pgd",  # on the probe's images
    "alarm",  # the first of the epoch: "", "co" or "ro"
)  # fmt: skip

#: the step from 1; "alarm" is what the watch said when it had seen this step
STEP_COLUMNS = (
    "step", "epoch", "loss", "delta_marginal", "delta_joint", "abnormal_share", "train_adv_accuracy", "alarm",
)  # fmt: skip

#: what every step is measured by, in the order of its vector
MEASURES = ("loss", "reg", *COLUMNS[5:11], "abnormal_share", "trades_conditional", "trades_marginal")


@torch.no_grad()
def measures(step: Step, loss: Tensor, reg: Tensor, clean: Tensor | None, adversarial: bool) -> Tensor:
    """The step in MEASURES.

    Args:
        step: after its loss, with the forwards that the loss asked for.
        loss: of the method, without the regularisers, a scalar.
        reg: sum of weight * regulariser, a scalar.
        clean: logits of x, (N, K); None where nobody made them.
        adversarial: whether the method has an attack, so that x_adv is measured too.

    Returns:
        A vector on the step's device, (M,) float32, M the number of MEASURES; nan for what the step has not seen.
    """
    found = {"loss": loss, "reg": reg}
    if clean is not None:
        found |= {
            "train_accuracy": _accuracy(clean, step.y),
            "marginal_clean": marginal_energy(clean).mean(),
            "joint_clean": joint_energy(clean, step.y).mean(),
        }
    if adversarial:
        adv = step.logits_adv.detach()
        found |= {"train_adv_accuracy": _accuracy(adv, step.y)}
        if clean is not None:
            conditional, marginal = kl_terms(clean, adv)
            found |= {
                "marginal_adv": marginal_energy(adv).mean(),
                "joint_adv": joint_energy(adv, step.y).mean(),
                "abnormal_share": abnormal(clean, adv, step.y).float().mean(),
                "trades_conditional": conditional.mean(),
                "trades_marginal": marginal.mean(),
            }
    missing = loss.new_full((), torch.nan)  # made on the device, which new_tensor would wait for
    return torch.stack([found.get(name, missing).detach().float() for name in MEASURES])


def _accuracy(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == y).float().mean()


def as_steps(vectors: Tensor, epoch: int, first: int) -> pd.DataFrame:
    """Vectors of MEASURES as a table.

    Args:
        vectors: of S steps that follow one another, (S, M).
        epoch: theirs, from 1.
        first: number of the first step in the whole run, from 1.

    Returns:
        A row a step: the MEASURES, its number and epoch, and natural minus adversarial energies in nats.
    """
    table = pd.DataFrame(vectors.cpu().double().numpy(), columns=list(MEASURES))
    return table.assign(
        step=range(first, first + len(table)),
        epoch=epoch,
        delta_marginal=table["marginal_clean"] - table["marginal_adv"],
        delta_joint=table["joint_clean"] - table["joint_adv"],
    )


def epoch_means(steps: pd.DataFrame) -> dict[str, float]:
    """The means of an epoch over its measured steps.

    Args:
        steps: rows of ``as_steps``.

    Returns:
        The means by column, in float64; nan where no step was measured.
    """
    names = [*MEASURES, "delta_marginal", "delta_joint"]
    return {str(name): float(value) for name, value in steps[names].mean().items()}


@dataclass
class History:
    """The course of one run. Rows of epochs that a resumed run does again are dropped."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    steps: list[pd.DataFrame] = field(default_factory=list)
    classes: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def read(folder: Path, until: int) -> History:
        """What the folder holds of the epochs 1 .. until.

        Args:
            folder: of the run.
            until: the last epoch.

        Returns:
            Their history.

        Raises:
            RunError: where it lacks one or cannot be read.
        """
        epochs, steps, classes = (_read(folder / name, until) for name in (HISTORY, STEPS, CLASSES))
        if len(epochs) < until:
            raise RunError(f"{folder / HISTORY} lacks epochs of {until}: --overwrite starts this run anew")
        return History(_records(epochs), [steps], _records(classes))

    def frame(self) -> pd.DataFrame:
        """The epochs as a table.

        Returns:
            One row an epoch, in COLUMNS.
        """
        return pd.DataFrame(self.epochs, columns=list(COLUMNS))

    def add(self, steps: pd.DataFrame, row: Mapping[str, Any], classes: list[dict[str, Any]]) -> None:
        """Take up an epoch.

        Args:
            steps: its rows of ``as_steps`` with their alarms; those that saw no clean images are dropped.
            row: its values by COLUMNS; nan stands for what it lacks.
            classes: its rows of ``class_rows``, maybe none.
        """
        seen = steps[steps["train_accuracy"].notna()]
        self.steps.append(seen[list(STEP_COLUMNS)])
        self.epochs.append({name: row.get(name, torch.nan) for name in COLUMNS})
        self.classes.extend(classes)

    def write(self, folder: Path) -> None:
        """The files, each whole or not at all.

        Args:
            folder: of the run; that of the classes is written only where there are rows of them.
        """
        _write(self.frame(), folder / HISTORY)
        _write(pd.concat(self.steps, ignore_index=True), folder / STEPS)
        if self.classes:
            _write(pd.DataFrame(self.classes), folder / CLASSES)


def _read(path: Path, until: int) -> pd.DataFrame:
    if not is_there(path):
        return pd.DataFrame()
    with reading(path, "--overwrite starts this run anew", (pa.ArrowException,)):
        return pd.read_parquet(path).query("epoch <= @until")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _write(table: pd.DataFrame, path: Path) -> None:
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False)
