"""WEAT's weight w(x) = 1 / log(1 + exp|E(x)|) over the energies of natural images.

Which samples does WEAT weigh? Its weight against E(x), over the energies that a model's images have
(arXiv 2407.06315).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from energylens.figures.run_cache import RunCache
from energylens.plots.style import ADVERSARIAL, INK, NATURAL, caption_below, in_style, legend_above
from energylens.records.record import Record
from energylens.training.methods import weat_weight

SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-pgd", "n": 500},
    "paper": {"model": "Rade2021Helper_R18_ddpm", "data": "cifar10", "n": 10_000},
}
BINS = 24


def table(cache: RunCache) -> pd.DataFrame:
    """The weight over the natural test images of a robust model.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return weights(cache.profile(attacks="fgsm", **SCALES[cache.scale]))


def weights(record: Record) -> pd.DataFrame:
    """The natural images of a record in bins of E(x).

    Args:
        record: of one model.

    Returns:
        One row a bin: left, right (nats), right_share and wrong_share (% of all images, rightly and wrongly
        classified), weight (w at the bin's middle). ``attrs["caption"]`` says what was measured.
    """
    rows = record.frame().query("attack == 'natural'")
    energies, wrong = rows["marginal_clean"].to_numpy("float64"), rows["pred_clean"].ne(rows["label"]).to_numpy()
    edges = np.linspace(min(energies.min(), -1.0), max(energies.max(), 0.0), BINS + 1)
    middle = torch.tensor((edges[:-1] + edges[1:]) / 2)
    logits = torch.stack([-middle, torch.full_like(middle, -torch.inf)], dim=1)  # of one class: E(x) is minus its logit
    table = pd.DataFrame({"left": edges[:-1], "right": edges[1:]})
    for name, chosen in (("right_share", ~wrong), ("wrong_share", wrong)):
        table[name] = 100 * np.histogram(energies[chosen], edges)[0] / len(energies)
    table["weight"] = weat_weight(logits).numpy()
    table.attrs["caption"] = f"{record.model_title} on {record.dataset}, n = {len(record)} natural test images"
    return table


NAMES = {"wrong_share": "misclassified", "right_share": "classified rightly"}  # from the top of the stack
COLOURS = {"misclassified": ADVERSARIAL, "classified rightly": NATURAL}


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``weights`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    figure = Figure(figsize=(4.6, 3.2))
    axes = figure.subplots()
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    edges = [*table["left"], table["right"].iloc[-1]]
    bins = table.assign(middle=(table["left"] + table["right"]) / 2).rename(columns=NAMES)
    sns.histplot(
        bins.melt("middle", list(COLOURS)), x="middle", weights="value", bins=edges, hue="variable",
        palette=COLOURS, multiple="stack", element="step", alpha=0.9, linewidth=0, ax=axes,
    )  # fmt: skip
    sns.lineplot(bins, x="middle", y="weight", color=INK, linewidth=1.8, label="weight", ax=right)
    axes.set(xlabel="$E(x)$  [nats]", ylabel="images  [%]", xlim=(edges[0], edges[-1]))
    right.set(ylabel="weight $w(x)$", ylim=(0, None))
    legend_above(figure)
    caption_below(figure, table.attrs["caption"], 8)
    return figure
