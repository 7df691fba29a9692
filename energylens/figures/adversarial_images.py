"""A grid of natural images, adversarial ones and the amplified difference, a column a sample."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from energylens.plots.style import FAINT, STYLE

PANEL = 1.15  # inches


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energylens.tables.adversarial_images.adversarial_images`` returns."""
    rows = {  # column of images -> how the row is called, the suffix of what the model makes of it
        "natural": ("natural", "clean"),
        "adversarial": (table.attrs["attack"], "adv"),
        "difference": (f"difference\n× {table.attrs['gain']:.3g}", ""),
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + PANEL * len(table), 0.5 + 1.25 * PANEL * len(rows)))
        grid = figure.subplots(len(rows), len(table), squeeze=False)
        for axes_of_row, (images, (label, seen)) in zip(grid, rows.items(), strict=True):
            axes_of_row[0].set_ylabel(label)
            for axes, (_, sample) in zip(axes_of_row, table.iterrows(), strict=True):
                pixels = np.moveaxis(sample[images], 0, -1).clip(0, 1)
                axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
                if seen:
                    axes.set_title(f"{sample[f'pred_{seen}']}\n$E(x)$ {sample[f'marginal_{seen}']:.1f}", fontsize=7)
        caption = f"{table.attrs['caption']}. Above each image the predicted class and its E(x) in nats."
        figure.supxlabel(caption, fontsize=7, color=FAINT)
    return figure
