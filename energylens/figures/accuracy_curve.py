"""Robust accuracy against the radius, with E(x) and E(x, y) of the adversarial images below it.

How far does a model stand, and what do the images that fool it look like to its energies on the way?
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.plots.style import SERIES, caption_below, in_style, legend_above

PANELS = {"accuracy": "accuracy  [%]", "marginal": "$E(x)$  [nats]", "joint": "$E(x, y)$  [nats]"}
MARKERS = "osD^vP"  # one a model, where there are several: colours tell the attacks


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw the table of a curve.

    Args:
        table: as ``energylens.curves.Curve`` has it, its caption in ``attrs``.

    Returns:
        Panels below each other, of accuracy and, where an attack tells them, of the two energies.
    """
    energies = [name for name in ("marginal", "joint") if table.loc[table["eps"] > 0, name].notna().any()]
    panels = ["accuracy", *energies]
    figure = Figure(figsize=(5.4, 1.1 + 2.1 * len(panels)))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[1.5, *[1.0] * len(energies)])
    several = table["model"].nunique() > 1
    for number, ((model, _), own) in enumerate(table.groupby(["model", "attack"], sort=False)):
        name = own["label"].iloc[0]
        label = f"{model}: {name}" if several else str(name)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            _line(axes, own, panel, label, SERIES[number % len(SERIES)], MARKERS[number // len(SERIES) % len(MARKERS)])
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        axes.set_ylabel(PANELS[panel])
    grid[0, 0].set_ylim(0, 102)
    norm = {"linf": "L_\\infty", "l2": "L_2", "l1": "L_1"}[table["norm"].iloc[0]]
    grid[-1, 0].set_xlabel(f"radius in ${norm}$")
    grid[-1, 0].set_xlim(0, None)
    legend_above(figure, ncols=1 if several else min(3, table["attack"].nunique()))
    caption_below(figure, f"{table.attrs['caption']}. Bands: 95 % intervals of the accuracy.")
    return figure


def _line(axes: Axes, rows: pd.DataFrame, panel: str, label: str, colour: str, marker: str) -> None:
    """One curve in one panel; a smallest perturbation makes steps as fine as its radii, dashed."""
    told = rows[rows[panel].notna()]
    if panel != "accuracy" and len(told) < 2:
        return
    factor = 100 if panel == "accuracy" else 1
    dashed = rows["kind"].iloc[0] != "fixed radius"
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3.5}
    style["linestyle"] = (0, (4, 2)) if dashed else "-"
    axes.plot(told["eps"], factor * told[panel], label=label, **style)
    if panel == "accuracy":
        axes.fill_between(told["eps"], 100 * told["low"], 100 * told["high"], color=colour, alpha=0.15, linewidth=0)
