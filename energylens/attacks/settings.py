"""What every attack says of itself, and the types of setting that only attacks have.

A setting is declared in its dataclass field (``energylens.settings``). Checks, errors, the text form ``pgd,steps=50``,
``print(el.Attack("pgd"))`` and ``energylens attacks`` come out of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from energylens.attacks.backends import FUSED
from energylens.attacks.radius import check_radius, parse_radius, write_radius
from energylens.settings import TEXT, WHOLE, Kind, check_ranges, check_words, declared, setting, write_number

if TYPE_CHECKING:
    import torch

    from energylens.diffusion.diffuser import Diffuser

BALL = ("eps", "norm")  # taken from the call that runs an attack, where the user does not set them
END, BROKEN = "end", "broken"  # when a sample stops
BLOCK = "block"  # how an attack is run, not what it is
LENGTH = Kind(
    "a length such as 8/255",
    parse_radius,
    lambda value: value if isinstance(value, str) else write_number(value, write_radius),
)
NORM = Kind("a norm", lambda text, name: text.lower(), TEXT.write)
TARGET = Kind(
    "a rule or a class number", TEXT.read, lambda value: value if isinstance(value, str) else WHOLE.write(value)
)

Length = Annotated[float, LENGTH]  # in units of [0, 1]
NormName = Annotated[str, NORM]
TargetRule = Annotated[str, TARGET]


def radius() -> Any:
    """The field ``eps: Length`` of an attack in a ball. It has no default: the call that runs the attack gives it.

    Returns:
        A dataclass field that takes numbers above 0, in units of [0, 1].
    """
    return setting(MISSING, "radius, 8/255 or '8/255': else the model's own, else the data set's usual one", above=0)


def norm_of(names: Iterable[str]) -> Any:
    """The field ``norm: NormName`` of an attack in a ball; the first of the names is the default.

    Args:
        names: of the norms that the attack supports, one at least.

    Returns:
        A dataclass field that takes these names and no others.
    """
    known = tuple(names)
    return setting(known[0], "norm of the ball", choices=known)


def until() -> Any:
    """The field ``until: str`` of an attack that can stop a sample early.

    Returns:
        A dataclass field of the words END, the default, and BROKEN.
    """
    words = "when a sample stops: at the end, or broken, as soon as it has reached its goal"
    return setting(END, words, choices=(END, BROKEN), later=True)


def check_declared(settings: Any) -> None:
    """Refuse values that their declarations do not allow.

    Args:
        settings: a dataclass whose fields ``setting`` made.

    Raises:
        InputError: for the first of them.
    """
    check_words(settings, str)
    check_ranges(settings, spelled=str)


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
        return next((one.choices for one in declared(type(self)) if one.name == "norm"), (self.norm,))

    @property
    def bounded(self) -> bool:
        """Whether it works inside an eps-ball: it has the fields ``eps`` and ``norm``."""
        return any(one.name == "eps" for one in declared(type(self)))

    @property
    def targetable(self) -> bool:
        """Whether it can aim at a class."""
        return False

    @property
    def quickest(self) -> str:
        """The quickest backend it supports (``backends.py``).

        bfloat16 where rounding a gradient does no harm, float32 where it does, as right behind the boundary, the model
        itself where nobody knows.
        """
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
        return {one.name: getattr(self, one.name) for one in declared(type(self)) if one.amount}

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
        """The diffusion model that it needs: its ``run`` takes ``diffuser``.

        Args:
            asked: the name in the call, None for none.
            dataset: the name of the data, None where it has none.
            image_shape: (C, H, W).
            device: where it is to lie.

        Returns:
            The model, on that device; None where it needs none.

        Raises:
            InputError: where none is known or fits.
        """
        return None

    def check(self) -> None:
        """Refuse settings that cannot be run.

        Raises:
            InputError: for the first of them.
        """
        check_declared(self)
        if self.bounded:
            check_radius(vars(self)["eps"], self.norm)


@dataclass(frozen=True)
class NoAttack(Settings):
    """No settings: the natural images as they are, as every record has them."""

    norm: str = "linf"
