"""What happens to a decoded image before it becomes a tensor, and the names that say so. Imports no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from energylens.errors import InputError


@dataclass(frozen=True)
class Preprocessing:
    """Resize (shorter side, or height x width), then crop the centre.

    Sizes are in pixels; None leaves the step out. interpolation: as torchvision's InterpolationMode calls it.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | None = None
    interpolation: str = "bilinear"


#: The names outside the pattern, as RobustBench defines them (robustbench/data.py).
_IRREGULAR: Mapping[str, Preprocessing] = {
    "None": Preprocessing(),
    "Crop288": Preprocessing(crop=288),
    "Res224": Preprocessing(resize=(224, 224)),
}

_KINDS: Mapping[str, str] = {
    "": "bilinear",
    "Bilinear": "bilinear",
    "Bicubic": "bicubic",
    "Lanczos": "lanczos",
    "Hamming": "hamming",
    "Box": "box",
    "Nearest": "nearest",
    "Nearest-exact": "nearest-exact",
}

_PATTERN = re.compile(r"(?P<kind>\D*)Res(?P<side>[1-9]\d{0,3})(?P<square>x(?P=side))?Crop(?P<crop>[1-9]\d{0,3})")


def preprocessing_named(name: str) -> Preprocessing:
    """What a name like `BicubicRes236Crop224` means; InputError, which explains the pattern, where it means nothing.

    >>> preprocessing_named("BicubicRes236Crop224")
    Preprocessing(resize=236, crop=224, interpolation='bicubic')
    >>> preprocessing_named("Res384x384Crop384").resize
    (384, 384)
    """
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    match = _PATTERN.fullmatch(name)
    if match is None or match["kind"] not in _KINDS:
        raise InputError(
            f"unknown preprocessing {name!r}; expected [Kind]Res<n>Crop<m>, the shorter side resized to n pixels "
            f"(Res<n>x<n>: both sides), then the central m x m cut out, Kind one of {', '.join(filter(None, _KINDS))} "
            f"(none: Bilinear), as in BicubicRes236Crop224; or one of {', '.join(_IRREGULAR)}."
        )
    side = int(match["side"])
    return Preprocessing((side, side) if match["square"] else side, int(match["crop"]), _KINDS[match["kind"]])
