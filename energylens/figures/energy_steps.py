"""Energy against the steps of an attack, PGD beside HE-PGD (arXiv 2304.04033, figure 4).

Where do an attack's energies go, step by step? E(x') and E(x', y) of every iterate (arXiv 2304.04033).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.errors import InputError
from energylens.figures.run_cache import RunCache
from energylens.plots.bands import lines_with_bands, quartiles
from energylens.plots.style import INK, SERIES, caption_below, in_style, legend_above
from energylens.records.record import PATH_COLUMNS, Record

TITLES = {"marginal": "$E(x')$", "joint": "$E(x', y)$"}
COLUMNS = ("attack", "label", "energy", "step", "mean", "low", "high", "natural")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-standard", "n": 256},
    "paper": {"model": "Standard", "data": "cifar10", "eps": "8/255", "n": 1000},
}


def table(cache: RunCache) -> pd.DataFrame:
    """PGD, which leaves a trace, beside HE-PGD, which hides it, 40 steps each.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    attacks = ("pgd,steps=40", "he-pgd,steps=40")
    return energy_against_steps(cache.profile(attacks=attacks, trajectory=True, **SCALES[cache.scale]))


def energy_against_steps(record: Record) -> pd.DataFrame:
    """The energies of the iterates of every traced attack in a record.

    Args:
        record: profiled with ``trajectory=True``.

    Returns:
        One row a step: attack, label, energy (marginal or joint), step (0 is the attack's start), mean, low and high
        (the quartiles over the samples), natural (the mean of the natural images), all in nats. ``attrs["caption"]``
        says what was measured.

    Raises:
        InputError: no attack of the record was traced.
    """
    traced = [attack for attack in record.attacks if PATH_COLUMNS[0] in attack.rows]
    if not traced:
        raise InputError(
            "no attack of this record tells the energies of its steps: take attacks that iterate (pgd, he-pgd, trades, "
            "fgsm ...) and profile with trajectory=True (--trajectory)"
        )
    tables = []
    for attack, (energy, column) in product(traced, zip(TITLES, PATH_COLUMNS, strict=True)):
        band = quartiles(np.stack(attack.rows[column].to_list()).astype("float64"))
        natural = attack.rows[f"{energy}_clean"].astype("float64").mean()
        tables.append(band.assign(attack=attack.name, label=attack.label, energy=energy, natural=natural))
    table = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    table.attrs["caption"] = record.caption
    return table


@in_style
def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energy_against_steps`` returns.

    Args:
        table: as that function returns it, its caption in ``attrs``.

    Returns:
        The picture.
    """
    labels = table["label"].unique()
    colours = dict(zip(labels, SERIES * len(labels), strict=False))
    figure = Figure(figsize=(7.2, 3.2))
    for axes, (energy, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        here = table[table["energy"] == energy]
        lines_with_bands(axes, here, hue="label", palette=colours, marker=".", markersize=5, markeredgewidth=0)
        axes.axhline(here["natural"].iloc[0], color=INK, linestyle=(0, (4, 3)), linewidth=1, label="natural")
        axes.set(xlabel="step", ylabel=f"{title}  [nats]")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02)
    legend_above(figure, ncols=min(len(labels) + 1, 4))
    caption_below(figure, f"{table.attrs['caption']}. Lines: means; bands: quartiles.", 8)
    return figure
