"""Learning rates as functions of the position in the run, so that there is no schedule to save and resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

DROP = 0.1  # what a milestone multiplies the rate with (arXiv 2002.11569)
FIRST_DIVISOR, LAST_DIVISOR = 25.0, 1e4  # torch's defaults of OneCycleLR
LOW_MOMENTUM, HIGH_MOMENTUM = 0.85, 0.95


@dataclass(frozen=True)
class Position:
    """Where a run stands: step in [0, total); peak and milestones as shares of the run."""

    step: int
    total: int
    peak: float
    milestones: tuple[float, ...]

    @property
    def share(self) -> float:
        """The share of the run that is over, in [0, 1)."""
        return self.step / self.total


@dataclass(frozen=True)
class Rate:
    """factor: of the largest learning rate; momentum: None where it is left alone."""

    factor: float
    momentum: float | None = None


def cyclic(at: Position) -> Rate:
    """0 -> max -> 0 in straight lines, the maximum at ``peak`` (arXiv 2001.03994).

    Args:
        at: where the run stands.

    Returns:
        The share of the largest rate; the momentum is left alone.
    """
    return Rate(at.share / at.peak if at.share < at.peak else (1 - at.share) / (1 - at.peak))


def piecewise(at: Position) -> Rate:
    """Constant, times DROP from each milestone on (arXiv 2002.11569).

    Args:
        at: where the run stands.

    Returns:
        The share of the largest rate; the momentum is left alone.
    """
    return Rate(DROP ** sum(at.share >= milestone for milestone in at.milestones))


def cosine(at: Position) -> Rate:
    """From max to 0 along half a cosine, no restart (arXiv 1608.03983).

    Args:
        at: where the run stands.

    Returns:
        The share of the largest rate; the momentum is left alone.
    """
    return Rate((1 + math.cos(math.pi * at.share)) / 2)


def constant(at: Position) -> Rate:
    """The same rate all along.

    Args:
        at: where the run stands.

    Returns:
        The share of the largest rate; the momentum is left alone.
    """
    return Rate(1.0)


def onecycle(at: Position) -> Rate:
    """The one-cycle policy of arXiv 1708.07120, as torch's OneCycleLR with its defaults.

    max/25 -> max -> max/250,000 along cosines, the momentum .95 -> .85 -> .95 against it.

    Args:
        at: where the run stands.

    Returns:
        The share of the largest rate, and the momentum.
    """
    summit, end = at.peak * at.total - 1, at.total - 1
    if at.step <= summit:
        return _between((1 / FIRST_DIVISOR, HIGH_MOMENTUM), (1.0, LOW_MOMENTUM), at.step / max(summit, 1))
    last = 1 / (FIRST_DIVISOR * LAST_DIVISOR)
    return _between((1.0, LOW_MOMENTUM), (last, HIGH_MOMENTUM), (at.step - summit) / max(end - summit, 1e-9))


def _between(start: tuple[float, float], stop: tuple[float, float], share: float) -> Rate:
    rise = (1 - math.cos(math.pi * share)) / 2
    factor, momentum = (a + (b - a) * rise for a, b in zip(start, stop, strict=True))
    return Rate(factor, momentum)


@dataclass(frozen=True)
class Schedule:
    """A row. by_length: whether the rate of a step depends on how long the whole run is."""

    rate: Callable[[Position], Rate]
    by_length: bool = True

    def __call__(self, at: Position) -> Rate:
        """The rate at this position."""
        return self.rate(at)


SCHEDULES: dict[str, Schedule] = {
    "cyclic": Schedule(cyclic),
    "linear": Schedule(cyclic),
    "piecewise": Schedule(piecewise),
    "cosine": Schedule(cosine),
    "onecycle": Schedule(onecycle),
    "constant": Schedule(constant, by_length=False),
}


@dataclass(frozen=True)
class Course:
    """The learning rate and the radius over a run; ``TrainSettings.part`` fills it in.

    Attributes:
        schedule: a name in SCHEDULES.
        lr: the largest learning rate.
        peak: share of the run at which cyclic and onecycle are at their largest rate.
        milestones: shares of the run after which piecewise drops.
        epochs: how many the run has.
        extended: how many it had before each time that it was made longer.
        radius: eps, in units of [0, 1].
        eps_ramp: epochs over which eps grows from 0; 0 for none.
    """

    schedule: str
    lr: float
    peak: float
    milestones: tuple[float, ...]
    epochs: int
    extended: tuple[int, ...]
    radius: float
    eps_ramp: float

    def length_at(self, epoch: int) -> int:
        """The epochs of the run whose schedule this epoch, from 0, follows.

        Args:
            epoch: from 0.

        Returns:
            How many epochs that schedule has.
        """
        return next((end for end in self.extended if epoch < end), self.epochs)

    def rate(self, epoch: int, step: int, steps: int) -> Rate:
        """The rate of a step.

        Args:
            epoch: from 0.
            step: from 0, in this epoch.
            steps: how many this epoch has.

        Returns:
            The learning rate, and the momentum where the schedule moves it.
        """
        length = self.length_at(epoch)
        return SCHEDULES[self.schedule](Position(epoch * steps + step, length * steps, self.peak, self.milestones))

    def eps(self, progress: float) -> float:
        """The radius in force.

        Args:
            progress: epochs done, with fractions.

        Returns:
            All of it, or the part that the ramp has reached, in units of [0, 1].
        """
        return self.radius * (min(1.0, progress / self.eps_ramp) if self.eps_ramp else 1.0)
