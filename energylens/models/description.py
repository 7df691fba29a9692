"""The JSON beside a weights file: what it says about the model, checked field by field. Imports nothing heavy."""

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from energylens.errors import InputError
from energylens.files import check_readable, is_there
from energylens.models.threat_models import THREAT_MODELS, threat_model_named


@dataclass(frozen=True)
class Description:
    """What a JSON said; None for what it left out or called null.

    labels: which of the data set's labels the logits are for. eps: in units of images in [0, 1]. clean, autoattack:
    accuracies in %, under "measured" in the JSON.
    """

    arch: str | None = None
    num_classes: int | None = None
    in_channels: int | None = None
    width: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dataset: str | None = None
    labels: tuple[int, ...] | None = None
    threat_model: str | None = None
    eps: float | None = None
    clean: float | None = None
    autoattack: float | None = None


def description_beside(path: Path) -> Description:
    """What `path` with the suffix .json says; an empty description if it is not there. Other fields are left alone.

    Raises InputError for a file that is no JSON object, or a field of the wrong type; RunError where the file
    may not be read.
    """
    beside = path.with_suffix(".json")
    if not is_there(beside):
        return Description()
    check_readable(beside)
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{beside} is not valid JSON ({error}): mend or remove it") from error
    if not isinstance(about, dict):
        raise InputError(f'{beside} holds a {type(about).__name__}, expected an object with at least "arch"')
    measured = _read(beside, about, {"measured": _MEASURED}).get("measured", {})
    return Description(**_read(beside, about, _FIELDS), **_read(beside, measured, _MEASURED_FIELDS, "measured."))


@dataclass(frozen=True)
class _Field:
    """What a value must be, in words, and what makes it so or raises a ValueError."""

    expected: str
    read: Callable[[Any], Any]


def _read(beside: Path, about: Mapping[str, Any], fields: Mapping[str, _Field], where: str = "") -> dict[str, Any]:
    """The fields that are there and not null, checked."""
    told = {}
    for name, field in fields.items():
        if about.get(name) is None:
            continue
        try:
            told[name] = field.read(about[name])
        except (ValueError, ArithmeticError) as error:
            came = reprlib.repr(about[name])
            raise InputError(f'{beside}: "{where}{name}" is {came}, expected {field.expected}') from error
    return told


def _of(kind: type) -> Callable[[Any], Any]:
    """The value itself if it is of this kind; JSON's true and false are no numbers."""

    def read(value: Any) -> Any:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError
        return value

    return read


def _size(value: Any) -> int:
    if (size := int(_of(int)(value))) < 1:
        raise ValueError
    return size


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(_number, _of(list)(value)))


def _labels(value: Any) -> tuple[int, ...]:
    labels = tuple(map(_of(int), _of(list)(value)))
    if len(set(labels)) < len(labels) or any(label < 0 for label in labels):
        raise ValueError
    return labels


def _radius(value: Any) -> float:
    radius = _number(float(Fraction(value)) if isinstance(value, str) else value)
    if radius <= 0:
        raise ValueError
    return radius


def _percent(value: Any) -> float:
    if not 0 <= (share := _number(value)) <= 100:
        raise ValueError
    return share


_TEXT = _Field("a text", _of(str))
_SIZE = _Field("a positive integer", _size)
_NUMBERS = _Field("a list of numbers, one a channel, as in [0.5, 0.5, 0.5]", _numbers)
_PERCENT = _Field("a number of percent, 0 to 100", _percent)
_MEASURED = _Field('an object of accuracies in %, as in {"clean": 98.4}', _of(dict))

_FIELDS: Mapping[str, _Field] = {
    "arch": _Field("the name of an architecture", _of(str)),
    "num_classes": _SIZE,
    "in_channels": _SIZE,
    "width": _SIZE,
    "mean": _NUMBERS,
    "std": _NUMBERS,
    "dataset": _TEXT,
    "labels": _Field("a list of different labels of the data set, one a logit, as in [0, 1, 6, 7]", _labels),
    "threat_model": _Field(f"one of {', '.join(THREAT_MODELS)}", lambda value: threat_model_named(_of(str)(value))),
    "eps": _Field('a positive radius for images in [0, 1], as in 0.2 or "8/255"', _radius),
}

_MEASURED_FIELDS: Mapping[str, _Field] = {"clean": _PERCENT, "autoattack": _PERCENT}
