"""A setting is declared once, in a dataclass field: type, default, help, choices and range.

    @dataclass(frozen=True)
    class Own:
        lr: float = setting(0.1, "Largest learning rate.", least=0, most=10)
        loss: str = setting("ce", "What is minimised: {names}.", choices="package.module:LOSSES")

Command-line options, checks, manifests and tables of the docs are made from it. A choice may be a table of rows that
needs torch: it is imported when a value is checked, not when help lists its names.
"""

from __future__ import annotations

import ast
import difflib
import math
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from energylens.errors import InputError


@dataclass(frozen=True)
class Setting:
    """What a field says of its setting. ``setting`` explains the fields that are not explained here.

    Attributes:
        name: the field's name.
        kind: bool, int, float or str; of the parts, where ``many``.
        many: whether the value is a tuple.
        default: the field's default.
    """

    name: str
    kind: type
    many: bool
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    metavar: str | None = None
    short: str = ""
    repeat: bool = False
    example: str = ""
    later: bool = False

    @property
    def option(self) -> str:
        """``--step-size``."""
        return option_of(self.name)

    @property
    def plain(self) -> tuple[str, ...]:
        """The choices where they are words and no tables, else ()."""
        return () if any(":" in choice for choice in self.choices) else self.choices

    def words(self, table: Callable[[str], Iterable[str]]) -> list[str]:
        """The choices, those of each table as ``table`` reads them."""
        return [word for choice in self.choices for word in (table(choice) if ":" in choice else [choice])]

    def text(self) -> str:
        """The help with the names of the choices, read without importing their tables."""
        return self.help.format(names=one_of(self.words(names_in)))


def setting(
    default: Any,
    help: str,
    *,
    choices: str | tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    metavar: str | None = None,
    short: str = "",
    repeat: bool = False,
    example: str = "",
    later: bool = False,
) -> Any:
    """A dataclass field that declares a setting.

    Args:
        default: the default; None where another setting decides.
        help: one sentence; ``{names}`` stands for the choices.
        choices: the words that it may be: words, or tables as ``package.module:NAME``.
        least: the smallest number allowed.
        most: the largest number allowed.
        above: a number that it must exceed.
        metavar: what the help shows in the value's place.
        short: the short option, as ``-d``.
        repeat: a tuple is given by repeating the option, not as a list with commas.
        example: of a list with commas, for the error.
        later: not in the first release: a manifest tells it only where it differs from its default, so that runs of
            earlier versions stay the same runs.

    Returns:
        The field.
    """
    told = {
        "help": help, "choices": (choices,) if isinstance(choices, str) else choices, "least": least, "most": most,
        "above": above, "metavar": metavar, "short": short, "repeat": repeat, "example": example, "later": later,
    }  # fmt: skip
    return field(default=default, metadata=told)


def declared(kind: type) -> tuple[Setting, ...]:
    """The settings of a dataclass, in the order of its fields."""
    return _declared(kind)  # type: ignore[arg-type]  # mypy takes a class for unhashable


@cache
def _declared(kind: type) -> tuple[Setting, ...]:
    hints = get_type_hints(kind)
    return tuple(Setting(one.name, *_kind(hints[one.name]), one.default, **one.metadata) for one in fields(kind))


def _kind(hint: Any) -> tuple[type, bool]:
    """The type of a value or of its parts, and whether it has parts."""
    (one,) = [part for part in (get_args(hint) if isinstance(hint, UnionType) else [hint]) if part is not NoneType]
    return (get_args(one)[0], True) if get_origin(one) is tuple else (one, False)


def option_of(name: str) -> str:
    """The command-line option of a setting: ``--step-size`` of ``step_size``."""
    return f"--{name.replace('_', '-')}"


def one_of(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} or {last}" if most else last


def check_names(kind: type, given: Collection[str]) -> None:
    """Raise InputError for a name that is no setting."""
    known = sorted(one.name for one in declared(kind))
    if strange := sorted(set(given) - set(known)):
        close = difflib.get_close_matches(strange[0], known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown setting {strange[0]!r}: {hint}one of {', '.join(known)}")


def check_words(settings: Any, spelled: Callable[[str], str] = option_of) -> None:
    """Raise InputError for a word that is not among its choices. spelled: a setting's name as the error has it."""
    for one in declared(type(settings)):
        given = getattr(settings, one.name)
        for word in given if one.choices and one.many else (given,):
            if one.choices and word is not None and word not in (known := one.words(_table)):
                raise InputError(f"{spelled(one.name)} {word!r} is unknown: give one of {', '.join(known)}")


def check_ranges(settings: Any) -> None:
    """Raise InputError for a number outside its range."""
    for one in declared(type(settings)):
        value = getattr(settings, one.name)
        if one.least is None or one.most is None or value is None:
            continue
        if not (isinstance(value, int | float) and one.least <= value <= one.most):
            raise InputError(f"{one.option} is {value}: give a number from {one.least:g} to {one.most:g}")


def manifest_of(settings: Any) -> dict[str, Any]:
    """The settings as JSON holds them; of those that came ``later`` only what is set."""
    values = {one.name: getattr(settings, one.name) for one in declared(type(settings)) if _told(one, settings)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def options_of(settings: Any, *, without: Collection[str] = ()) -> str:
    """The settings as a command line takes them, in full, but for what is None and those named in ``without``."""
    words: list[str] = []
    for one in declared(type(settings)):
        value = getattr(settings, one.name)
        if value is None or one.name in without or not _told(one, settings):
            continue
        if one.kind is bool:
            words.append(one.option if value else option_of(f"no_{one.name}"))
        else:
            parts = value if one.repeat else [",".join(map(str, value)) if isinstance(value, tuple) else value]
            words.extend(f"{one.option} {part}" for part in parts)
    return " ".join(words)


def _told(one: Setting, settings: Any) -> bool:
    return not one.later or getattr(settings, one.name) != one.default


def as_markdown(kind: type) -> str:
    """The settings as a table for the docs."""
    lines = ["| option | default | values | what it sets |", "|---|---|---|---|"]
    for one in declared(kind):
        default = ",".join(map(str, one.default)) if one.many and one.default else one.default
        usual = "-" if default in (None, ()) else ("yes" if default else "no") if one.kind is bool else default
        allowed = ", ".join(one.plain) or _range(one) or "-"
        lines.append(f"| `{one.option}` | {usual} | {allowed} | {one.text()} |")
    return "\n".join(lines)


def _range(one: Setting) -> str:
    """``0 to 0.9``, ``above 0``; "" where any value is one."""
    if one.above is not None:
        return f"above {one.above:g}"
    if one.least is None:
        return ""
    return f"{one.least:g} or more" if (one.most or math.inf) >= 1e6 else f"{one.least:g} to {one.most:g}"


def _table(address: str) -> Iterable[str]:
    """The names of a table's rows."""
    module, _, name = address.partition(":")
    rows: Iterable[str] = getattr(import_module(module), name)
    return rows


def names_in(address: str) -> Iterable[str]:
    """The names of the rows of a table, ``package.module:NAME``. They are read from the source where the module is not
    imported yet, so that help need not wait for torch."""
    module, _, name = address.partition(":")
    spec = None if module in sys.modules else find_spec(module)
    source = getattr(spec and spec.loader, "get_source", lambda _: None)(module) or ""
    for node in ast.parse(source).body:
        match node:
            case ast.Assign([ast.Name(found)], ast.Dict(parts) | ast.Tuple(parts)) | ast.AnnAssign(
                ast.Name(found), _, ast.Dict(parts) | ast.Tuple(parts)
            ) if found == name:
                words = [str(part.value) for part in parts if isinstance(part, ast.Constant)]
                return words if len(words) == len(parts) else _table(address)
    return _table(address)
