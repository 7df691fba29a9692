"""Tables for papers and pages: Markdown and LaTeX of cells that are text already."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from energylens.plots.save import write_all


def markdown(cells: pd.DataFrame, right: Collection[str] = ()) -> str:
    """A Markdown table.

    Args:
        cells: the texts, under their headings.
        right: columns whose cells stand at the right.

    Returns:
        The table, a line a row, with a line break at its end.
    """
    rule = ["---:" if name in right else "---" for name in cells.columns]
    rows = [list(cells.columns), rule, *cells.itertuples(index=False)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def latex(cells: pd.DataFrame, right: Collection[str] = ()) -> str:
    """A LaTeX tabular, which needs booktabs.

    Args:
        cells: the texts, under their headings.
        right: columns whose cells stand at the right.

    Returns:
        The tabular, special characters escaped.
    """
    style = cells.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    align = "".join("r" if name in right else "l" for name in cells.columns)
    return str(style.to_latex(column_format=align, hrules=True)).replace("±", r"$\pm$")


def save_table(cells: pd.DataFrame, path: Path, table: pd.DataFrame) -> list[Path]:
    """Write the cells as Markdown and LaTeX and the table they come from as CSV, all under the path's name.

    Args:
        cells: the texts, under their headings; all but the first column stand at the right.
        path: whose suffix is replaced by .md, .tex and .csv.
        table: the numbers that the cells come from.

    Returns:
        The three paths.

    Raises:
        RunError: where the folder cannot be written; a file is whole or not there.
    """
    right = tuple(cells.columns[1:])
    writers: dict[str, Callable[[Path], object]] = {
        ".md": lambda to: to.write_text(markdown(cells, right)),
        ".tex": lambda to: to.write_text(latex(cells, right)),
        ".csv": lambda to: table.to_csv(to, index=False),
    }
    return write_all(writers, path)
