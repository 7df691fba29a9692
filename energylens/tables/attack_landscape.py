"""Where does an attack put a sample's energies?

Histograms of E(x) and E(x, y), natural and adversarial, an attack a column (arXiv 2407.06315, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from energylens.errors import InputError
from energylens.records.record import Record

COLUMNS = ("attack", "label", "energy", "series", "left", "right", "count", "density", "mean")
ENERGIES = ("marginal", "joint")
SERIES = {"natural": "clean", "adversarial": "adv"}  # the word in a figure, the suffix in the record
PAPER_BINS: dict[str, Any] = {"bins": 199, "limits": (-50.0, 20.0)}  # the paper's linspace(-50, 20, 200), nats
FEWEST, MOST = 16, 200  # bins, where their number follows from the samples
A_ROOT = 4  # and to the square root of the samples: a hundred that an attack spreads wide must not fall apart


def landscape(record: Record, *, bins: int | None = None, limits: tuple[float, float] | None = None) -> pd.DataFrame:
    """The binned energies of every attack in a record.

    Args:
        record: of one model.
        bins: how many; by default Freedman and Diaconis' rule on the natural energies, within FEWEST and the lesser of
            MOST and A_ROOT sqrt(n).
        limits: (low, high) of the energies in nats, by default all of them; what lies outside is counted in no bin.

    Returns:
        One row a bin: attack, label, energy (marginal or joint), series (natural or adversarial), left, right (nats),
        count, density (a nat), mean (of the whole series, nats). ``attrs["caption"]`` says what was measured.

    Raises:
        InputError: the limits are no range, or no energy lies within them.
    """
    frame = record.frame()
    tables = []
    for energy in ENERGIES:
        edges = _edges(frame, energy, bins, limits)
        for attack in record.attacks[1:]:
            for series, suffix in SERIES.items():
                values = attack.rows[f"{energy}_{suffix}"].to_numpy("float64")
                count, _ = np.histogram(values, edges)
                table = pd.DataFrame({"left": edges[:-1], "right": edges[1:], "count": count})
                table["density"] = count / (len(values) * np.diff(edges))
                whose = {"attack": attack.name, "label": attack.label, "energy": energy, "series": series}
                tables.append(table.assign(**whose, mean=values.mean()))
    table = pd.concat(tables, ignore_index=True)[list(COLUMNS)]
    table.attrs["caption"] = record.caption
    return table


def landscapes(records: Sequence[Record], **how: Any) -> pd.DataFrame:
    """The landscapes of several models side by side; of one, its own.

    Args:
        records: one a model.
        how: ``bins`` and ``limits``, as ``landscape`` takes them.

    Returns:
        What ``landscape`` returns, the model's name before those of its attacks.

    Raises:
        InputError: as ``landscape``.
    """
    tables = [landscape(record, **how) for record in records]
    if len(tables) == 1:
        return tables[0]
    for record, table in zip(records, tables, strict=True):
        for name in ("attack", "label"):
            table[name] = f"{record.model}: " + table[name]
    together = pd.concat(tables, ignore_index=True)
    together.attrs["caption"] = "; ".join(table.attrs["caption"] for table in tables)
    return together


def _edges(
    frame: pd.DataFrame, energy: str, bins: int | None, limits: tuple[float, float] | None
) -> NDArray[np.float64]:
    """Bin edges shared by all attacks of one energy."""
    natural = frame.loc[frame["attack"] == "natural", f"{energy}_clean"].to_numpy("float64")
    values = np.concatenate([natural, frame[f"{energy}_adv"].to_numpy("float64")])
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    if limits is not None and not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"a range goes from a lower to a higher energy, such as -50 20; got {low:g} {high:g}")
    if not ((values >= low) & (values <= high)).any():
        raise InputError(
            f"no {energy} energy lies from {low:g} to {high:g}: they go from {values.min():.1f} to {values.max():.1f}"
        )
    if bins is None:
        quarter, three_quarters = np.quantile(natural, [0.25, 0.75])
        width = 2 * (three_quarters - quarter) / len(natural) ** (1 / 3)
        most = max(FEWEST, min(MOST, A_ROOT * len(natural) ** 0.5))
        bins = int(np.clip((high - low) / width if width > 0 else FEWEST, FEWEST, most))
    return np.histogram_bin_edges(values, bins, (low, high))  # half a nat to each side of one energy for all
