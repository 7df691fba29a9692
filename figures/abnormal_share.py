"""The share of abnormal adversarial examples around a collapse, step by step, beside FGSM accuracy on the training
images and PGD accuracy on the test images (arXiv 2505.22486; 2404.08154)."""

from __future__ import annotations

import textwrap
from typing import Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from energylens.plots.style import ABNORMAL, ERROR, FAINT, STYLE

CURVES: dict[str, tuple[str, Literal["-", "--"], str]] = {
    "abnormal_share": (ABNORMAL, "-", "AAE share, training"),
    "train_adv_accuracy": (FAINT, "--", "FGSM accuracy, training"),
}
LETTERS = 75  # of the caption's line


def draw(table: pd.DataFrame) -> Figure:
    """Draw the rows of ``analyses.overfitting.falls`` of one arm."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.5))
        axes = figure.subplots()
        for _, seed in table.groupby("seed"):
            for column, (colour, style, _) in CURVES.items():
                axes.plot(seed["from_fall"], seed[column], color=colour, linestyle=style, linewidth=1.3)
            judged = seed.dropna(subset="test_pgd")
            axes.plot(judged["from_fall"], judged["test_pgd"], color=ERROR, marker="o", markersize=3, linewidth=1.3)
        axes.axvline(0, color=FAINT, linewidth=0.7, linestyle=":")
        axes.set(xlabel="epochs since the evaluation that shows the collapse", ylabel="[%]", ylim=(-3, 103))
        handles = [Line2D([], [], color=colour, linestyle=style, label=name) for colour, style, name in CURVES.values()]
        handles.append(Line2D([], [], color=ERROR, marker="o", markersize=3, label="PGD accuracy, test"))
        figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)
        figure.supxlabel(textwrap.fill(f"{table.attrs['caption']} A line a seed.", LETTERS), fontsize=6, color=FAINT)
    return figure
