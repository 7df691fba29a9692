"""A setting is declared once, in a dataclass field: type, default, help, choices and range.

    @dataclass(frozen=True)
    class Own:
        lr: float = setting(0.1, "Largest learning rate.", most=10)
        loss: str = setting("ce", "What is minimised: {names}.", choices="package.module:LOSSES")

Command-line options, the text form ``pgd,steps=50``, checks, manifests, listings and tables of the docs are made from
it. A choice may be a table of rows that needs torch: it is imported when a value is checked, not when help lists its
names.
"""

from __future__ import annotations

import ast
import math
import operator
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from numbers import Real
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from energylens.errors import InputError, unknown

LARGEST = 1e9  # more steps than anybody waits for

#: words that settings of attacks and of trainings share
NORM_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}  # norms, and what RobustBench and AutoAttack call them
GRADIENT_NORMS = ("linf", "l2")  # those that a gradient step is made in (rows of ``attacks.norms.NORMS``)
PRECISIONS = ("no", "bf16")  # mixed precision


@dataclass(frozen=True)
class Kind:
    """How values of a setting are written in the text form. ``Annotated[float, kind]`` is a type of its own kind.

    Attributes:
        words: what is expected, for errors.
        read: (text, name of the setting) -> value; ValueError or InputError for other text.
        write: a Python value as text that reads as the same value; TypeError for a value of another type.
    """

    words: str
    read: Callable[[str, str], Any]
    write: Callable[[Any], str]


def write_number(value: Any, write: Callable[[float], str] = repr) -> str:
    """In six digits where these are all that the number has, as a person would write it: ``10`` for 10.0.

    Args:
        value: a real number, numpy's too.
        write: writes a number that has more digits; by default all of them.

    Returns:
        Its text.

    Raises:
        TypeError: for what is no number.
    """
    if not isinstance(value, Real):
        raise TypeError
    number = float(value)
    text = f"{number:g}"
    return text if float(text) == number else write(number)


def _write_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


WHOLE = Kind("a whole number", lambda text, name: int(text), lambda value: str(operator.index(value)))
NUMBER = Kind("a number", lambda text, name: float(text), write_number)
TEXT = Kind("text", lambda text, name: text, _write_text)
_KINDS: dict[type, Kind] = {int: WHOLE, float: NUMBER, str: TEXT}


@dataclass(frozen=True)
class Setting:
    """What a field says of its setting: ``setting`` makes it, and the field gives its name and type.

    Attributes:
        default: the default; MISSING for none, None where another setting decides.
        help: what it sets; in the help of an option ``{names}`` stands for the choices.
        choices: the words that it may be: words, or tables as ``package.module:NAME``.
        least: the smallest number allowed.
        above: a number that it must exceed.
        most: the largest number allowed.
        metavar: what the help shows in the value's place.
        short: the short option, as ``-d``.
        example: of a list with commas, for the error; without one, a tuple is given by repeating the option.
        later: not in the first release: a manifest tells it only where it differs from its default, so that runs of
            earlier versions stay the same runs.
        amount: an attack with more of it, and everything else alike, must not be weaker (``checks/strength.py``).
        standard: how a listing shows None; ``{name}`` stands for another setting.
        group: the heading of the help for this option and those below it, until a field names another.
        name: the field's name.
        base: bool, int, float or str; of the parts, where ``many``.
        many: whether the value is a tuple.
        own_kind: the kind that the type is annotated with.
    """

    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float = 0
    above: float | None = None
    most: float = LARGEST
    metavar: str | None = None
    short: str = ""
    example: str = ""
    later: bool = False
    amount: bool = False
    standard: str = "standard"
    group: str = ""
    name: str = ""
    base: type = str
    many: bool = False
    own_kind: Kind | None = None

    @property
    def kind(self) -> Kind:
        """How its values are written in the text form, which has no yes or no and no lists."""
        return self.own_kind or _KINDS[self.base]

    @property
    def numeric(self) -> bool:
        """Whether it is one number."""
        return self.base in (int, float) and not self.many

    @property
    def repeat(self) -> bool:
        """Whether its option is given once for each part."""
        return self.many and not self.example

    @property
    def option(self) -> str:
        """``--step-size``."""
        return option_of(self.name)

    @property
    def plain(self) -> tuple[str, ...]:
        """The choices where they are words and no tables, else ()."""
        return () if any(":" in choice for choice in self.choices) else self.choices

    def words(self, table: Callable[[str], Iterable[str]]) -> list[str]:
        """The choices as words, in the order they are declared.

        Args:
            table: gives the names in a table, ``package.module:NAME``: read from its source (``names_in``) or imported.

        Returns:
            The words, with the names of each table in its place; none where anything may be given.
        """
        return [word for choice in self.choices for word in (table(choice) if ":" in choice else [choice])]

    def text(self) -> str:
        """The help with the names of the choices, read without importing their tables.

        Returns:
            The text, without range and default.
        """
        return self.help.format(names=one_of(self.words(names_in)))

    @property
    def allowed(self) -> str:
        """``0 to 0.9``, ``above 0``; "" where it is no number."""
        if not self.numeric:
            return ""
        if self.above is not None:
            return f"above {self.above:g}"
        return f"{self.least:g} or more" if self.most >= 1e6 else f"{self.least:g} to {self.most:g}"

    def written(self, value: Any) -> str:
        """A value as help and docs show it.

        Args:
            value: one of this setting, such as its default.

        Returns:
            Its text, ``yes`` or ``no`` for a bool, parts with commas between them; "" for None and for no parts.
        """
        if value in (None, ()):
            return ""
        if self.base is bool:
            return "yes" if value else "no"
        return ",".join(map(str, value)) if self.many else str(value)

    def shown(self, settings: Any) -> str:
        """The setting's value as a listing shows it.

        Args:
            settings: of the dataclass that declares it.

        Returns:
            The value as text; for None, what is then taken.
        """
        value = getattr(settings, self.name)
        return self.standard.format(**vars(settings)) if value is None else str(value)


def setting(default: Any, help: str, *, choices: str | Iterable[str] = (), **more: Any) -> Any:
    """A dataclass field that declares a setting; a field declared otherwise is not for users.

    Args:
        default: as in ``Setting``, which explains all of them.
        help: what it sets.
        choices: words, or tables as ``package.module:NAME``; one alone may stand without a tuple.
        **more: ``least``, ``above``, ``most``, ``metavar``, ``short``, ``example``, ``later``, ``amount``,
            ``standard`` or ``group``.

    Returns:
        The field.

    Example:
        >>> @dataclass(frozen=True)
        ... class Mine:
        ...     steps: int = setting(10, "gradient steps", above=0)
        >>> check_ranges(Mine(steps=0), spelled=str)
        Traceback (most recent call last):
        energylens.errors.InputError: steps=0 cannot be run with: a number above 0, at most 1e9, was expected
    """
    words = (choices,) if isinstance(choices, str) else tuple(choices)
    return field(default=default, metadata={"setting": Setting(default, help, words, **more)})


def declared(kind: type) -> tuple[Setting, ...]:
    """The settings of a dataclass; read once and kept.

    Args:
        kind: the dataclass; fields that ``setting`` did not make are left out.

    Returns:
        A setting a field, in the order of the fields.
    """
    return _declared(kind)  # type: ignore[arg-type]  # mypy takes a class for unhashable


@cache
def _declared(kind: type) -> tuple[Setting, ...]:
    hints = get_type_hints(kind, include_extras=True)
    found: list[Setting] = []
    for one in fields(kind):
        if "setting" in one.metadata:
            found.append(_of_field(one, hints[one.name], group=found[-1].group if found else ""))
    return tuple(found)


def _of_field(one: Field[Any], hint: Any, group: str) -> Setting:
    """What a field declares, with its name and type, of the value or of its parts. group: that of the field above."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = [part for part in get_args(hint) if part is not NoneType]
    base, *kinds = get_args(hint) or [hint]
    own_kind = kinds[0] if get_origin(hint) is Annotated else None
    declares: Setting = one.metadata["setting"]
    told = {"name": one.name, "base": base, "many": get_origin(hint) is tuple, "own_kind": own_kind}
    return replace(declares, **told, group=declares.group or group)


def option_of(name: str) -> str:
    """The command-line option of a setting.

    Args:
        name: of its field, as ``step_size``.

    Returns:
        The long option, as ``--step-size``.
    """
    return f"--{name.replace('_', '-')}"


def one_of(words: Iterable[str]) -> str:
    """Words as a list in a sentence.

    Args:
        words: any number of them, in their order.

    Returns:
        ``a, b or c``; "" for none.
    """
    *most, last = list(words) or [""]
    return f"{', '.join(most)} or {last}" if most else last


def check_names(kind: type, given: Collection[str]) -> None:
    """Refuse a name that is no setting.

    Args:
        kind: the dataclass that declares the settings.
        given: names of fields, as the user gave them.

    Raises:
        InputError: for the first such name in alphabetical order; it lists the settings.
    """
    known = sorted(one.name for one in declared(kind))
    if strange := sorted(set(given) - set(known)):
        raise unknown("setting", strange[0], known)


def check_word(name: str, word: str, known: Collection[str]) -> None:
    """Refuse a word that is not among those known.

    Args:
        name: of what it is for.
        word: as the user gave it.
        known: the words that there are.

    Raises:
        InputError: for another word; it lists the known ones.
    """
    if word not in known:
        raise unknown(name, word, known)


def check_number(
    name: str, value: float, *, least: float = 0, above: float | None = None, most: float = LARGEST
) -> None:
    """Refuse a number outside its range.

    Args:
        name: of what it is for.
        value: the number, or whatever came in its place.
        least: the smallest number allowed.
        above: a number that it must exceed.
        most: the largest number allowed.

    Raises:
        InputError: for a number outside, and for what is no number.
    """
    if not _is_within(value, least, above, most):
        low = f"{least:g} or more" if above is None else f"above {above:g}"
        high = f"{most:g}".replace("e+0", "e")
        came = f"{value:g}" if isinstance(value, Real) else repr(value)
        raise InputError(f"{name}={came} cannot be run with: a number {low}, at most {high}, was expected")


def _is_within(value: Any, least: float, above: float | None, most: float) -> bool:
    known = isinstance(value, Real) and math.isfinite(value)
    return known and least <= value <= most and (above is None or value > above)


def check_words(settings: Any, spelled: Callable[[str], str] = option_of) -> None:
    """Refuse words that are not among their choices.

    Args:
        settings: a dataclass whose fields ``setting`` made.
        spelled: gives a setting's name as the error has it.

    Raises:
        InputError: for the first such word; it lists the choices.
    """
    for one in declared(type(settings)):
        given = getattr(settings, one.name)
        for word in given if one.choices and one.many else (given,):
            if one.choices and word is not None and word not in (known := one.words(_table)):
                raise unknown(spelled(one.name), word, known)


def check_ranges(settings: Any, spelled: Callable[[str], str] | None = None) -> None:
    """Refuse numbers outside their ranges.

    Args:
        settings: a dataclass whose fields ``setting`` made.
        spelled: gives a setting's name as the error has it; None for the option of the command line.

    Raises:
        InputError: for the first number that is outside.
    """
    for one in declared(type(settings)):
        value = getattr(settings, one.name)
        if not one.numeric or value is None:
            continue
        if spelled:
            check_number(spelled(one.name), value, least=one.least, above=one.above, most=one.most)
        elif not (isinstance(value, int | float) and _is_within(value, one.least, one.above, one.most)):
            low = f"from {one.least:g}" if one.above is None else f"above {one.above:g}, up"
            raise InputError(f"{one.option} is {value}: give a number {low} to {one.most:g}")


def manifest_of(settings: Any) -> dict[str, Any]:
    """The settings as JSON holds them; of those that came ``later`` only what is set.

    Args:
        settings: a dataclass whose fields ``setting`` made.

    Returns:
        The values by the names of their fields, tuples as lists.
    """
    values = {one.name: getattr(settings, one.name) for one in declared(type(settings)) if _told(one, settings)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def options_of(settings: Any, *, without: Collection[str] = ()) -> str:
    """The settings as a command line takes them, in full, but for what is None.

    Args:
        settings: a dataclass whose fields ``setting`` made.
        without: names of fields to leave out.

    Returns:
        The options with spaces between them, as ``--lr 0.1``, ``--no-NAME`` for False; not quoted for a shell.
    """
    words: list[str] = []
    for one in declared(type(settings)):
        value = getattr(settings, one.name)
        if value is None or one.name in without or not _told(one, settings):
            continue
        if one.base is bool:
            words.append(one.option if value else option_of(f"no_{one.name}"))
        else:
            parts = value if one.repeat else [",".join(map(str, value)) if isinstance(value, tuple) else value]
            words.extend(f"{one.option} {part}" for part in parts)
    return " ".join(words)


def _told(one: Setting, settings: Any) -> bool:
    return not one.later or getattr(settings, one.name) != one.default


def as_markdown(kind: type) -> str:
    """The settings as a table for the docs.

    Args:
        kind: the dataclass that declares them.

    Returns:
        Markdown, a line a setting below two of heading.
    """
    lines = ["| option | default | values | what it sets |", "|---|---|---|---|"]
    for one in declared(kind):
        allowed = ", ".join(one.plain) or one.allowed or "-"
        lines.append(f"| `{one.option}` | {one.written(one.default) or '-'} | {allowed} | {one.text()} |")
    return "\n".join(lines)


def _table(address: str) -> Iterable[str]:
    """The names of a table's rows."""
    module, _, name = address.partition(":")
    rows: Iterable[str] = getattr(import_module(module), name)
    return rows


def names_in(address: str) -> Iterable[str]:
    """The names of the rows of a table.

    They are read from the source where the module is not imported yet, so that help need not wait for torch.

    Args:
        address: of a dict or a tuple, ``package.module:NAME``.

    Returns:
        The dict's keys, or the tuple's words, in their order.
    """
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
