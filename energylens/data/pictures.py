"""A picture file -> 8-bit pixels, also where it holds 16 bits a channel."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_HIGH, _LOW = ";16B", ";16L"  # PIL's decoders for the first and, of PNG's byte order, the second byte of 16 bits


def decoded(path: Path, mode: str) -> Image.Image:
    """The picture as PIL decodes it, in 8 bits a channel; transparency is dropped.

    16 bits a channel become 8 by rounding v / 257. PIL's own conversion cuts grey ones off at 255, which makes nearly
    all of it white, and takes the high byte of colours, which is up to one level too dark.

    Args:
        path: of the file.
        mode: "L" or "RGB".

    Returns:
        The picture in that mode.

    Raises:
        OSError: as of PIL, for what is no picture.
        ValueError: as of PIL, and for pixels that are neither of 8 nor of 16 bits.
    """
    with Image.open(path) as picture:
        if picture.mode.startswith(("I", "F")):
            return Image.fromarray(_of_16_bits(np.asarray(picture))).convert(mode)
        if picture.mode in ("RGB", "RGBA") and _HIGH in _raw_mode(picture):
            return Image.fromarray(_colours_of_16_bits(picture, path)).convert(mode)
        return picture.convert(mode)


def _of_16_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """0 to 65535 -> 0 to 255; ValueError for values of another range."""
    if values.min() < 0 or values.max() > 65535 or values.dtype.kind == "f":
        raise ValueError("its pixels are neither of 8 nor of 16 bits: save it with 8")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _raw_mode(picture: Image.Image) -> str:
    """How the pixels lie in the file, by PIL's name; "" where it does not say."""
    tiles = getattr(picture, "tile", [])
    return str(tiles[0][3]) if tiles else ""


def _colours_of_16_bits(picture: Image.Image, path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) of a picture that PIL would give the high bytes of; its low bytes come from decoding it again."""
    with Image.open(path) as again:
        tiles = vars(again)["tile"]
        tiles[:] = [(*tile[:3], tile[3].replace(_HIGH, _LOW)) for tile in tiles]
        low = np.asarray(again).astype(np.uint32)
    return _of_16_bits(np.asarray(picture).astype(np.uint32) * 256 + low)[..., :3]
