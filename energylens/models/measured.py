"""What a package's own preparation does to pictures, found out from what it does.

Image processors say what they do in attributes that differ from class to class and from version to version: some
divide by the standard deviation twice, some turn RGB into BGR and say so nowhere. So they are not asked, but tried:
flat colours tell the normalisation, a ramp tells the scale, and textured pictures of several sizes decide which resize,
crop and interpolation give the same pixels. What nothing here reproduces is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from energylens.data.preprocessing import BY, CORNERS, INTERPOLATIONS, Preprocessing, Side
from energylens.models.architectures.layers import Normalize, named

Prepare = Callable[[Any], Any]  # a PIL image, RGB -> (3, H, W): what the network is given

SIZES = ((480, 360), (300, 421), (48, 40))  # width x height of what is tried first: lying, standing, tiny
EXTREMES = ((200, 50), (1400, 1050))  # where longest sides are bounded, or pictures cut into tiles
MEAN_LEVELS, MAX_LEVELS = 0.4, 4.0  # how far, of 255, two implementations of one resize may differ in rounding
KEPT = 3  # so many candidates go on from a coarse comparison to a finer one
_FLAT = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))  # black, and each channel alone
_MIXED = (64, 128, 192)


@dataclass(frozen=True)
class Pixels:
    """What stands between a picture and a network.

    Of images in [0, 1], channel k of the network's input is ``(x[order[k]] - mean[k]) / std[k]``.

    Attributes:
        preprocessing: resize and crop, of the picture, before that.
        mean: one float a channel.
        std: one positive float a channel.
        order: which channel of the picture each of the network's is.
    """

    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: tuple[int, ...] = (0, 1, 2)

    def before(self, network: nn.Module) -> nn.Module:
        """The network behind this order of channels and normalisation, without layers that would change nothing.

        Args:
            network: from what its preparation gives to logits.

        Returns:
            From images in [0, 1] to logits; the network itself where nothing is to be done.
        """
        layers: dict[str, nn.Module] = {}
        if self.order != (0, 1, 2):
            layers["channels"] = Channels(self.order)
        if any(self.mean) or set(self.std) != {1.0}:
            layers["normalize"] = Normalize(self.mean, self.std)
        return named(**layers, model=network) if layers else network


class Channels(nn.Module):
    """The channels of an image in another order, such as BGR for a network trained with OpenCV's images."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = list(order)

    def forward(self, x: Tensor) -> Tensor:
        """The images with their channels in this order.

        Args:
            x: images, (N, 3, H, W).

        Returns:
            The same values, (N, 3, H, W).
        """
        return x[:, self.order]


@dataclass(frozen=True)
class Trial:
    """A picture and what was made of it.

    Attributes:
        picture: RGB.
        wanted: (3, height, width), in levels of 0 to 255.
    """

    picture: Image.Image
    wanted: NDArray[np.float64]

    def __str__(self) -> str:
        (width, height), (_, rows, columns) = self.picture.size, self.wanted.shape
        return f"{width}x{height} -> {columns}x{rows}"


class UnlikeError(Exception):
    """Why a preparation cannot be expressed."""


def measured(prepare: Prepare) -> Pixels:
    """The ``Pixels`` that give what a preparation gives, up to rounding in the resize.

    Args:
        prepare: a PIL image, RGB -> (3, H, W), what the network is given.

    Returns:
        Order of channels, mean, std, resize and crop.

    Raises:
        UnlikeError: with the reason, where none do.
    """
    colours = _colours(prepare)

    def tried(picture: Image.Image) -> Trial:
        return Trial(picture, _levels(_prepared(prepare, picture), colours))

    trials = [tried(_textured(*size)) for size in SIZES]
    shapes = {trial.wanted.shape[1:] for trial in trials}
    if len(shapes) == 1:  # widths of which some leave an odd number of pixels to cut off, whatever the scale
        trials += [tried(_textured(120 + k, 90)) for k in range(8)]
    few = _nearest(_geometries(tried(_ramp(*SIZES[0])).wanted, shapes), trials[:2], KEPT)
    how = product(few, INTERPOLATIONS, CORNERS)
    few = _nearest((replace(one, interpolation=name, corner=at) for one, name, at in how), trials[:2], KEPT)
    [found] = _nearest((replace(one, corner=at, by=by) for one, at, by in product(few, CORNERS, BY)), trials, 1)
    trials += [tried(_textured(*size)) for size in EXTREMES]
    average, most = _distance(found, trials)
    if average > MEAN_LEVELS or most > MAX_LEVELS:
        told = ", ".join(str(trial) for trial in trials if trial.picture.size in SIZES + EXTREMES)
        raise UnlikeError(f"what it makes of pictures (in pixels, {told}) is not a resize and a central crop alone")
    return replace(colours, preprocessing=found)


def _colours(prepare: Prepare) -> Pixels:
    """Mean, std and order of the channels, from what becomes of flat colours."""
    black, *primaries = (_of_flat(prepare, colour) for colour in _FLAT)
    matrix = np.stack(primaries, axis=1) - black[:, None]  # column c: what channel c of the picture adds
    order = np.abs(matrix).argmax(axis=1)
    scale = matrix[np.arange(3), order]
    size = np.abs(matrix).max()
    if size == 0:
        raise UnlikeError("it makes the same of every colour")
    others = np.abs(matrix).sum(axis=1) - np.abs(scale)
    if (others > 1e-3 * size).any() or sorted(order) != [0, 1, 2]:
        raise UnlikeError("it mixes the colour channels")
    predicted = black + matrix @ (np.array(_MIXED) / 255)
    if np.abs(_of_flat(prepare, _MIXED) - predicted).max() > 1e-3 * size:
        raise UnlikeError("what it does to a colour is no normalisation (x - mean) / std")
    if (scale <= 0).any():
        raise UnlikeError("it inverts the colours")
    means, stds = (tuple(map(_plain, values)) for values in (-black / scale, 1 / scale))
    return Pixels(Preprocessing(), means, stds, tuple(map(int, order)))


def _plain(value: float) -> float:
    """The shortest decimal that float32 arithmetic may have made into this: 0.485 of 0.48500001."""
    rounded = (round(float(value), digits) + 0.0 for digits in range(9))  # + 0.0: no -0.0
    return next((short for short in rounded if abs(short - value) <= 2e-7 * abs(value)), float(value))


def _of_flat(prepare: Prepare, colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """What becomes of a picture of one colour, in the middle, where no padding reaches."""
    made = _prepared(prepare, Image.new("RGB", SIZES[0], colour))
    return np.asarray(made[:, made.shape[1] // 2, made.shape[2] // 2])


def _prepared(prepare: Prepare, picture: Image.Image) -> NDArray[np.float64]:
    """(3, H, W) as float64."""
    try:
        made = torch.as_tensor(prepare(picture))
    except UnlikeError:
        raise
    except Exception as error:  # whatever another's code raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnlikeError(f"it fails on a picture of {picture.width}x{picture.height} pixels ({reason})") from error
    if made.dim() != 3 or len(made) != 3:
        raise UnlikeError(f"it makes an array of shape {tuple(made.shape)} of a picture, not (3, height, width)")
    return made.double().numpy()


def _levels(made: NDArray[np.float64], colours: Pixels) -> NDArray[np.float64]:
    """The picture's own channels again, in levels of 0 to 255."""
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (colours.mean, colours.std))
    levels: NDArray[np.float64] = (made * std + mean) * 255
    return levels[np.argsort(colours.order)]


def _ramp(width: int, height: int) -> Image.Image:
    """Red rises from left to right, green from top to bottom."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, red], axis=2).round().astype(np.uint8))


def _textured(width: int, height: int) -> Image.Image:
    """Waves that tell where a pixel lay, and a little noise that tells how it was interpolated."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + k) + y / (11 - k) + k) + np.sin((x - y) / 17) for k in range(3)]
    noise = np.random.default_rng(0).normal(0, 12, (height, width, 3))
    return Image.fromarray((127 + 50 * np.stack(waves, axis=2) + noise).clip(0, 255).astype(np.uint8))


def _geometries(ramp: NDArray[np.float64], shapes: set[tuple[int, ...]]) -> Iterator[Preprocessing]:
    """Every resize and crop that the ramp's slopes and the sizes (height, width) of what is made allow."""
    width, height = SIZES[0]
    tall, wide = _near(_resized(ramp[1].T, height), ramp.shape[1]), _near(_resized(ramp[0], width), ramp.shape[2])
    crops: list[Side | None] = [None]
    if len(shapes) == 1:
        [(rows, columns)] = shapes
        crops = [rows if rows == columns else (rows, columns)]
    resizes: list[Side | None] = [None, *(tall if height < width else wide), *product(tall, wide)]
    for resize, crop, corner in product(resizes, crops, CORNERS):
        yield Preprocessing(resize, crop, corner=corner)


def _near(length: float, made: int) -> list[int]:
    """The whole numbers that a side, measured to about 0.1 %, may be: where it can be, all that was made of it."""
    slack = max(1, round(length / 1000))
    if abs(length - made) <= slack:
        return [made]
    return [n for n in range(round(length) - slack, round(length) + slack + 1) if n > 0]


def _resized(ramp: NDArray[np.float64], length: int) -> float:
    """The number of pixels that a side of this many has become, from the slope of a ramp (rows, that side)."""
    middle = slice(ramp.shape[1] // 4, max(ramp.shape[1] // 4 + 2, ramp.shape[1] * 3 // 4))
    line = ramp[ramp.shape[0] // 2, middle]
    if len(line) < 2:
        raise UnlikeError(f"it leaves {ramp.shape[1]} pixels of {length}")
    slope, start = np.polyfit(at := np.arange(len(line)), line, 1)
    if slope <= 0 or np.abs(slope * at + start - line).max() > MAX_LEVELS:
        raise UnlikeError("a ramp does not stay one (is the picture turned, filled up at a side, cut into pieces?)")
    return float(255 / (length - 1) * length / slope)


def _nearest(candidates: Iterable[Preprocessing], trials: Sequence[Trial], number: int) -> list[Preprocessing]:
    """So many of those nearest to what was made, the nearest first, of equals the earlier."""
    different = list(dict.fromkeys(candidates))
    return sorted(different, key=lambda candidate: _distance(candidate, trials))[:number]


def _distance(candidate: Preprocessing, trials: Sequence[Trial]) -> tuple[float, float]:
    """The mean and the largest difference of any picture, in levels.

    Infinite where the sizes differ or the candidate cannot be done, as Hamming's interpolation by torchvision.
    """
    transform = candidate.transform()
    average = most = 0.0
    for trial in trials:
        try:
            made = transform(trial.picture).numpy() * 255.0
        except (ValueError, NotImplementedError):
            return np.inf, np.inf
        if made.shape != trial.wanted.shape:
            return np.inf, np.inf
        difference = np.abs(made - trial.wanted)
        average, most = max(average, float(difference.mean())), max(most, float(difference.max()))
    return average, most
