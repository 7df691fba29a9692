"""Samples in the plane of (E(x, y), E(x)), an arrow from the natural to the adversarial one, a column an attack
(arXiv 2407.06315). No sample lies above the diagonal: E(x, y) - E(x) is its cross-entropy."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.plots.style import ADVERSARIAL, FAINT, INK, NATURAL, STYLE, legend_above

ENDS = {"clean": ("natural", NATURAL), "adv": ("adversarial", ADVERSARIAL)}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``analyses.energy_plane.plane`` returns."""
    attacks = list(dict.fromkeys(table["attack"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.9 + 2.3 * max(len(attacks), 2), 3.4))
        row = figure.subplots(1, len(attacks), sharex=True, sharey=True, squeeze=False)[0]
        for axes, attack in zip(row, attacks, strict=True):
            samples = table[table["attack"] == attack]
            _arrows(axes, samples)
            axes.set(title=samples["label"].iloc[0], xlabel="$E(x, y)$  [nats]")
        row[0].set_ylabel("$E(x)$  [nats]")
        legend_above(figure, markerscale=2)
        figure.supxlabel(table.attrs["caption"], fontsize=8, color=FAINT)
    return figure


def _arrows(axes: Axes, samples: pd.DataFrame) -> None:
    """The samples of one attack, their arrows and the diagonal."""
    shown = samples[samples["shown"]]
    across, up = shown["joint_adv"] - shown["joint_clean"], shown["marginal_adv"] - shown["marginal_clean"]
    axes.quiver(
        shown["joint_clean"], shown["marginal_clean"], across, up,
        angles="xy", scale_units="xy", scale=1, color=FAINT, alpha=0.5, width=0.004, headwidth=4,
    )  # fmt: skip
    for end, (name, colour) in ENDS.items():
        sns.scatterplot(
            samples, x=f"joint_{end}", y=f"marginal_{end}", color=colour, label=name,
            s=5, alpha=0.7, linewidth=0, ax=axes,
        )  # fmt: skip
    mean = samples[["joint_clean", "marginal_clean", "joint_adv", "marginal_adv"]].mean()
    axes.annotate(
        "", (mean["joint_adv"], mean["marginal_adv"]), (mean["joint_clean"], mean["marginal_clean"]),
        arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    axes.plot([], [], color=INK, linewidth=1.6, label="mean")  # an arrow has no entry in a legend
    diagonal = (mean["marginal_clean"], mean["marginal_clean"])
    axes.axline(diagonal, slope=1, color=FAINT, linewidth=0.7, linestyle=":", label="cross-entropy 0")
    axes.autoscale_view()
