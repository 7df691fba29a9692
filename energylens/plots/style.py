"""One matplotlib style: colour-blind safe, legible at a column's width, the same colours for the same things."""

from __future__ import annotations

from typing import Any

NATURAL = "#56B4E9"  # sky blue and vermillion of Okabe & Ito's palette
ADVERSARIAL = "#D55E00"
ERROR = "#0072B2"  # blue, bluish green and reddish purple of the same palette
DELTA = "#009E73"
ABNORMAL = "#CC79A7"
SERIES = (ERROR, ADVERSARIAL, DELTA, "#E69F00", ABNORMAL, NATURAL, "#000000")  # where colours only tell things apart
INK = "#222222"
FAINT = "#8A8A8A"

STYLE: Any = {  # matplotlib types the keys one by one
    "figure.dpi": 110,
    "savefig.dpi": 220,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "pdf.fonttype": 42,  # text stays text in the PDF
}
