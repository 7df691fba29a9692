"""Generated images, a column a class: a contact sheet of one generation, or several side by side."""

from __future__ import annotations

import math
from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from energylens.plots.style import ADVERSARIAL, FAINT, STYLE

ROWS = 10  # of images in a panel, at most
GAP = 1  # pixels between images
BETWEEN = 0.6  # and their grey, which neither ink nor paper is taken for


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.generation_panels`` returns; images that the model takes for another class are framed."""
    panels = list(table.groupby("panel", sort=False))
    columns = 1 if len(panels) == 1 else 2
    rows = math.ceil(len(panels) / columns)
    classes = list(dict.fromkeys(table["class"]))
    shown = min(ROWS, int(table.groupby(["panel", "class"]).size().max()))
    width = max(3.4, 0.36 * len(classes)) * columns
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, rows * (0.6 + 0.36 * shown) + 0.4))
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for axes, (name, panel) in zip(grid, panels, strict=False):
            _draw(axes, panel, table.attrs["images"], classes, shown)
            axes.set_title(f"{name}\n{panel['told'].iloc[0]}", fontsize=8)
        figure.supxlabel(fill(table.attrs["caption"], int(20 * width)), fontsize=6, color=FAINT)
    return figure


def _draw(axes: Axes, panel: pd.DataFrame, images: NDArray[np.float32], classes: list[str], shown: int) -> None:
    """One panel on one pair of axes: a mosaic, and a frame about each image of another class."""
    channels, height, width = images.shape[1:]
    high, wide = height + GAP, width + GAP
    mosaic = np.full((shown * high + GAP, len(classes) * wide + GAP, channels), BETWEEN, dtype="float32")
    frames = []
    for column, name in enumerate(classes):
        positions = panel.index[panel["class"] == name].to_numpy("int64")[:shown]
        for row, position in enumerate(positions):
            top, left = row * high + GAP, column * wide + GAP
            mosaic[top : top + height, left : left + width] = np.moveaxis(images[position], 0, -1)
            if not panel["right"][position]:
                frames.append(Rectangle((left - 0.5, top - 0.5), width, height))
    axes.imshow(mosaic.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.add_collection(PatchCollection(frames, edgecolor=ADVERSARIAL, facecolor="none", linewidth=1))
    axes.set_xticks([GAP + width / 2 + wide * column for column in range(len(classes))], classes, fontsize=5)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
