"""An attack by its name and settings, as a user asks for it: in Python values or as one word of text.

Attack("pgd", steps=50, eps=8 / 255)        in Python
Attack("pgd,steps=50,eps=8/255")            the command line's form of the same
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from reprlib import repr as shortened
from typing import Any

from energylens.attacks.backends import BACKENDS
from energylens.attacks.radius import parse_radius
from energylens.attacks.registry import AttackRow, find_row
from energylens.attacks.settings import BALL, LENGTH, Settings, TargetRule, check_declared
from energylens.attacks.targets import RULES, check_target
from energylens.errors import InputError, did_you_mean
from energylens.settings import Kind, Setting, declared, setting


@dataclass(frozen=True)
class Beside:
    """What can be said with an attack's name beside the settings of its row.

    Attributes:
        target: a rule or a class number, as text.
        backend: a row of BACKENDS.
        version: of a row that has versions.
    """

    target: TargetRule | None = setting(None, f"{', '.join(RULES)} or a class number")
    backend: str | None = setting(None, "how the network is computed during the attack", choices=BACKENDS)
    version: str | None = setting(None, "which version of the attack")


FORMERLY = {"kernels": "backend"}  # earlier spellings, still accepted


def declared_by(row: AttackRow) -> dict[str, Setting]:
    """All that the row's settings and ``Beside`` declare.

    Args:
        row: of an attack.

    Returns:
        The declared settings by name, the row's own first.
    """
    return {one.name: one for one in (*declared(type(row.defaults)), *declared(Beside))}


def kind_of(name: str, row: AttackRow) -> Kind:
    """The kind of a row's setting, by the type of its field.

    Args:
        name: of a setting that the row or ``Beside`` declares.
        row: of an attack.

    Returns:
        The kind, which reads and checks the setting's text.
    """
    return declared_by(row)[name].kind


@dataclass(frozen=True, init=False, repr=False)
class Attack:
    """An attack and those of its settings that differ from the defaults, for ``profile`` and ``attack``.

    ``print(Attack("pgd"))`` lists every setting of PGD with its default. Besides those, an attack in a ball takes
    ``eps`` and ``norm``, one that can be aimed ``target``, and each ``backend``; what is not set here is taken from the
    call that runs it. ``Attack("pgd", steps=50)`` is the attack that the command line calls ``pgd,steps=50``: its rows
    have the same name and the same folder.

    Args:
        name: a row of the table (``energylens attacks`` lists them), with settings as text if you like
            (``"pgd,steps=50"``), or another Attack.
        settings: Python values; None leaves a setting as it is. Lengths are numbers or text: ``8 / 255``, ``"8/255"``.

    Raises:
        InputError: for a name, a setting, a type or a range that there is not; it says what there is.

    Example:
        >>> Attack("pgd", steps=50, eps=8 / 255)
        Attack('pgd', steps=50, eps='8/255')
        >>> Attack("cw", c=10) == Attack("cw,c=10")
        True
    """

    name: str
    #: names of settings and their values as text, in the order given: what a record calls the attack
    overrides: tuple[tuple[str, str], ...]

    def __init__(self, name: str | Attack, /, **settings: Any) -> None:
        if isinstance(name, Attack):
            row, given = name.row, list(name.overrides)
        elif isinstance(name, str):
            called, *parts = (part.strip() for part in name.split(","))
            row = find_row(called)
            given = [_assignment(part, row) for part in parts]
        else:
            raise InputError(f"an attack's name is text such as 'pgd', not of type {type(name).__name__}")
        settings = {FORMERLY.get(key, key): value for key, value in settings.items()}
        for key in settings:
            _check_known(key, key, row)
        given += [(key, _written(key, value, row)) for key, value in settings.items() if value is not None]
        names = [key for key, _ in given]
        twice = next((key for key in names if names.count(key) > 1), None)
        if twice:
            raise InputError(f"{row.name}: {twice} is set twice")
        if (version := dict(given).get("version")) is not None:
            if version not in row.versions:
                raise InputError(f"{row.name} has no version {version!r}: give one of {', '.join(row.versions)}")
            row = find_row(row.versions[version])
        object.__setattr__(self, "name", row.name)
        object.__setattr__(self, "overrides", tuple((key, text) for key, text in given if key != "version"))
        self.settings(eps=1.0, norm=row.norms[-1])  # stand-ins: a mistake is told where it is made, not when it runs

    @property
    def row(self) -> AttackRow:
        """The row of the table."""
        return find_row(self.name)

    @property
    def values(self) -> dict[str, Any]:
        """What was set, as Python values."""
        return {name: _read(name, text, self.row) for name, text in self.overrides}

    def settings(self, *, eps: str | float | None, norm: str = "linf", steps: int | None = None) -> Settings:
        """All settings of the row, checked.

        Args:
            eps: the radius of the call. This and the following are taken where the attack has such a setting and it
                was not set.
            norm: of the radius.
            steps: iterations.

        Returns:
            The settings, of the row's own kind.

        Raises:
            InputError: where a radius is missing, or for settings that cannot be run.
        """
        row, own = self.row, self.values
        beside = Beside(**{one.name: own.pop(one.name) for one in declared(Beside) if one.name in own})
        check_declared(beside)
        chosen: dict[str, Any] = {}
        if row.defaults.bounded:
            if eps is None and "eps" not in own:
                raise InputError(
                    f"{row.name} needs a radius and no usual one is known here: give one with eps, such as 8/255"
                )
            chosen["norm"] = norm
            if eps is not None:
                chosen["eps"] = parse_radius(eps)
        if steps is not None and "steps" in row.free_settings():
            chosen["steps"] = steps
        settings = replace(row.defaults, **chosen | own)
        check_runnable(row, settings, beside.target)
        return settings

    def __repr__(self) -> str:
        shown = {key: text if kind_of(key, self.row) is LENGTH else self.values[key] for key, text in self.overrides}
        return f"Attack({', '.join([repr(self.name), *(f'{key}={value!r}' for key, value in shown.items())])})"

    def __str__(self) -> str:
        row, own = self.row, dict(self.overrides)
        told = {
            name: ": ".join(filter(None, [one.help, ", ".join(one.choices)])) for name, one in declared_by(row).items()
        }
        told |= {"norm": ", ".join(row.norms), "version": ", ".join(row.versions)}
        defaults, known = row.free_settings(), _known(row)
        if not row.defaults.targetable:
            known.remove("target")
        shown = {name: own.get(name, defaults.get(name, "")) for name in known}
        wide = max(len(f"{name}={value}") for name, value in shown.items())
        lines = [
            f"  {f'{name}={value}' if value else name:{wide}}  {told[name]}"
            + (f" (default {defaults[name]})" if name in own and name in defaults else "")
            for name, value in shown.items()
        ]
        return "\n".join([f"{row.name}: {row.summary} ({row.source})", *lines])


def check_runnable(row: AttackRow, settings: Settings, target: str | None) -> None:
    """Refuse settings that cannot be run.

    Args:
        row: whose settings they are.
        settings: all of them.
        target: a rule or a class number, None for untargeted.

    Raises:
        InputError: with the attack's name, for the first that is wrong.
    """
    try:
        settings.check()
    except InputError as error:
        raise InputError(f"{row.name}: {error}") from None
    if settings.norm not in row.norms:
        raise InputError(f"{row.name} works in {', '.join(row.norms)}, not in {settings.norm}")
    if target is not None:
        check_target(target)
        if not settings.targetable:
            raise InputError(f"{row.name} cannot aim at a class of your choice: leave it out or drop --target")


def with_version(specs: Sequence[str], version: str) -> list[str]:
    """The attacks of a battery, in this version where they have versions.

    Args:
        specs: attacks with their settings, as a user writes them.
        version: the one to take.

    Returns:
        The attacks in their order, ``version=`` added where they have versions.

    Raises:
        InputError: where none has.

    Example:
        >>> with_version(["pgd", "autoattack,block=100"], "plus")
        ['pgd', 'autoattack,block=100,version=plus']
    """
    versioned = [":" not in spec and bool(find_row(spec.partition(",")[0].strip()).versions) for spec in specs]
    if not any(versioned):
        raise InputError(
            f"--version {version} is for AutoAttack, which is not among the attacks: add --attack autoattack"
        )
    return [f"{spec},version={version}" if has else spec for spec, has in zip(specs, versioned, strict=True)]


def _known(row: AttackRow) -> list[str]:
    """The names of all that can be set."""
    return [*row.free_settings(), *(BALL if row.defaults.bounded else ()), "target", "backend"]


def _check_known(name: str, came: str, row: AttackRow) -> None:
    """Refuse a name that the row has no setting of."""
    known = _known(row)
    if name not in known:
        hint = did_you_mean(name, known, most=2)
        raise InputError(f"{row.name} has no setting {came!r}: {hint}it has {', '.join(known)}")


def _assignment(part: str, row: AttackRow) -> tuple[str, str]:
    """``"steps=50"`` as the name of a setting and its text."""
    name, equals, value = (piece.strip() for piece in part.partition("="))
    name = name.replace("-", "_")
    name = FORMERLY.get(name, name)
    _check_known(name, part, row)
    if not equals or not value:
        raise InputError(f"{row.name}: {part!r} lacks a value: write {name}=...")
    return name, value


def _written(name: str, value: Any, row: AttackRow) -> str:
    """A Python value as the text of this setting."""
    kind = kind_of(name, row)
    try:
        if isinstance(value, bool):  # a number to Python, to nobody else
            raise TypeError
        return kind.write(value)
    except TypeError:
        came = " ".join(shortened(value).split())
        raise InputError(
            f"{row.name}: {name}={came} is of type {type(value).__name__}, {kind.words} was expected"
        ) from None


def _read(name: str, text: str, row: AttackRow) -> Any:
    """The text as the setting's value."""
    kind = kind_of(name, row)
    try:
        return kind.read(text, name)
    except InputError as error:
        raise InputError(f"{row.name}: {error}") from None
    except ValueError:
        raise InputError(f"{row.name}: {name}={text!r} came, {kind.words} was expected") from None
