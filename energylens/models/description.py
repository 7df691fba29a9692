"""The JSON beside a weights file: what it says about the model, checked field by field. Imports nothing heavy."""

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from math import inf, isfinite
from pathlib import Path
from typing import Any

from energylens.errors import InputError
from energylens.files import check_readable, is_there
from energylens.models.threat_models import THREAT_MODELS, threat_model_named


def _a(kind: Any, fits: Callable[[Any], bool] = lambda value: True) -> Callable[[Any], Any]:
    """Gives back a value that is of this kind and fits; ValueError otherwise. JSON's true and false are no numbers."""

    def read(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, kind) or not fits(value):
            raise ValueError
        return value

    return read


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(map(read, _a(list)(value)))


def _number(value: Any) -> float:
    return float(_a(int | float, isfinite)(value))


def _told(expected: str, *readers: Callable[[Any], Any], default: Any = None) -> Any:
    """A field that a JSON may leave out.

    Args:
        expected: what it must be, in words.
        *readers: make its value of what the JSON holds, one after the other, or raise a ValueError.
        default: where it is left out.
    """
    return field(default=default, metadata={"expected": expected, "readers": readers})


_SIZE = ("a positive integer", _a(int, lambda size: size > 0))
_CHANNELS = ("a list of numbers, one a channel, as in [0.5, 0.5, 0.5]", _list_of(_number))
_PERCENT = ("a number of percent, 0 to 100", _number, _a(float, lambda share: 0 <= share <= 100))


@dataclass(frozen=True)
class Measured:
    """What was measured of a model.

    Attributes:
        clean: accuracy on the test images in %.
        autoattack: the same under AutoAttack.
    """

    clean: float | None = _told(*_PERCENT)
    autoattack: float | None = _told(*_PERCENT)


@dataclass(frozen=True)
class Description:
    """What a JSON said; None for what it left out or called null.

    Attributes:
        arch: a row of ARCHITECTURES.
        num_classes: how many logits there are.
        in_channels: channels of the image.
        width: channels of the stem.
        mean: of the normalisation before the network, one a channel, for images in [0, 1].
        std: of the same.
        dataset: the data set that it was trained on.
        labels: which of the data set's labels the logits are for.
        threat_model: `Linf`, `L2` or `corruptions`.
        eps: the radius, in units of images in [0, 1].
        measured: accuracies.
    """

    arch: str | None = _told("the name of an architecture", _a(str))
    num_classes: int | None = _told(*_SIZE)
    in_channels: int | None = _told(*_SIZE)
    width: int | None = _told(*_SIZE)
    mean: tuple[float, ...] | None = _told(*_CHANNELS)
    std: tuple[float, ...] | None = _told(*_CHANNELS)
    dataset: str | None = _told("a text", _a(str))
    labels: tuple[int, ...] | None = _told(
        "a list of different labels of the data set, one a logit, as in [0, 1, 6, 7]",
        _list_of(_a(int, lambda label: label >= 0)),
        _a(tuple, lambda labels: len(set(labels)) == len(labels)),
    )
    threat_model: str | None = _told(f"one of {', '.join(THREAT_MODELS)}", _a(str), threat_model_named)
    eps: float | None = _told(
        'a positive radius for images in [0, 1], as in 0.2 or "8/255"',
        lambda radius: float(Fraction(radius)) if isinstance(radius, str) else _number(radius),
        _a(float, lambda radius: 0 < radius < inf),
    )
    measured: Measured = _told('an object of accuracies in %, as in {"clean": 98.4}', _a(dict), default=Measured())


def description_beside(path: Path) -> Description:
    """What the file with the suffix .json beside a weights file says; an empty description where there is none.

    Fields that ``Description`` does not have are left alone.

    Args:
        path: of the weights file.

    Returns:
        What was read, with None for what it does not say.

    Raises:
        InputError: for a file that is no JSON object, or a field of the wrong type.
        RunError: where the file may not be read.
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
    told = _read(Description, beside, about)
    measured = _read(Measured, beside, told.pop("measured", {}), "measured.")
    return Description(**told, measured=Measured(**measured))


def _read(kind: type, beside: Path, about: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The fields of this dataclass that are there and not null, each through its readers."""
    told = {}
    for one in fields(kind):
        if (value := about.get(one.name)) is None:
            continue
        try:
            for read in one.metadata["readers"]:
                value = read(value)
        except (ValueError, ArithmeticError) as error:
            raise InputError(
                f'{beside}: "{where}{one.name}" is {reprlib.repr(about[one.name])}, expected {one.metadata["expected"]}'
            ) from error
        told[one.name] = value
    return told
