"""The size of a perturbation as people write it: ``8/255`` or ``0.031``."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from energylens.data.catalog import DATA_SETS
from energylens.errors import InputError
from energylens.settings import NORM_NAMES

if TYPE_CHECKING:
    from energylens.models import ModelCard

NORMS_OF = {name: norm for norm, name in NORM_NAMES.items()}  # RobustBench's threat models as norms


def parse_radius(text: str | float, what: str = "eps") -> float:
    """Read a length in units of [0, 1].

    Args:
        text: ``"8/255"``, ``"0.031"`` or a number.
        what: the length's name, for the error.

    Returns:
        The length, positive and finite.

    Raises:
        InputError: where it is no number, or none above 0.

    Example:
        >>> parse_radius("8/255") == 8 / 255, parse_radius("0.5"), parse_radius(0.25)
        (True, 0.5, 0.25)
    """
    try:
        value = float(Fraction(text)) if isinstance(text, str) else float(text)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        raise InputError(f"{what} {text!r} is not a number: write it as 8/255 or 0.031") from None
    if not math.isfinite(value) or value <= 0:
        raise InputError(f"{what} must be positive and finite, got {text}: images lie in [0, 1], so 8/255 is usual")
    return value


def check_radius(eps: float, norm: str) -> None:
    """Refuse a radius that every image lies within: a slip of the pen for eps / 255.

    Args:
        eps: the radius, positive, in units of [0, 1].
        norm: ``linf``, or another, which is not checked.

    Raises:
        InputError: for one above 1 in linf.
    """
    if norm == "linf" and eps > 1:
        raise InputError(f"eps={eps:g} in linf spans every image in [0, 1]: did you mean {eps:g}/255?")


def write_radius(value: str | float) -> str:
    """The radius as a person would write it; text stays as it came, and above 1 (L2) nobody counts in 1/255.

    Args:
        value: a radius in units of [0, 1], as a number or as the text that a user gave.

    Returns:
        Text that ``parse_radius`` reads as the same number.

    Example:
        >>> write_radius(8 / 255), write_radius(0.2), write_radius("4/255"), write_radius(0.5 / 255), write_radius(2.0)
        ('8/255', '0.2', '4/255', '0.00196078431372549', '2.0')
    """
    if isinstance(value, str):
        return value
    number = float(value)
    levels = round(number * 255) if abs(number) < 1 else 0
    return f"{levels}/255" if levels / 255 == number and f"{number:.4g}" != repr(number) else repr(number)


def usual_norm(card: ModelCard) -> str:
    """The norm that the model was made for.

    Args:
        card: of the model; its threat model is read.

    Returns:
        A name in NORM_NAMES; ``linf`` where the card does not tell.
    """
    return NORMS_OF.get(card.threat_model or "", "linf")


def usual_radius(card: ModelCard, dataset: str | None, norm: str) -> float | None:
    """The radius the model was made for, else the usual one of the data set.

    Args:
        card: of the model; its radius counts only in its own norm.
        dataset: the name of the data, None where it has none.
        norm: in which the radius is, a name in NORM_NAMES.

    Returns:
        The radius in units of [0, 1], None where neither has one in this norm.
    """
    if card.eps is not None and NORMS_OF.get(card.threat_model or "") == norm:
        return card.eps
    row = DATA_SETS.get(dataset or "")
    return None if row is None else row.default_eps.get(norm)


RADII = frozenset({"eps", "step_size"})  # the settings of attacks and trainings that are lengths


def show_radius(value: str | float) -> str:
    """The radius as a person reads it: a multiple of 1/255, whatever rounding has made of it, as one.

    To show, not to run again with: ``write_radius`` loses nothing.

    Args:
        value: a radius in units of [0, 1]; text with a slash is left as it is.

    Returns:
        At most six significant digits, or n/255.

    Example:
        >>> show_radius("0.00784313725490196"), show_radius(1.25 * (8 / 255)), show_radius("8/255"), show_radius(0.2)
        ('2/255', '10/255', '8/255', '0.2')
        >>> show_radius(320 / 255)
        '1.2549'
    """
    if isinstance(value, str) and "/" in value:
        return value
    number = float(value)
    levels = round(number * 255) if abs(number) < 1 else 0
    short = f"{number:.6g}"
    whole = levels and math.isclose(levels / 255, number, rel_tol=1e-9) and float(short) != number
    return f"{levels}/255" if whole else short


def shown_setting(name: str, value: Any) -> str:
    """A setting's value as a person reads it: radii as ``show_radius``, lists with +.

    Args:
        name: of the setting, by which radii are known.
        value: of the setting; a list or tuple is shown entry by entry.

    Returns:
        Text of one line; "none" for an empty list.
    """
    if name in RADII and isinstance(value, str | float):
        return show_radius(value)
    if isinstance(value, list | tuple):
        return "+".join(shown_setting(name, one) for one in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
