"""Where the rows of one attack are kept while a profile runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd

from energylens.record import empty_rows


class Store(Protocol):
    """Rows of one attack on one model and data set: a run folder, or memory."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the rows are of."""

    def rows(self) -> pd.DataFrame:
        """Every finished row, in the schema of the record."""

    def seconds(self) -> float:
        """What the finished rows took to compute."""

    def write(self, rows: pd.DataFrame, seconds: float) -> None:
        """Add a block of rows."""


@dataclass
class Memory:
    """A store that is gone with the process."""

    manifest: Mapping[str, Any]
    _blocks: list[pd.DataFrame] = field(default_factory=list)
    _seconds: float = 0.0

    def rows(self) -> pd.DataFrame:
        return pd.concat(self._blocks, ignore_index=True) if self._blocks else empty_rows()

    def seconds(self) -> float:
        return self._seconds

    def write(self, rows: pd.DataFrame, seconds: float) -> None:
        self._blocks.append(rows)
        self._seconds += seconds
