"""How a setting is declared, read and checked, and what every attack says of itself.

A setting is declared once, in its dataclass field: the type, the default, the help, the range and the choices. Checks,
errors, the text form ``pgd,steps=50``, ``print(el.Attack("pgd"))`` and ``energylens attacks`` come out of that.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args, get_type_hints

from energylens.attacks.backends import FUSED
from energylens.attacks.radius import parse_radius, write_radius
from energylens.errors import InputError

if TYPE_CHECKING:
    import torch

    from energylens.diffusion.diffuser import Diffuser

LARGEST = 1e9  # more steps than anybody waits for
BALL = ("eps", "norm")  # taken from the call that runs an attack, where the user does not set them
BLOCK = "block"  # how an attack is run, not what it is


@dataclass(frozen=True)
class Kind:
    """A type of setting.

    words: what is expected. read: (text, name of the setting) -> value; ValueError or InputError for other text.
    write: a Python value as text that reads as the same value; TypeError for a value of another type.
    """

    words: str
    read: Callable[[str, str], Any]
    write: Callable[[Any], str]


def _number(value: Any, write: Callable[[float], str]) -> str:
    """In six digits where these are all that the number has, as a person would write it: ``10`` for 10.0."""
    if not isinstance(value, Real):
        raise TypeError
    number = float(value)
    text = f"{number:g}"
    return text if float(text) == number else write(number)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


WHOLE = Kind("a whole number", lambda text, name: int(text), lambda value: str(operator.index(value)))
NUMBER = Kind("a number", lambda text, name: float(text), lambda value: _number(value, repr))
TEXT = Kind("text", lambda text, name: text, _text)
LENGTH = Kind(
    "a length such as 8/255",
    parse_radius,
    lambda value: value if isinstance(value, str) else _number(value, write_radius),
)
NORM = Kind("a norm", lambda text, name: text.lower(), _text)
TARGET = Kind(
    "a rule or a class number", TEXT.read, lambda value: value if isinstance(value, str) else WHOLE.write(value)
)

# types of settings that are read and written in ways of their own
Length = Annotated[float, LENGTH]  # in units of [0, 1]
NormName = Annotated[str, NORM]
TargetRule = Annotated[str, TARGET]
_OF_TYPE: dict[Any, Kind] = {int: WHOLE, float: NUMBER, str: TEXT, Length: LENGTH, NormName: NORM, TargetRule: TARGET}


@dataclass(frozen=True)
class Declaration:
    """What a field says of its setting beside type and default; see ``setting``."""

    help: str
    least: float = 0
    above: float | None = None
    choices: tuple[str, ...] = ()
    amount: bool = False
    standard: str | Callable[[Any], str] = "standard"

    @property
    def told(self) -> str:
        """The help, with the choices."""
        return f"{self.help}: {', '.join(self.choices)}" if self.choices else self.help

    def shown(self, name: str, settings: Any) -> str:
        """The setting's value as text; for None, what is then taken."""
        value = getattr(settings, name)
        if value is not None:
            return str(value)
        return self.standard if isinstance(self.standard, str) else self.standard(settings)

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that is not among the choices or out of range; None stands for the standard."""
        if value is None or isinstance(value, bool):
            return
        if self.choices and value not in self.choices:
            raise InputError(f"unknown {name} {value!r}: give one of {', '.join(self.choices)}")
        if isinstance(value, int | float) and not (
            math.isfinite(value) and self.least <= value <= LARGEST and (self.above is None or value > self.above)
        ):
            least = f"{self.least:g} or more" if self.above is None else f"above {self.above:g}"
            raise InputError(f"{name}={value:g} cannot be run with: a number {least}, at most 1e9, was expected")


def setting(
    default: Any,
    help: str,
    *,
    least: float = 0,
    above: float | None = None,
    choices: Iterable[str] = (),
    amount: bool = False,
    standard: str | Callable[[Any], str] = "standard",
) -> Any:
    """A field of a settings dataclass that users may set; a field declared otherwise is theirs to read alone.

    Args:
        default: its value where nobody sets it; MISSING for none, None for a standard that depends on the rest.
        help: what ``print(el.Attack(...))`` says of it.
        least: the smallest number it can be; every number is finite and at most 1e9.
        above: the number that it must be larger than.
        choices: all that it can be.
        amount: an attack with more of it, and everything else alike, must not be weaker (``checks/strength.py``).
        standard: how a default of None is shown, as text or as a function of the settings.

    Example:
        >>> @dataclass(frozen=True)
        ... class Mine(Settings):
        ...     steps: int = setting(10, "gradient steps", above=0, amount=True)
        >>> Mine(steps=0).check()
        Traceback (most recent call last):
        energylens.errors.InputError: steps=0 cannot be run with: a number above 0, at most 1e9, was expected
    """
    about = Declaration(help, least, above, tuple(choices), amount, standard)
    return field(default=default, metadata={"setting": about})


def radius() -> Any:
    """The field ``eps: Length`` of an attack in a ball. It has no default: the call that runs the attack gives it."""
    return setting(MISSING, "radius, 8/255 or '8/255': else the model's own, else the data set's usual one", above=0)


def norm_of(names: Iterable[str]) -> Any:
    """The field ``norm: NormName`` of an attack in a ball; the first of the names is the default."""
    known = tuple(names)
    return setting(known[0], "norm of the ball", choices=known)


def declarations(kind: type) -> dict[str, tuple[Kind, Declaration]]:
    """The settings that a dataclass declares, by name, in order."""
    return _declarations(kind)


@cache
def _declarations(kind: type) -> dict[str, tuple[Kind, Declaration]]:
    hints = get_type_hints(kind, include_extras=True)
    return {f.name: (_kind_of(hints[f.name]), f.metadata["setting"]) for f in fields(kind) if "setting" in f.metadata}


def _kind_of(hint: Any) -> Kind:
    """The kind of a type, which may be joined with None."""
    return next(_OF_TYPE[one] for one in (hint, *get_args(hint)) if one in _OF_TYPE)


def check_declared(settings: Any) -> None:
    """Refuse values that their declarations do not allow."""
    for name, (_, about) in declarations(type(settings)).items():
        about.check(name, getattr(settings, name))


@dataclass(frozen=True)
class Settings:
    """Base of every attack's settings: a frozen dataclass of numbers and words.

    A row of the record depends on all of its fields. Those declared by ``setting`` are for users; any other is part of
    what makes a row of the table that attack. What an attack can do stands here with the usual answer; a subclass
    overrides what is different.
    """

    #: whether it can tell the energies of its iterates: its ``run`` takes ``trace``
    traceable: ClassVar[bool] = False
    #: whether it tells, while it runs, how much of its batch is done: its ``run`` takes ``told``
    reports_progress: ClassVar[bool] = False
    #: whether rows on disk can be known to be its own
    reusable: ClassVar[bool] = True
    #: the block on a GPU, where the user gives none; None for the same as on a CPU
    gpu_block: ClassVar[int | None] = None

    @property
    def norm(self) -> str:
        """The norm it works in."""
        return "linf"

    @property
    def norms(self) -> tuple[str, ...]:
        """All norms it can work in."""
        about = declarations(type(self)).get("norm")
        return about[1].choices if about else (self.norm,)

    @property
    def bounded(self) -> bool:
        """Whether it works inside an eps-ball: it has the fields ``eps`` and ``norm``."""
        return "eps" in declarations(type(self))

    @property
    def targetable(self) -> bool:
        """Whether it can aim at a class."""
        return False

    @property
    def quickest(self) -> str:
        """The quickest backend it supports (``backends.py``): bfloat16 where rounding a gradient does no harm, float32
        where it does, as right behind the boundary, the model itself where nobody knows."""
        return FUSED

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most; the time left is estimated with it."""
        return 1

    @property
    def min_classes(self) -> int:
        """Classes that its loss needs."""
        return 2

    @property
    def block(self) -> int | None:
        """How many samples are attacked together where rows depend on that; None where noise is keyed by sample."""
        return None

    @property
    def fixed(self) -> frozenset[str]:
        """The settings that an attack with these defaults has no use for."""
        return frozenset()

    @property
    def amounts(self) -> dict[str, Any]:
        """How much it tries: with more of one of these, and everything else alike, an attack must not be weaker."""
        return {name: getattr(self, name) for name, (_, about) in declarations(type(self)).items() if about.amount}

    @property
    def seeks_error(self) -> bool:
        """Whether a wrong label is all that it asks for."""
        return True

    @property
    def crosses_ball(self) -> bool:
        """Whether it takes several steps that together cross its ball and stay in it."""
        return False

    @property
    def single_step(self) -> bool:
        """Whether it takes one step and stays in its ball."""
        return False

    def diffuser(
        self, asked: str | None, dataset: str | None, image_shape: Sequence[int], device: torch.device
    ) -> Diffuser | None:
        """The diffusion model that it needs: its ``run`` takes ``diffuser``. None where it needs none.

        asked: the one of the call; dataset: the name of the data, None where it has none. Raises InputError where none
        is known or fits.
        """
        return None

    def check(self) -> None:
        """Refuse settings that cannot be run."""
        check_declared(self)
        if self.bounded:
            check_radius(getattr(self, "eps"), self.norm)  # noqa: B009  # only attacks in a ball have the field


@dataclass(frozen=True)
class NoAttack(Settings):
    """No settings: the natural images as they are, as every record has them."""

    norm: str = "linf"


def check_numbers(settings: Mapping[str, Any], *, positive: Sequence[str]) -> None:
    """Refuse numbers that are not finite or below zero, and zero itself in those named ``positive``."""
    for name, value in settings.items():
        Declaration("", above=0 if name in positive else None).check(name, value)


def check_norm(norm: str, known: Sequence[str]) -> None:
    """Refuse a norm that is not among those known."""
    Declaration("", choices=tuple(known)).check("norm", norm)


def check_radius(eps: float, norm: str) -> None:
    """Refuse a radius that every image lies within: a slip of the pen for eps / 255."""
    if norm == "linf" and eps > 1:
        raise InputError(f"eps={eps:g} in linf spans every image in [0, 1]: did you mean {eps:g}/255?")
