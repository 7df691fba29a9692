"""Energy against the steps of an attack, PGD beside HE-PGD (arXiv 2304.04033, figure 4).

Where do an attack's energies go, step by step? E(x') and E(x', y) of every iterate (arXiv 2304.04033).
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energylens.errors import InputError
from energylens.figures.run_cache import RunCache
from energylens.plots.bands import lines_with_bands
from energylens.plots.style import FAINT, INK, SERIES, STYLE, legend_above
from energylens.records.record import PATH_COLUMNS, Record

ENERGIES = ("marginal", "joint")
SCALES: dict[str, dict[str, Any]] = {
    "demo": {"model": "digits-standard", "n": 256},
    "paper": {"model": "Standard", "data": "cifar10", "eps": "8/255", "n": 1000},
}


def table(cache: RunCache) -> pd.DataFrame:
    """PGD, which leaves a trace, beside HE-PGD, which hides it, 40 steps each."""
    attacks = ("pgd,steps=40", "he-pgd,steps=40")
    return energy_against_steps(cache.profile(attacks=attacks, trajectory=True, **SCALES[cache.scale]))


def energy_against_steps(record: Record) -> pd.DataFrame:
    """The energies of the iterates of every traced attack in a record.

    Returns one row a step: attack, label, energy (marginal or joint), step (0 is the attack's start), mean, low and
    high (the quartiles over the samples), natural (the mean of the natural images), all in nats. ``attrs["caption"]``
    says what was measured. Raises InputError where no attack of the record was traced.
    """
    traced = [attack for attack in record.attacks if PATH_COLUMNS[0] in attack.rows]
    if not traced:
        raise InputError(
            "no attack of this record tells the energies of its steps: take attacks that iterate (pgd, he-pgd, trades, "
            "fgsm ...) and profile with trajectory=True (--trajectory)"
        )
    tables = []
    for attack in traced:
        for energy, column in zip(ENERGIES, PATH_COLUMNS, strict=True):
            paths = np.stack(attack.rows[column].to_list()).astype("float64")
            low, high = np.quantile(paths, [0.25, 0.75], axis=0)
            tables.append(
                pd.DataFrame(
                    {
                        "attack": attack.name,
                        "label": attack.label,
                        "energy": energy,
                        "step": np.arange(paths.shape[1]),
                        "mean": paths.mean(axis=0),
                        "low": low,
                        "high": high,
                        "natural": attack.rows[f"{energy}_clean"].astype("float64").mean(),
                    }
                )
            )
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = (
        f"{record.model_title} on {record.dataset}, n = {len(record)}, {record.threat}, seed {record.seed}"
    )
    return table


TITLES = {"marginal": "$E(x')$", "joint": "$E(x', y)$"}


def draw(table: pd.DataFrame) -> Figure:
    """Draw what ``energy_against_steps`` returns."""
    labels = table["label"].unique()
    colours = dict(zip(labels, SERIES * len(labels), strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2))
        for axes, (energy, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
            here = table[table["energy"] == energy]
            lines_with_bands(axes, here, hue="label", palette=colours, marker=".", markersize=5, markeredgewidth=0)
            axes.axhline(here["natural"].iloc[0], color=INK, linestyle=(0, (4, 3)), linewidth=1, label="natural")
            axes.set(xlabel="step", ylabel=f"{title}  [nats]")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.margins(x=0.02)
        legend_above(figure, ncols=min(len(labels) + 1, 4))
        figure.supxlabel(f"{table.attrs['caption']}. Lines: means; bands: quartiles.", fontsize=8, color=FAINT)
    return figure
