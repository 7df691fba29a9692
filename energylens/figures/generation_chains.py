"""E(x, y) along the chains of a generation, with the line where they stop.

Where does the energy go along a chain, and when does it stop? E(x, y) from each start, plain and guided.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from energylens.figures.contact_sheet import caption, generated
from energylens.figures.run_cache import RunCache
from energylens.generation.generated import Generated
from energylens.generation.starts import STARTS
from energylens.plots.bands import lines_with_bands, quartiles
from energylens.plots.style import INK, SERIES, caption_below, in_style, legend_above

STOPPED: dict[str, Any] = {"stop": "reference-energy"}
RULES: Mapping[str, Mapping[str, Any]] = {  # what is descended
    "E(x, y)": STOPPED,
    "(E(x, y) - training)²": {"guidance": "reference-energy", **STOPPED},
}


def table(cache: RunCache, **settings: Any) -> pd.DataFrame:
    """E(x, y) of every iterate of the chains.

    Args:
        cache: where generations come from.
        settings: of the generation.

    Returns:
        One row a rule (of RULES), start and step: step (0 is the start), mean, low, high (quartiles over the samples,
        nats; one that has stopped keeps its energy), moving (the share that still does), reference (the mean over the
        samples' classes of their training energies, nats), tolerance (nats to either side of it), rule, start.
        ``attrs["caption"]`` says what was done.
    """
    pairs = list(product(RULES, STARTS))
    made = [generated(cache, start=start, **settings, **RULES[rule]) for rule, start in pairs]
    tables = [_followed(one).assign(rule=rule, start=start) for one, (rule, start) in zip(made, pairs, strict=True)]
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = caption(made)
    return table


def _followed(one: Generated) -> pd.DataFrame:
    length = int(one.settings["steps"]) + 1
    paths = [np.pad(path, (0, length - len(path)), mode="edge") for path in one.rows["joint_path"]]
    return quartiles(np.stack(paths).astype("float64")).assign(
        moving=[(one.rows["steps"] > step).mean() for step in range(length)],
        reference=one.as_numbers()[-1]["reference"],
        tolerance=float(one.settings["tolerance"]) ** 0.5,
    )


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``table`` returns: a panel a rule.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    colours = dict(zip(table["start"].unique(), SERIES, strict=False))
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
    told = "Lines: means; bands: quartiles, and the tolerance about the stop."
    caption_below(figure, f"{table.attrs['caption']}. {told}", 6)
    return figure
