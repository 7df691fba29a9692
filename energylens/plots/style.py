"""One look for all pictures, in which the same thing always has the same colour.

It is seaborn's "ticks" theme in the size of a paper, and its colour-blind safe palette (Okabe and Ito's hues).
"""

from __future__ import annotations

from textwrap import fill
from typing import Any

import matplotlib as mpl
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
in_style = mpl.rc_context(STYLE)  # decorates what draws


def caption_below(figure: Figure, text: str, size: float = 7) -> None:
    """Write a caption under the figure, in lines that end with it.

    Args:
        figure: a figure that has its width already.
        text: the caption.
        size: of its letters, in points.
    """
    an_inch = 115 / size  # letters, a few fewer than fit
    figure.supxlabel(fill(text, int(an_inch * figure.get_figwidth())), fontsize=size, color=FAINT)


def legend_above(figure: Figure, **options: Any) -> None:
    """Put one legend of all that the panels name above the figure, instead of theirs.

    Args:
        figure: of panels whose lines, areas and points have labels.
        options: of ``Figure.legend``.
    """
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
