"""The table of generated images' scores, a line a start and guidance; published ones beside them where there are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd


def draw(table: pd.DataFrame) -> pd.DataFrame:
    """Arrange what ``analyses.generation_scores.exhibit`` returns, as text."""
    lines = []
    for (images, guidance), rows in table.groupby(["images", "guidance"], sort=False):
        line = {"images": str(images), "guidance": str(guidance), "n": str(rows["n"].iloc[0] or "")}
        for row in rows.to_dict("records"):
            name = row["score"].replace("_", " ")
            line[name] = _told(row)
            if table["published"].notna().any():
                line[f"{name}, published [N]"] = "" if pd.isna(row["published"]) else f"{row['published']:.2f}"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def _told(row: Mapping[Hashable, Any]) -> str:
    """``12.3 ± 0.4``, the number, or nothing."""
    if pd.isna(row["value"]):
        return ""
    half = "" if pd.isna(row["low"]) else f" ± {_rounded((row['high'] - row['low']) / 2, 2)}"
    return f"{_rounded(row['value'], 3)}{half}"


def _rounded(number: float, digits: int) -> str:
    """To so many significant digits, without an exponent."""
    return f"{float(f'{number:.{digits}g}'):g}"
