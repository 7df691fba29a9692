"""Shares of one run: the i-th of n parts of its samples, for job arrays, and the ranks of a launcher.

A share is a run of consecutive positions that starts and ends at whole blocks, so that attacks which run in blocks see
the blocks they would have seen in one process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from energylens.errors import InputError, RunError, first_line

_ENVIRONMENT = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}  # what launchers set, and the values of one process
_MEETING = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # what several processes need besides, to find each other
PATIENCE = timedelta(days=1)  # until a rank gives up waiting for a slower one; a dead one is the launcher's to notice
RANKS = "ranks"  # in a shard's place: one share for each process of the launcher


@dataclass(frozen=True)
class Shard:
    """The ``number``-th (from 1) of ``count`` shares."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def positions(self, n: int, unit: int = 1) -> range:
        """Its positions out of n; cuts fall on multiples of ``unit`` only. Empty where units are fewer than shares.

        Args:
            n: how many there are.
            unit: what is never cut, 1 or more positions.

        Returns:
            Its positions, one after another.

        Example:
            >>> [list(Shard(i, 2).positions(10, unit=4)) for i in (1, 2)]
            [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
        """
        units = -(-n // unit)
        start, stop = (unit * (units * i // self.count) for i in (self.number - 1, self.number))
        return range(start, min(stop, n))


def parse_shard(text: str) -> Shard:
    """``"2/8"`` as the second of eight shares.

    Args:
        text: number and count, 1 <= number <= count.

    Returns:
        The share.

    Raises:
        InputError: for anything else.
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.count:
        raise InputError(f"shard {text!r} is not a share: write 1/8 to 8/8 for the eight shares of a run")
    return shard


@dataclass(frozen=True)
class Ranks:
    """The processes that a launcher (torchrun, accelerate launch) has started together, and this one's place."""

    rank: int = 0
    size: int = 1
    local: int = 0  # its place on its machine

    @property
    def speaks(self) -> bool:
        """Whether this is the one that prints and draws for all."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's share."""
        return Shard(self.rank + 1, self.size)

    def wait(self) -> None:
        """Go on when every rank has come here."""
        self.gather(None)

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """The first rank does what is inside before any other does.

        Yields:
            Nothing; the first rank at once, the others when it is done.
        """
        if self.rank > 0:
            self.wait()
        yield
        if self.rank == 0:
            self.wait()

    def gather(self, mine: Any) -> list[Any]:
        """What every rank hands in, in order of rank; every rank must call it.

        Args:
            mine: what this rank hands in; it can be pickled.

        Returns:
            One entry a rank.

        Raises:
            RunError: where one has stopped.
        """
        if self.size == 1:
            return [mine]
        from torch import distributed

        everyone: list[Any] = [None] * self.size
        try:
            distributed.all_gather_object(everyone, mine)
        except RuntimeError as error:  # the others wait no longer
            raise RunError("another process of the launcher has stopped: its own message says why") from error
        return everyone


def launched_ranks() -> Ranks:
    """This process among those that a launcher has started; alone where none has.

    Returns:
        Its place among them.

    Raises:
        InputError: for an environment that no launcher sets.
    """
    values = {name: os.environ.get(name, of_one) for name, of_one in _ENVIRONMENT.items()}
    if strange := next((name for name, value in values.items() if not value.isdecimal()), None):
        raise InputError(f"{strange}={values[strange]!r} in the environment is not what a launcher sets: unset it")
    return Ranks(*map(int, values.values()))


def joined_ranks() -> Ranks:
    """The same, ready to gather: joins the launcher's processes over gloo where nobody has done so yet.

    Raises as ``meeting``.

    Returns:
        The process's rank and their number; alone without a launcher.
    """
    ranks = launched_ranks()
    if ranks.size > 1:
        from torch import distributed

        with meeting(ranks):
            if not distributed.is_initialized():
                distributed.init_process_group("gloo", timeout=PATIENCE)
    return ranks


@contextmanager
def meeting(ranks: Ranks) -> Iterator[None]:
    """In one line what keeps the processes from joining each other inside.

    Args:
        ranks: this process among those that a launcher has started.

    Yields:
        Nothing.

    Raises:
        InputError: where the environment does not tell them where.
        RunError: where they cannot meet there.
    """
    if ranks.size == 1:
        yield
        return
    from torch import distributed

    if missing := [name for name in _MEETING if name not in os.environ]:
        raise InputError(
            f"WORLD_SIZE={ranks.size} is in the environment without {', '.join(missing)}: start the processes by "
            f"`torchrun --standalone --nproc-per-node {ranks.size} --no-python -- energylens ...`, or unset WORLD_SIZE"
        )
    if not os.environ["MASTER_PORT"].isdecimal():
        raise InputError(f"MASTER_PORT={os.environ['MASTER_PORT']!r} in the environment is no number: unset or mend it")
    if ranks.rank >= ranks.size:
        raise InputError(f"RANK={ranks.rank} in the environment is none of {ranks.size} (WORLD_SIZE), counted from 0")
    try:
        yield
    except distributed.DistError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = first_line(error).rpartition("message: ")[2]
        raise RunError(
            f"the {ranks.size} processes cannot meet at {where} ({reason}): if the port is in use, give another one "
            "(torchrun --master-port, or MASTER_PORT)"
        ) from error
