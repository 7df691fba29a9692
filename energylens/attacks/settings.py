"""What every attack's settings have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from energylens.attacks.kernels import PLAIN
from energylens.errors import InputError

LARGEST = 1e9  # more steps than anybody waits for


def setting(default: Any, help: str) -> Any:
    """A field of an attack's settings. help: what ``print(el.Attack(...))`` says of it."""
    return field(default=default, metadata={"help": help})


class Settings(Protocol):
    """A frozen dataclass of numbers and words, all of which a row of the record depends on."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    recipe: ClassVar[frozenset[str]]  # the fields that make a row of the table what it is: not for users to set

    @property
    def norm(self) -> str:
        """The norm the attack works in."""

    @property
    def bounded(self) -> bool:
        """Whether it works inside an eps-ball."""

    @property
    def targetable(self) -> bool:
        """Whether it can aim at a class."""

    @property
    def tells(self) -> bool:
        """Whether it tells, while it runs, how much of its batch is done: its ``run`` takes ``told``."""

    @property
    def traceable(self) -> bool:
        """Whether it can tell the energies of its iterates."""

    @property
    def quickest(self) -> str:
        """The quickest kernels it bears (``kernels.py``): bfloat16 where rounding a gradient does no harm, float32
        where it does, as right behind the boundary, the model itself where nobody knows."""

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""

    @property
    def min_classes(self) -> int:
        """Classes that its loss needs."""

    @property
    def block(self) -> int | None:
        """How many samples are attacked together where rows depend on that, None where they do not."""

    def check(self) -> None:
        """Raise InputError for what cannot be run."""


@dataclass(frozen=True)
class Still:
    """No settings: the natural images as they are, as every record has them."""

    norm: str = "linf"

    recipe: ClassVar[frozenset[str]] = frozenset()
    passes: ClassVar[int] = 1
    bounded: ClassVar[bool] = False
    traceable: ClassVar[bool] = False
    quickest: ClassVar[str] = PLAIN
    targetable: ClassVar[bool] = False
    tells: ClassVar[bool] = False
    min_classes: ClassVar[int] = 2
    block: ClassVar[None] = None

    def check(self) -> None:
        """Nothing can be wrong."""


def check_numbers(settings: Mapping[str, Any], *, positive: Sequence[str]) -> None:
    """Refuse numbers that are not finite or below zero, and zero itself in those named ``positive``."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and name in positive) or value > LARGEST:
            least = "above 0" if name in positive else "0 or more"
            raise InputError(f"{name}={value:g} cannot be run with: a number {least}, at most 1e9, was expected")


def check_norm(norm: str, known: Sequence[str]) -> None:
    """Refuse a norm that is not among those known."""
    if norm not in known:
        raise InputError(f"unknown norm {norm!r}: give one of {', '.join(known)}")


def check_radius(eps: float, norm: str) -> None:
    """Refuse a radius that every image lies within: a slip of the pen for eps / 255."""
    if norm == "linf" and eps > 1:
        raise InputError(f"eps={eps:g} in linf spans every image in [0, 1]: did you mean {eps:g}/255?")
