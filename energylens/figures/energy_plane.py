"""Samples in the plane of (E(x, y), E(x)), an arrow from natural to adversarial; none lies above the diagonal.

An attack is a column (arXiv 2407.06315). No sample lies above the diagonal because E(x, y) - E(x) is its cross-entropy.

Which way does an attack move a sample in the plane of (E(x, y), E(x))? (arXiv 2407.06315.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.plots.style import ADVERSARIAL, FAINT, INK, NATURAL, caption_below, in_style, legend_above
from energylens.records.record import Record

THREE = ("pgd", "trades", "cw")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-standard", "attacks": THREE, "n": 256},
    "paper": {"model": "Standard", "data": "cifar10", "attacks": THREE, "eps": "8/255", "n": 1000},
}
COLUMNS = ["index", "joint_clean", "marginal_clean", "joint_adv", "marginal_adv", "success"]
ARROWS = 120  # more of them are a tangle


def table(cache: RunCache) -> pd.DataFrame:
    """The plane under PGD, TRADES-KL and C&W.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return plane(cache.profile(**SCALES[cache.scale]))


def plane(record: Record, *, arrows: int = ARROWS) -> pd.DataFrame:
    """The samples of every attack of a record.

    Args:
        record: of one model.
        arrows: how many samples of each attack, chosen evenly, have an arrow.

    Returns:
        One row a sample and attack: attack, label, index, joint_clean, marginal_clean, joint_adv, marginal_adv (nats),
        success, shown (whether it has an arrow). ``attrs["caption"]`` says what was measured.
    """
    tables = []
    for attack in record.attacks[1:]:
        rows = attack.rows[COLUMNS].astype(dict.fromkeys(COLUMNS[1:5], "float64"))
        evenly = np.linspace(0, len(rows) - 1, min(arrows, len(rows))).astype(int)
        tables.append(rows.assign(attack=attack.name, label=attack.label, shown=rows.index.isin(rows.index[evenly])))
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = record.caption
    return table


ENDS = {"clean": ("natural", NATURAL), "adv": ("adversarial", ADVERSARIAL)}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``plane`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    attacks = list(dict.fromkeys(table["attack"]))
    figure = Figure(figsize=(0.9 + 2.3 * max(len(attacks), 2), 3.4))
    row = figure.subplots(1, len(attacks), sharex=True, sharey=True, squeeze=False)[0]
    for axes, attack in zip(row, attacks, strict=True):
        samples = table[table["attack"] == attack]
        _arrows(axes, samples)
        axes.set(title=samples["label"].iloc[0], xlabel="$E(x, y)$  [nats]")
    row[0].set_ylabel("$E(x)$  [nats]")
    legend_above(figure, markerscale=2)
    caption_below(figure, table.attrs["caption"], 8)
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
