"""Keep a figure with the numbers it draws."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from energylens.errors import RunError
from energylens.plots.style import STYLE


def save_figure(figure: Figure, path: Path, table: pd.DataFrame) -> list[Path]:
    """Write ``path`` as PNG and PDF, and the table that was drawn as CSV, all under its name; returns the three paths.

    Raises RunError where the folder cannot be written.
    """
    png, pdf, csv = (path.with_suffix(suffix) for suffix in (".png", ".pdf", ".csv"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for picture in (png, pdf):
            figure.savefig(picture, dpi=STYLE["savefig.dpi"])
        table.to_csv(csv, index=False)
    except OSError as error:
        raise RunError(f"cannot write the figure to {path} ({error.strerror or error}): give another name") from error
    return [png, pdf, csv]
