"""Quality against variability of generated images, over start, spread and steps.

What does quality cost in variability? Precision against coverage over the start, its spread and the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from energylens.data import load_data
from energylens.figures.contact_sheet import SCALES, caption, generated, scorer_of
from energylens.figures.run_cache import RunCache
from energylens.generation.generated import to_bytes
from energylens.generation.starts import STARTS
from energylens.plots.style import INK, SERIES, caption_below, in_style, legend_above

#: standard deviations; arXiv 2407.06315's code: .005, .01 and .02 of a class's 5,000 images' singular values
SPREADS = {"demo": (0.25, 0.5, 1.0, 1.5, 2.0), "paper": (0.35, 0.71, 1.41)}
STEPS = {"demo": (0, 20, 50, 100, 200), "paper": (0, 20, 30, 40, 50)}  # the paper's are 20 to 50
SCORES = ("precision", "density", "recall", "coverage")


def table(cache: RunCache) -> pd.DataFrame:
    """Over SPREADS and STEPS.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return quality_and_variability(cache, SPREADS[cache.scale], STEPS[cache.scale])


def quality_and_variability(cache: RunCache, spreads: Sequence[float], steps: Sequence[int]) -> pd.DataFrame:
    """Scores of images over the settings of their generation.

    Args:
        cache: where generations come from.
        spreads: of the starts that have one, in standard deviations.
        steps: of the chains.

    Returns:
        One row a generation: start, varied ("spread" or "steps"), at (its value) and the SCORES; the last row, start
        "real", is of as many test images. What is not varied is at its default. ``attrs["caption"]`` says what was
        done.
    """
    scorer = scorer_of(cache)
    wanted = [
        (start, varied, at)
        for start, row in STARTS.items()
        for varied, values in {"spread": spreads if row.spreads else (), "steps": steps}.items()
        for at in values
    ]
    made = [generated(cache, start=start, **{varied: at}) for start, varied, at in wanted]
    real = load_data(SCALES[cache.scale]["data"], n=len(made[0]), choose="random", data_root=cache.root)
    measured = [scorer([to_bytes(images)]) for images in (*(one.images for one in made), real.images)]
    table = pd.DataFrame([*wanted, ("real", "", 0)], columns=["start", "varied", "at"])
    table = table.join(pd.DataFrame([{name: values[name].value for name in SCORES} for values in measured]))
    table.attrs["caption"] = caption(made, scorer)
    return table


PLACES = ((4, 3), (4, -9), (-4, 4), (-4, -9))  # of a start's numbers beside its points, a corner each


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``quality_and_variability`` returns: a panel a varied setting.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    real = table[table["start"] == "real"].iloc[0]
    made = table[table["start"] != "real"]
    colours = dict(zip(made["start"].unique(), SERIES, strict=False))
    places = dict(zip(colours, cycle(PLACES), strict=False))
    figure = Figure(figsize=(7.2, 3.6))
    panels = list(made.groupby("varied"))
    for axes, (varied, panel) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        sns.lineplot(
            panel, x="coverage", y="precision", hue="start", hue_order=colours, palette=colours, sort=False,
            estimator=None, marker=".", markersize=7, markeredgewidth=0, ax=axes,
        )  # fmt: skip
        for start, line in panel.groupby("start", sort=False):
            place = {"xytext": places[start], "ha": "left" if places[start][0] > 0 else "right"}
            for _, point in line.iloc[[0, -1]].iterrows():  # of all points the numbers would cover each other
                at = point["coverage"], point["precision"]
                axes.annotate(
                    f"{point['at']:g}", at, **place, textcoords="offset points", fontsize=6, color=colours[start]
                )
        axes.plot(real["coverage"], real["precision"], marker="*", ms=10, ls="", color=INK, label="real")
        axes.set_title(f"over {varied}, {panel['at'].min():g} to {panel['at'].max():g}")
    legend_above(figure)
    caption_below(figure, table.attrs["caption"], 6)
    return figure
