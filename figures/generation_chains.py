"""E(x, y) along the chains of a generation, with the line where they stop."""

from __future__ import annotations

from textwrap import fill

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from energylens.plots.bands import lines_with_bands
from energylens.plots.style import FAINT, INK, SERIES, STYLE, legend_above


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.generation_chains.exhibit`` returns: a panel a rule."""
    colours = dict(zip(table["start"].unique(), SERIES, strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.6))
        panels = list(table.groupby("rule", sort=False))
        for axes, (rule, panel) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            lines_with_bands(axes, panel, hue="start", palette=colours)
            at, band = panel["reference"].iloc[0], panel["tolerance"].iloc[0]
            axes.axhspan(at - band, at + band, color=INK, alpha=0.1, lw=0)
            axes.axhline(at, color=INK, linestyle=(0, (4, 3)), linewidth=1, label="training images: stop")
            moving = panel.groupby("start", sort=False)["moving"].nth(-2)
            axes.set_title(f"descending {rule};\nstill moving at the end: {100 * moving.mean():.0f} %", fontsize=8)
            axes.set(xlabel="step", ylabel="$E(x, y)$  [nats]")
        legend_above(figure)
        caption = f"{table.attrs['caption']}. Lines: means; bands: quartiles, and the tolerance about the stop."
        figure.supxlabel(fill(caption, 150), fontsize=6, color=FAINT)
    return figure
