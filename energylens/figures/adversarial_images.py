"""A grid of natural images, adversarial ones and the amplified difference, a column a sample."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from energylens.plots.images import show_image
from energylens.plots.style import caption_below, in_style

PANEL = 1.15  # inches


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energylens.tables.adversarial_images.adversarial_images`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    rows = {  # column of images -> how the row is called, the suffix of what the model makes of it
        "natural": ("natural", "clean"),
        "adversarial": (table.attrs["attack"], "adv"),
        "difference": (f"difference\n× {table.attrs['gain']:.3g}", ""),
    }
    figure = Figure(figsize=(0.6 + PANEL * len(table), 0.5 + 1.25 * PANEL * len(rows)))
    grid = figure.subplots(len(rows), len(table), squeeze=False)
    for axes_of_row, (images, (label, seen)) in zip(grid, rows.items(), strict=True):
        for axes, (_, sample) in zip(axes_of_row, table.iterrows(), strict=True):
            show_image(axes, sample[images].clip(0, 1))
            if seen:
                axes.set_title(f"{sample[f'pred_{seen}']}\n$E(x)$ {sample[f'marginal_{seen}']:.1f}", fontsize=7)
        axes_of_row[0].set_ylabel(label)
    caption_below(figure, f"{table.attrs['caption']}. Above each image the predicted class and its E(x) in nats.")
    return figure
