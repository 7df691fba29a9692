"""The table of published numbers beside ours, a line a claim, with where the published one is from.

Are our numbers the papers'? At demo scale as RESULTS.md records them, at the papers' those of RobustBench's models.
"""

from __future__ import annotations

import pandas as pd

from energylens.figures import robustness
from energylens.figures.run_cache import RunCache
from energylens.figures.studies import RECORDS

COLUMNS = ("claim", "seed", "ours", "paper", "provenance", "threshold", "verdict")


def table(cache: RunCache) -> pd.DataFrame:
    """COLUMNS, all in words: at demo scale of the claims of RESULTS.md, else of RobustBench's models.

    provenance is of the paper's number, threshold is what of it is asked of ours. ``attrs["caption"]`` says what they
    are.

    Args:
        cache: where runs come from and are kept; its scale says how large they are.

    Returns:
        What ``draw`` takes, its caption in ``attrs``.
    """
    return of_models(robustness.table(cache)) if cache.scale == "paper" else of_claims()


def of_claims() -> pd.DataFrame:
    """The claims with a paper's number, as they were recorded: `python -m analyses.claims` measures them again.

    Returns:
        COLUMNS, a row a claim.
    """
    lines = pd.read_csv(RECORDS / "claims.csv", dtype=str, keep_default_na=False)
    found = lines.loc[lines["threshold"] != "", list(COLUMNS)].reset_index(drop=True)
    found.attrs["caption"] = (
        "ours on the data and networks that each claim names, the papers' on CIFAR-10 and larger networks unless a "
        "formula is compared: sign and order compare, sizes do not. Recorded, not computed now: "
        "python -m analyses.claims --write"
    )
    return found


def of_models(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``robustness.robustness`` that RobustBench publishes an accuracy of.

    Args:
        table: of ``robustness.robustness``.

    Returns:
        COLUMNS, a row a model and attack.
    """
    rows = []
    for row in table.dropna(subset="published").to_dict("records"):
        within = "within" if row["low"] <= row["published"] <= row["high"] else "OUTSIDE"
        claim = f"{row['model']}: {row['attack']} accuracy"
        ours = f"{row['accuracy']:.2f} % ({row['low']:.2f} to {row['high']:.2f})"
        told = "RobustBench's model_info", "within our 95 % interval", f"{within} our 95 % interval, n = {row['n']}"
        rows.append((claim, "0", ours, f"{row['published']:.2f} %", *told))
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    found.attrs["caption"] = table.attrs["caption"]
    return found


def draw(table: pd.DataFrame) -> pd.DataFrame:
    """What ``table`` returns is text already.

    Args:
        table: as ``table`` returns it.

    Returns:
        The cells, all of them text.
    """
    return table
