"""The judgement at a run's end: PGD of many steps and restarts, once, on the weights of its best and its last epoch.

Epochs are judged by a cheap PGD, which overestimates robustness; papers report 50 steps and 10 restarts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from energylens.data import load_data
from energylens.files import is_there, reading, whole_file
from energylens.profiling import profile
from energylens.progress import Progress
from energylens.records.run_folder import writing
from energylens.records.shards import RANKS, launched_ranks
from energylens.training.checkpoint import BEST, LAST
from energylens.training.settings import TrainSettings

FINAL = "final.json"
JUDGED = "judged"  # in the run's folder: the records of the samples


@dataclass(frozen=True)
class Ends:
    """The accuracies of both ends of a run, shares in [0, 1].

    Attributes:
        attack: the attack of ``pgd``, as ``energylens profile`` takes it.
        images: how many of the test set, its first, they are of.
        best: epoch, clean and pgd of the best epoch.
        last: epoch, clean and pgd of the last epoch.
    """

    attack: str
    images: int
    best: dict[str, float]
    last: dict[str, float]

    @property
    def lost(self) -> float:
        """What the last weights have lost of the best ones' PGD accuracy, neither of them smoothed, in [-1, 1]."""
        return self.best["pgd"] - self.last["pgd"]

    @property
    def judge(self) -> str:
        """``PGD-50-10``: steps and restarts; ``PGD-10`` where it does not begin again."""
        numbers = dict(part.split("=") for part in self.attack.split(",")[1:])
        return f"PGD-{numbers['steps']}" + ("" if numbers["restarts"] == "1" else f"-{numbers['restarts']}")


def final_attack(settings: TrainSettings) -> str:
    """The attack of the judgement at the end.

    Args:
        settings: of the run, which say how many steps and restarts; the step is eps/4 unless they name one.

    Returns:
        The attack as ``energylens profile`` takes it, such as ``pgd,steps=50,restarts=10``.
    """
    step = f",step_size={settings.eval_step}" if settings.eval_step else ""
    return f"pgd,steps={settings.final_steps},restarts={settings.final_restarts}{step}"


def judge_ends(
    folder: Path,
    settings: TrainSettings,
    *,
    root: Path | None = None,
    device: str = "auto",
    listener: Callable[[str, Progress], None] | None = None,
) -> Ends:
    """Judge the weights in a finished run's folder, or read what was judged before.

    Samples are recorded one by one in ``JUDGED``, so that an interrupted judgement goes on where it was. Under a
    launcher each process does a share, and every process must call this.

    Args:
        folder: of the run.
        settings: of the run.
        root: where data sets lie; None for the usual place.
        device: "auto" or "cpu".
        listener: hears "best" or "last" and how far that is; None for nobody.

    Returns:
        The accuracies of both ends; an end of the other's epoch is not judged twice.

    Raises:
        InputError: for a judgement that cannot be made, such as data that is not there or records of other settings.
        RunError: where disk, network or model fail.
    """
    attack = final_attack(settings)
    epochs = {name: _epoch_of(folder / name) for name in (BEST, LAST)}
    found = read_ends(folder)
    samples = load_data(settings.dataset, classes=settings.classes, split="test", data_root=root)
    if settings.final_samples:
        samples = samples.choose(min(settings.final_samples, len(samples)), "first", settings.seed)
    wanted = (attack, len(samples), *epochs.values())
    if found and (found.attack, found.images, found.best["epoch"], found.last["epoch"]) == wanted:
        return found
    ends: dict[str, dict[str, float]] = {}
    for name, epoch in epochs.items():
        which = Path(name).stem
        same = next((end for end in ends.values() if end["epoch"] == epoch), None)
        if same is None:
            record = profile(
                folder / name, samples, attack, eps=settings.eps, norm=settings.norm, seed=settings.seed,
                device=device, data_root=root, out=folder / JUDGED / which, checks=False,
                shard=RANKS if launched_ranks().size > 1 else None,
                listener=listener and partial(listener, which),
            )  # fmt: skip
            natural, attacked = record.as_numbers()
            same = {"epoch": epoch, "clean": natural["accuracy"], "pgd": attacked["accuracy"]}
        ends[which] = same
    judged = Ends(attack, len(samples), ends["best"], ends["last"])
    if launched_ranks().speaks:
        with writing(folder), whole_file(folder / FINAL) as temporary:
            temporary.write_text(json.dumps(vars(judged), indent=2) + "\n")
    return judged


def read_ends(folder: Path) -> Ends | None:
    """What ``judge_ends`` left in this folder.

    Args:
        folder: of the run.

    Returns:
        The accuracies of both ends; None where no judgement came to its end.

    Raises:
        RunError: for a file that cannot be read.
    """
    path = folder / FINAL
    if not is_there(path):
        return None
    with reading(path, f"delete {path.name} and run the command that made it again", (ValueError, TypeError)):
        return Ends(**json.loads(path.read_text()))


def _epoch_of(weights: Path) -> int:
    """The epoch that these weights are of."""
    with reading(weights.with_suffix(".json"), "--overwrite starts this run anew", (ValueError, LookupError)):
        about: dict[str, Any] = json.loads(weights.with_suffix(".json").read_text())
        return int(about["epoch"])
