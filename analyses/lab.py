"""Where an analysis gets its runs: what is on disk is used again, what is missing is computed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyses.training_runs import TrainingRun, read_run
from energylens.whole_file import shown

if TYPE_CHECKING:
    from energylens.record import Record
    from energylens.training.settings import TrainSettings

SCALES = ("demo", "paper")  # the embedded digits in minutes, or the papers' own data, models and numbers


def silence(said: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Lab:
    """scale: one of SCALES; runs: where runs are kept; root: where data sets lie, None for the usual places; jobs:
    training runs at a time, each a process with one thread, so that a run is the same whatever else runs; tell: hears
    what is being done; used: the folders of all runs that were asked for, in order."""

    scale: str = "demo"
    runs: Path = Path("runs")
    root: Path | None = None
    jobs: int = 1
    tell: Callable[[str], None] = silence
    used: list[Path] = field(default_factory=list)

    def profile(self, model: str, **settings: Any) -> Record:
        """``energylens.profile`` of this model. Raises what it raises."""
        from energylens.profiling import profile

        self.tell(f"profiling {model}")
        record = profile(model, out=self.runs, data_root=self.root, **{"ladder": False} | settings)
        self.used.extend([] if record.folder is None else [record.folder])
        return record

    def train(self, wanted: Sequence[TrainSettings], *, diverged_too: bool = False) -> list[TrainingRun]:
        """These runs, in this order, trained where they are not there yet; with diverged_too, those that diverge as far
        as they come. Raises what the trainer raises."""
        work = partial(_train, runs=self.runs, root=self.root, diverged_too=diverged_too)
        spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
        with ProcessPoolExecutor(self.jobs, mp_context=spawn) as pool:
            found = []
            for number, folder in enumerate(pool.map(work, wanted), start=1):
                self.tell(f"training {number} of {len(wanted)}: {shown(folder)}")
                found.append(read_run(folder))
        self.used.extend(run.path for run in found)
        return found


def _train(settings: TrainSettings, *, runs: Path, root: Path | None, diverged_too: bool) -> Path:
    import torch

    from energylens.training.loop import DivergenceError, train
    from energylens.training.watch import EnergyWatch

    torch.set_num_threads(1)
    try:
        return train(settings, out=runs, root=root, watch=EnergyWatch()).folder
    except DivergenceError as error:
        if not diverged_too:
            raise
        return error.folder
