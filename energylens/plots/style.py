"""One look for all pictures, in which the same thing always has the same colour.

It is seaborn's "ticks" theme in the size of a paper, and its colour-blind safe palette (Okabe and Ito's hues).
"""

from __future__ import annotations

from typing import Any

import seaborn as sns
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, *_, SKY = sns.color_palette("colorblind").as_hex()
NATURAL, ADVERSARIAL = SKY, VERMILLION
ERROR, DELTA, ABNORMAL = BLUE, GREEN, PURPLE
SERIES = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, "#000000")  # where colours only tell things apart
INK = "#262626"  # the theme's
FAINT = "#8A8A8A"
THIN = {"axes.linewidth": 0.7, "xtick.major.width": 0.8, "ytick.major.width": 0.8}
SHORT = {"xtick.major.size": 3.5, "ytick.major.size": 3.5}

STYLE: Any = {  # matplotlib types the keys one by one
    **sns.axes_style("ticks", {"axes.edgecolor": FAINT, "axes.spines.top": False, "axes.spines.right": False}),
    **sns.plotting_context("paper", 0.93, THIN | SHORT),
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text in the PDF
}


def legend_above(figure: Figure, **options: Any) -> None:
    """One legend above the figure of all that its panels name, instead of theirs. options: of ``Figure.legend``."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        entries: list[tuple[Any, str]] = list(zip(*axes.get_legend_handles_labels(), strict=True))
        if legend := axes.get_legend():  # histplot names nothing but there
            texts = [text.get_text() for text in legend.get_texts()]
            entries += zip(legend.legend_handles, texts, strict=True)
            legend.remove()
        for handle, name in entries:
            named.setdefault(name, handle)
    given: Any = {"loc": "outside upper center", "ncols": len(named)} | options
    figure.legend(list(named.values()), list(named), **given)
