"""Several ways of the same work, in turn in one process, alternating, and their speeds beside each other's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd
import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Seconds:
    """What a piece of work took: on the wall, and of the process's own on all cores."""

    wall: float
    cpu: float


Times = Mapping[str, Sequence[Seconds]]


def timed(work: Callable[[], T]) -> tuple[Seconds, T]:
    """Do the work once; how long it took, and what it gave."""
    cpu, wall = time.process_time(), time.perf_counter()
    given = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), given


def in_turn(ways: Mapping[str, Callable[[], T]], turns: int) -> tuple[dict[str, list[Seconds]], dict[str, T]]:
    """Every way once to warm up, then once in each turn, every second turn from the last to the first.

    Returns the times of the turns, and what each way gave in the last.
    """
    given = {way: work() for way, work in ways.items()}
    times: dict[str, list[Seconds]] = {way: [] for way in ways}
    for turn in range(turns):
        for way in list(ways) if turn % 2 else reversed(ways):
            seconds, given[way] = timed(ways[way])
            times[way].append(seconds)
    return times, given


def compared(times: Times, bases: Sequence[str], work: float = 0, unit: str = "images/s") -> pd.DataFrame:
    """A row a way: its median seconds on the wall; where ``work`` is told, how much of it a second; and how many times
    as fast as each base it was in the same turn, median (least to most), on the wall and by the process's seconds."""
    rows = []
    for way, own in times.items():
        seconds = statistics.median(one.wall for one in own)
        row = {"way": way, "seconds": f"{seconds:.3g}"}
        if work:
            row[unit] = f"{work / seconds:.3g}"
        for base in bases:
            row[f"x {base}"] = _spread([b.wall / a.wall for a, b in zip(own, times[base], strict=True)])
        for base in bases:
            row[f"x {base} by CPU seconds"] = _spread([b.cpu / a.cpu for a, b in zip(own, times[base], strict=True)])
        rows.append(row)
    return pd.DataFrame(rows)


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
