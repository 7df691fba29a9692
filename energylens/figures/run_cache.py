"""Where an analysis gets its runs: what is on disk is used again, what is missing is computed."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energylens.files import shown
from energylens.progress import EVERY, Lines, Listener, NowAndThen, Pace, told
from energylens.tables.training_runs import TrainingRun, read_run
from energylens.training.workers import SPAWN, deaf, workers

if TYPE_CHECKING:
    from energylens.records.record import Record
    from energylens.training.settings import TrainSettings

POLL = 0.5  # seconds between two looks at the processes
SCALES = ("demo", "paper")  # the embedded digits in minutes, or the papers' own data, models and numbers


def silence(said: str) -> None:
    """Tell nobody.

    Args:
        said: not used.
    """


@dataclass(frozen=True)
class RunCache:
    """Where runs are kept, and how missing ones are made.

    Attributes:
        scale: one of SCALES.
        runs: where runs are kept.
        root: where data sets lie, None for the usual places.
        jobs: training runs at a time, each a process with one thread, so that a run is the same whatever else runs.
        tell: hears what is being done.
        used: the folders of all runs that were asked for, in order.
        seeds: the seeds of these runs.
    """

    scale: str = "demo"
    runs: Path = Path("runs")
    root: Path | None = None
    jobs: int = 1
    tell: Callable[[str], None] = silence
    used: list[Path] = field(default_factory=list)
    seeds: set[int] = field(default_factory=set)

    def profile(self, model: str, **settings: Any) -> Record:
        """``energylens.profile`` of this model, which raises what that raises.

        Args:
            model: as ``profile`` takes it by name.
            settings: ``profile``'s others.

        Returns:
            The record, kept under the cache's runs.
        """
        from energylens.profiling import profile

        self.tell(f"profiling {model}")
        usual: dict[str, Any] = {"checks": False, "listener": self.listener(f"profiling {Path(model).name}")}
        record = profile(model, out=self.runs, data_root=self.root, **usual | settings)
        self.used.extend([] if record.folder is None else [record.folder])
        self.seeds.add(record.seed)
        return record

    def listener(self, what: str) -> Listener:
        """Tells now and then how far this is, and how long it will take.

        Args:
            what: what is going on, for the line.

        Returns:
            A listener that writes lines to ``tell``.
        """
        return Lines(what, self.tell)

    def train(self, wanted: Sequence[TrainSettings], *, diverged_too: bool = False) -> list[TrainingRun]:
        """These runs, in this order, trained where they are not there yet.

        With diverged_too, those that diverge are there as far as they come. Raises what the trainer raises.

        Args:
            wanted: resolved settings, one a run.
            diverged_too: whether a run that diverges is taken as far as it came.

        Returns:
            The runs, in this order.
        """
        shares = SPAWN.RawArray("d", len(wanted))
        work = partial(_train, runs=self.runs, root=self.root, diverged_too=diverged_too)
        with workers(self.jobs, _take, shares) as pool:
            with deaf():
                futures = [pool.submit(work, number, settings) for number, settings in enumerate(wanted)]
            found = self._awaited(futures, shares)
        self.used.extend(run.path for run in found)
        self.seeds.update(settings.seed for settings in wanted)
        return found

    def _awaited(self, futures: Sequence[Future[Path]], shares: Sequence[float]) -> list[TrainingRun]:
        """The runs in order, each told of when all before it are there, and now and then how long they will take."""
        found: list[TrainingRun] = []
        course, line = _Course(), NowAndThen(first=EVERY)
        while len(found) < len(futures):
            wait([futures[len(found)]], timeout=POLL)
            left = course.left(futures, shares)
            if futures[len(found)].done():
                found.append(read_run(futures[len(found)].result()))
                self.tell(f"training {len(found)} of {len(futures)}: {shown(found[-1].path)}")
            elif line.due():
                done = sum(future.done() for future in futures)
                self.tell(", ".join(filter(None, [f"training: {done} of {len(futures)} done", told(left)])))
        return found


@dataclass
class _Course:
    """How far runs that train side by side have come. before: the share of each that was there when it began."""

    before: dict[int, float] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    def left(self, futures: Sequence[Future[Path]], shares: Sequence[float]) -> float | None:
        """Seconds until all are done. A run that never said how far it is was there already, or has not begun."""
        for number, share in enumerate(shares):
            if share:
                self.before.setdefault(number, share)
        gained = sum(shares[number] - before for number, before in self.before.items())
        todo = sum(1 - shares[number] for number, future in enumerate(futures) if not future.done())
        return self.pace.left(gained, gained + todo) if self.before else None


_shares: MutableSequence[float] = []  # in a worker: of every run, how much of it is done


def _take(shares: MutableSequence[float]) -> None:
    """In a worker: where to tell how far its runs are; and one thread, so that a run is the same whatever else runs."""
    import torch

    global _shares
    _shares = shares
    torch.set_num_threads(1)


def _train(number: int, settings: TrainSettings, *, runs: Path, root: Path | None, diverged_too: bool) -> Path:
    from energylens.training.loop import DivergenceError, Progress, train
    from energylens.training.watch import EnergyWatch

    def listen(at: Progress) -> None:
        _shares[number] = at.done / at.total

    try:
        return train(settings, out=runs, root=root, watch=EnergyWatch(), listener=listen).folder
    except DivergenceError as error:
        if not diverged_too:
            raise
        return error.folder
