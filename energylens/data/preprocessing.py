"""What happens to a decoded picture before it becomes a tensor, and the texts that say so. Imports no torch itself."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from energylens.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Side = int | tuple[int, int]  # of a square, or (height, width)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, then cut out the centre.

    Attributes:
        resize: to how many pixels: of the shorter side, or (height, width); None for no resize.
        crop: to how many pixels: of a square, or (height, width), filled up with black where the picture is smaller;
            None for no crop.
        interpolation: as torchvision's InterpolationMode calls it.
        corner: where an odd number of pixels is to be cut off, the first that is kept is at half of it, rounded to the
            even number as torchvision does ("round") or down as transformers does ("floor").
        by: who resizes, PIL ("pil"), whose 8-bit rounding most models know, or torchvision's own code for tensors
            ("torchvision"), which newer versions of transformers use: up to a few levels of 255 apart.
    """

    resize: Side | None = None
    crop: Side | None = None
    interpolation: str = "bilinear"
    corner: str = "round"
    by: str = "pil"

    @property
    def name(self) -> str:
        """The text that `preprocessing_named` reads as this: RobustBench's word where there is one.

        Example:
            >>> Preprocessing(236, 224, "bicubic").name
            'BicubicRes236Crop224'
            >>> Preprocessing((288, 192), None, "bicubic").name
            'resize=288x192,interpolation=bicubic'
        """
        for word, meant in _IRREGULAR.items():
            if self == meant:
                return word
        kind = "" if self.interpolation == "bilinear" else self.interpolation.capitalize()
        word = f"{kind}Res{_written(self.resize)}Crop{_written(self.crop)}"
        if _from_word(word) == self:
            return word
        interpolation = None if self.resize is None else self.interpolation
        told = vars(self) | {"interpolation": interpolation}
        return ",".join(f"{key}={_written(value)}" for key, value in told.items() if value not in _LEFT_OUT)

    def transform(self) -> Callable[[Any], "Tensor"]:
        """PIL image -> (C, H, W) float32 in [0, 1], by torchvision's transforms.

        Returns:
            A callable for one PIL image.
        """
        import torch
        from torchvision import transforms
        from torchvision.transforms import v2  # of the two it is v2 that transformers calls; v1 rounds otherwise

        tensors = self.by == "torchvision"
        steps: list[object] = [transforms.PILToTensor()] if tensors else []
        if self.resize is not None:
            mode = transforms.InterpolationMode(self.interpolation)
            steps.append((v2 if tensors else transforms).Resize(self.resize, interpolation=mode, antialias=True))
        if self.crop is not None:
            steps.append((_floored_crop if self.corner == "floor" else transforms.CenterCrop)(self.crop))
        steps.append(transforms.ConvertImageDtype(torch.float32) if tensors else transforms.ToTensor())
        transform: Callable[[Any], Tensor] = transforms.Compose(steps)
        return transform

    def images(self, pixels: "Tensor") -> "Tensor":
        """Resize and crop pictures that are a tensor.

        Args:
            pixels: (B, C, H, W) uint8, one or three channels.

        Returns:
            (B, C, H', W') float32 in [0, 1].
        """
        import torch
        from torchvision.transforms.functional import to_pil_image

        transform = self.transform()
        return torch.stack([transform(to_pil_image(picture.cpu())) for picture in pixels])

    @property
    def made(self) -> tuple[int, int] | None:
        """The (height, width) that every picture gets; None where it depends on the picture's own."""
        side = self.crop if self.crop is not None else self.resize
        if isinstance(side, int):
            return None if self.crop is None else (side, side)
        return side


#: The names outside the pattern, as RobustBench defines them (robustbench/data.py).
_IRREGULAR: Mapping[str, Preprocessing] = {
    "None": Preprocessing(),
    "Crop288": Preprocessing(crop=288),
    "Res224": Preprocessing(resize=(224, 224)),
}

INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "hamming", "box", "nearest", "nearest-exact")
_KINDS: Mapping[str, str] = {"": "bilinear"} | {name.capitalize(): name for name in INTERPOLATIONS}


CORNERS = ("round", "floor")
BY = ("pil", "torchvision")
_LEFT_OUT = (None, CORNERS[0], BY[0])  # of a name


def _floored_crop(size: Side) -> Callable[[Any], Any]:
    """PIL image or tensor -> its centre, the upper left one of two; what lies outside of the picture is black."""
    from torchvision.transforms import functional

    height, width = size if isinstance(size, tuple) else (size, size)

    def crop(image: Any) -> Any:
        _, tall, wide = functional.get_dimensions(image)
        return functional.crop(image, int((tall - height) / 2), int((wide - width) / 2), height, width)

    return crop


_NUMBER = r"[1-9]\d{0,3}"
_PATTERN = re.compile(rf"(?P<kind>\D*)Res(?P<side>{_NUMBER})(?P<square>x(?P=side))?Crop(?P<crop>{_NUMBER})")
_SIZE = re.compile(rf"{_NUMBER}(x{_NUMBER})?")
_WORDS = {"interpolation": INTERPOLATIONS, "corner": CORNERS, "by": BY}


def preprocessing_named(name: str) -> Preprocessing:
    """What a text like `resize=236,crop=224,interpolation=bicubic` or RobustBench's `BicubicRes236Crop224` means.

    Args:
        name: the text, in either form.

    Returns:
        The preprocessing; every setting that is not named does nothing.

    Raises:
        InputError: where it means nothing; it explains both forms.

    Example:
        >>> same = preprocessing_named("resize=236,crop=224,interpolation=bicubic")
        >>> preprocessing_named("BicubicRes236Crop224") == same
        True
        >>> preprocessing_named("resize=384x320").resize
        (384, 320)
    """
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    told = _from_word(name) or _from_settings(name)
    if told is None:
        raise InputError(
            f"unknown preprocessing {name!r}; expected settings such as resize=256,crop=224,interpolation=bicubic "
            f"(resize=256: the shorter side; resize=256x224: height x width; interpolation one of "
            f"{', '.join(INTERPOLATIONS)}), or RobustBench's word for it, [Kind]Res<n>Crop<m>, as in "
            f"BicubicRes236Crop224, Kind one of {', '.join(filter(None, _KINDS))} (none: Bilinear); or one of "
            f"{', '.join(_IRREGULAR)}."
        )
    return told


def _from_word(name: str) -> Preprocessing | None:
    match = _PATTERN.fullmatch(name)
    if match is None or match["kind"] not in _KINDS:
        return None
    side = int(match["side"])
    return Preprocessing((side, side) if match["square"] else side, int(match["crop"]), _KINDS[match["kind"]])


def _from_settings(name: str) -> Preprocessing | None:
    """`key=value,key=value`, each key once; None where that is not what it is."""
    told: dict[str, Any] = {}
    for part in name.split(","):
        key, _, text = part.partition("=")
        side = _SIZE.fullmatch(text) if key in ("resize", "crop") else None
        if key in told or not (side or text in _WORDS.get(key, ())):
            return None
        told[key] = _side(text) if side else text
    return Preprocessing(**told)


def _side(text: str) -> Side:
    height, by, width = text.partition("x")
    return (int(height), int(width)) if by else int(height)


def _written(value: Side | str | None) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
