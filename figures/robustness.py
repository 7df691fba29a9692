"""The robustness table, a line a model: clean, PGD and AutoAttack with their intervals, published beside ours."""

from __future__ import annotations

import pandas as pd


def draw(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange what ``analyses.robustness.robustness`` returns, as text."""
    rows = []
    for model, group in table.groupby("model", sort=False):
        cells = {"model": str(model), "n": str(group["n"].iloc[0])}
        for row in group.to_dict("records"):
            cells[row["attack"]] = f"{row['accuracy']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
            if group["published"].notna().any():
                published = row["published"]
                cells[f"{row['attack']}, published"] = f"{published:.2f}" if published == published else ""
        rows.append(cells)
    return pd.DataFrame(rows).fillna("")
