"""Where does the energy go along a chain, and when does it stop? E(x, y) from each start, plain and guided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analyses.generation_panels import caption, generated
from analyses.lab import Lab
from energylens.generation.generated import Generated
from energylens.generation.starts import STARTS

STOPPED: dict[str, Any] = {"stop": "reference-energy"}
RULES: Mapping[str, Mapping[str, Any]] = {  # what is descended
    "E(x, y)": STOPPED,
    "(E(x, y) - training)²": {"guidance": "reference-energy", **STOPPED},
}


def exhibit(lab: Lab, **settings: Any) -> pd.DataFrame:
    """E(x, y) of every iterate: rule (of RULES), start, step (0 is the start), mean, low, high (quartiles over the
    samples; one that has stopped keeps its energy), moving (the share that still does), reference (the mean over the
    samples' classes of their training energies), tolerance (nats to either side of it).

    settings: of the generation. ``attrs["caption"]`` says what was done.
    """
    tables, made = [], []
    for rule, own in RULES.items():
        for start in STARTS:
            one = generated(lab, start=start, **settings, **own)
            tables.append(_followed(one).assign(rule=rule, start=start))
            made.append(one)
    table = pd.concat(tables, ignore_index=True)
    table.attrs["caption"] = caption(made)
    return table


def _followed(one: Generated) -> pd.DataFrame:
    paths, steps = one.rows["joint_path"], one.rows["steps"].to_numpy()
    length = int(one.settings["steps"]) + 1
    held = np.stack([np.pad(path, (0, length - len(path)), mode="edge") for path in paths]).astype("float64")
    low, high = np.quantile(held, [0.25, 0.75], axis=0)
    return pd.DataFrame(
        {
            "step": np.arange(length),
            "mean": held.mean(axis=0),
            "low": low,
            "high": high,
            "moving": [(steps > step).mean() for step in range(length)],
            "reference": one.as_numbers()[-1]["reference"],
            "tolerance": float(one.settings["tolerance"]) ** 0.5,
        }
    )
