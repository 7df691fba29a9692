"""A picture file -> 8-bit pixels, also where it holds 16 bits a channel."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_PNG_DEPTH = 24  # where a PNG file says how many bits a channel has


def decoded(path: Path, mode: str) -> Image.Image:
    """The picture as PIL decodes it, in 8 bits a channel; transparency is dropped.

    mode: "L" or "RGB". PNG's 16 bits a channel become 8 by rounding v / 257. PIL would cut grey ones off at 255, which
    makes nearly all of it white, and take the high byte of colours.
    Raises OSError, ValueError or RuntimeError, as the decoders do, for what is no picture.
    """
    if _is_16_bit_png(path):
        return _of_16_bits(path).convert(mode)
    with Image.open(path) as picture:
        if picture.mode.startswith(("I", "F")):
            raise ValueError(f"its pixels are of PIL's mode {picture.mode}, of no known range; save it with 8 bits")
        return picture.convert(mode)


def _is_16_bit_png(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(_PNG_DEPTH + 1)
    return head[:8] == b"\x89PNG\r\n\x1a\n" and head[_PNG_DEPTH:] == b"\x10"


def _of_16_bits(path: Path) -> Image.Image:
    """A 16-bit PNG's picture, in 8 bits, grey or in colour."""
    from torchvision.io import ImageReadMode, decode_png

    data = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8)
    pixels: Tensor = decode_png(data, ImageReadMode.UNCHANGED)
    channels = 1 if len(pixels) < 3 else 3  # of 2 or 4, the last is transparency
    levels = ((pixels[:channels].numpy().astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(levels[0] if channels == 1 else levels.transpose(1, 2, 0))
