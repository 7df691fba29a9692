"""Which attack must not do worse than which: a partial order, as far as it follows from what the attacks do.

- Any attack breaks what no attack breaks.
- More of an amount (``Settings.amounts``), everything else alike, tries all that less of it tries.
- What a row ``outdoes``: one step against many of the same loss; a fixed c against a search over c.
- A larger radius, everything else alike, holds the smaller one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from energylens.attacks.registry import NO_ATTACK, AttackRow, find_row
from energylens.attacks.settings import BLOCK, Settings


@dataclass(frozen=True)
class Contender:
    """An attack as the manifest of its rows tells it: its row of the table, its settings and its target."""

    row: AttackRow
    settings: Settings
    target: str | None

    @property
    def outdoes_noise(self) -> bool:
        """Whether it must not do worse than noise in its ball: PGD, untargeted."""
        return self.settings.crosses_ball and self.settings.seeks_error and self.target is None

    @property
    def eps(self) -> float | None:
        """Its radius, None where it has none."""
        return getattr(self.settings, "eps", None)

    @property
    def kind(self) -> dict[str, Any]:
        """What attacks have alike that differ in amounts, radius and the draw of a block alone."""
        alike = asdict(self.settings) | {"target": self.target}
        return {name: value for name, value in alike.items() if name not in {*self.settings.amounts, "eps", BLOCK}}


def contender(identity: Mapping[str, Any]) -> Contender | None:
    """The attack of a manifest's ``identity["attack"]``; None for a callable: nobody knows what it does.

    Args:
        identity: with the name, settings and target that a manifest keeps.

    Returns:
        The attack with all its settings, or None.
    """
    name, settings = identity["name"], identity["settings"]
    if "kind" in settings:
        return None
    row = NO_ATTACK if name == NO_ATTACK.name else find_row(name)
    return Contender(row, replace(row.defaults, **settings), identity["target"])


def is_stronger(one: Contender, other: Contender) -> bool:
    """Whether the first must not do worse than the second, which is another attack at the same radius or none.

    Args:
        one: an attack, or none.
        other: another, or none.

    Returns:
        True where theory orders them so; False where it says nothing.
    """
    if other.row is NO_ATTACK:
        return one.row is not NO_ATTACK and one.target is None
    if one.eps != other.eps:
        return False
    return _follows(one, other) or (one.kind == other.kind and _has_more(one, other))


def is_larger(one: Contender, other: Contender) -> bool:
    """Whether the first is the second with a larger radius.

    Args:
        one: an attack.
        other: the one to compare it with.

    Returns:
        False where either has no radius or they differ in more than that.
    """
    if one.eps is None or other.eps is None or one.eps <= other.eps:
        return False
    return one.kind == other.kind and one.settings.amounts == other.settings.amounts


def _follows(one: Contender, other: Contender) -> bool:
    alike = all(one.kind.get(name) == other.kind.get(name) for name in ("norm", "target", "loss"))
    return alike and other.row.name in one.row.outdoes and (one.settings.crosses_ball or one.eps is None)


def _has_more(one: Contender, other: Contender) -> bool:
    mine, its = one.settings.amounts, other.settings.amounts
    return mine != its and all(mine[name] >= its[name] for name in its)  # of parts: all of them and others
