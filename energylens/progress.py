"""How long work that is under way will still take, and how often to say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

FIRST, EVERY = 10.0, 60.0  # seconds before the first line, and between two, where there is no terminal
WITHIN = 5.0  # seconds without a word, after which a batch that is under way says how far it is


@dataclass
class Pace:
    """The speed since it was first asked: what was done before that, by an earlier process say, took other time."""

    _began: float | None = None
    _before: float = 0.0

    def left(self, done: float, total: float) -> float | None:
        """How long the rest takes at the speed so far.

        Args:
            done: work that is finished by now, 0 to ``total``.
            total: all of it, in the same unit.

        Returns:
            Seconds; None before there is any speed, as at the first call.
        """
        now = time.monotonic()
        if self._began is None:
            self._began, self._before = now, done
        gained = done - self._before
        return (total - done) * (now - self._began) / gained if gained > 0 else None


@dataclass
class NowAndThen:
    """Whether it is time for another line: first after so many seconds, then every so many."""

    every: float = EVERY
    first: float = FIRST
    _next: float = field(init=False)

    def __post_init__(self) -> None:
        self._next = time.monotonic() + min(self.first, self.every)

    def due(self) -> bool:
        """Whether a line is due now; asking sets the time of the next.

        Returns:
            True once for every line.
        """
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.every
        return True


def told(seconds: float | None) -> str:
    """How long, as one says it.

    Args:
        seconds: until the end, None for what is not known.

    Returns:
        In seconds below two minutes, else in hours and minutes; "" for None.

    Example:
        >>> told(7.4), told(600), told(7265), told(None)
        ('ETA 7 s', 'ETA 10 min', 'ETA 2 h 1 min', '')
    """
    if seconds is None:
        return ""
    if seconds < 120:
        return f"ETA {seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"ETA {f'{hours} h ' if hours else ''}{minutes} min"


@dataclass(frozen=True)
class Progress:
    """One attack has finished one batch, or, some seconds after the last word, a part of one.

    done and total: forward-backward passes times images, at most (``unit``: "passes"), or of another work. left:
    seconds, out of what a row of every attack has cost so far, for those that have been tried; afterwards: the attacks
    that have not, of which nobody knows. None where nothing of that is known.
    """

    attack: str
    done: int
    total: int
    left: float | None = None
    afterwards: tuple[str, ...] = ()
    unit: str = "passes"


Listener = Callable[[Progress], None]


@dataclass
class _Cost:
    """What the rows of one attack cost.

    rows: those that are missing. done, seconds: those that are finished, and their time. batch, share, elapsed: the
    rows of the batch that is under way, how much of it is surely done, and its time so far.
    """

    rows: int
    done: int = 0
    seconds: float = 0.0
    batch: int = 0
    share: float = 0.0
    elapsed: float = 0.0

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return self.done + self.share > 0

    @property
    def left(self) -> float:
        """Seconds until the missing rows are there."""
        if not self.share:
            row = self.seconds / self.done
            return max(self.rows * row - self.elapsed, (self.rows - self.batch) * row)
        begun = self.share * self.batch
        return (self.rows - begun) * (self.seconds + self.elapsed) / (self.done + begun)


class Tally:
    """How far the attacks of a record are, told to a listener.

    Args:
        listener: hears of every batch that is over, and every WITHIN seconds of one that is under way.
        missing: how many rows of each attack are missing.
        passes: how many forward-backward passes a row of each attack takes at most.
    """

    def __init__(self, listener: Listener, missing: Mapping[str, int], passes: Mapping[str, int]) -> None:
        self._listener, self._passes = listener, passes
        self._costs = {name: _Cost(rows) for name, rows in missing.items()}
        self._total, self._done = sum(rows * passes[name] for name, rows in missing.items()), 0
        self._spoke = time.monotonic()

    def over(self, attack: str, rows: int, seconds: float) -> None:
        """A batch of this attack is finished.

        Args:
            attack: its name.
            rows: of the batch.
            seconds: that the batch took.
        """
        self._done += rows * self._passes[attack]
        cost = self._costs[attack]
        self._costs[attack] = _Cost(cost.rows - rows, cost.done + rows, cost.seconds + seconds)
        self._say(attack, 0)

    def under_way(self, attack: str, rows: int, began: float, share: float, sure: bool) -> None:
        """A batch of this attack is under way.

        Args:
            attack: its name.
            rows: of the batch.
            began: when it began, on ``time.perf_counter``.
            share: how much of it is done, in [0, 1].
            sure: whether that is sure, or the least it can be.
        """
        if time.monotonic() - self._spoke >= WITHIN:
            cost = self._costs[attack]
            cost.batch, cost.share, cost.elapsed = rows, share if sure else 0.0, time.perf_counter() - began
            self._say(attack, int(share * rows * self._passes[attack]))

    def _say(self, attack: str, more: int) -> None:
        """Tell the listener. more: passes beyond those of the batches that are over."""
        self._spoke = time.monotonic()
        known = [cost for cost in self._costs.values() if cost.known]
        afterwards = tuple(name for name, cost in self._costs.items() if cost.rows and not cost.known)
        left = sum(cost.left for cost in known) if known else None
        self._listener(Progress(attack, self._done + more, self._total, left, afterwards))


@dataclass
class Course:
    """What a bar and a line say of how fast work goes and how long it will take. Another total is other work."""

    _total: int = 0
    _began: float = 0.0
    _pace: Pace = field(default_factory=Pace)

    def of(self, step: Progress) -> tuple[str, str]:
        """Rate and time left, in words, after this step.

        Args:
            step: the newest; every one should come here, so that the pace is known.

        Returns:
            ``4,000 passes/s`` and ``ETA 3 min``, or ``ETA 3 min, then autoattack`` where nobody knows of that; "" for
            what is not known.
        """
        if step.total != self._total:
            self._total, self._began, self._pace = step.total, time.monotonic(), Pace()
        seconds = self._pace.left(step.done, step.total)
        elapsed = time.monotonic() - self._began
        rate = f"{step.done / elapsed:,.0f} {step.unit}/s" if elapsed else ""
        if step.left is None and not step.afterwards:
            return rate, told(seconds)
        others = [name for name in step.afterwards if name != step.attack]
        known = "" if others and not step.left else told(step.left)
        return rate, ", ".join(filter(None, [known, f"then {', '.join(others)}" if others else ""]))


class Lines:
    """A listener that says in a plain line now and then how far work is."""

    def __init__(self, title: str, say: Callable[[str], None], every: float = EVERY) -> None:
        self._title, self._say, self._course, self._line = title, say, Course(), NowAndThen(every)

    def __call__(self, step: Progress) -> None:
        """Say how far this is, where a line is due."""
        course = self._course.of(step)  # every step, so that the pace is known when a line is due
        if self._line.due():
            words = [f"{100 * step.done / max(step.total, 1):.0f} %", step.attack, *course]
            self._say(f"{self._title}: {', '.join(filter(None, words))}")
