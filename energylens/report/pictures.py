"""Images inside the page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def data_uri(image: NDArray[np.floating[Any]]) -> str:
    """A PNG as ``data:`` address.

    Args:
        image: (C, H, W) in [0, 1], clipped to it, C 1 or 3.

    Returns:
        The address, for the ``src`` of an ``img``.
    """
    levels = (np.moveaxis(image, 0, -1).clip(0, 1) * 255).round().astype("uint8")
    with io.BytesIO() as file:
        Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels).save(file, "PNG")
        return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
