"""Keep a figure with the numbers it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from energylens.errors import InputError, RunError
from energylens.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path, table: pd.DataFrame) -> list[Path]:
    """Write ``path`` as PNG and PDF, and the table that was drawn as CSV, all under its name.

    A file is whole or not there.

    Args:
        figure: what was drawn.
        path: ends in .png, .pdf, .csv or in nothing known.
        table: what it was drawn from.

    Returns:
        The three paths.

    Raises:
        InputError: for a picture of another kind.
        RunError: where the folder cannot be written.
    """
    from energylens.plots.style import STYLE

    writers: dict[str, Callable[[Path], object]] = {
        ".png": lambda to: figure.savefig(to, format="png", dpi=STYLE["savefig.dpi"]),
        ".pdf": lambda to: figure.savefig(to, format="pdf"),
        ".csv": lambda to: table.to_csv(to, index=False),
    }
    if path.suffix and path.suffix.lower() not in writers:
        raise InputError(f"figures come as PNG and PDF, not as {path.suffix}: name it {path.with_suffix('.png')}")
    return write_all(writers, path)


def write_all(writers: Mapping[str, Callable[[Path], object]], path: Path) -> list[Path]:
    """Write the path's name with every suffix; a file is whole or not there.

    Args:
        writers: what writes a file of each suffix.
        path: whose suffix does not matter.

    Returns:
        The paths.

    Raises:
        RunError: where the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, write in writers.items():
            with whole_file(path.with_suffix(suffix)) as temporary:
                write(temporary)
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror or error}): give another name") from error
    return [path.with_suffix(suffix) for suffix in writers]
