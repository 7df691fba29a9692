"""How the command line shows a table: ruled under its heading; as wide as the terminal, or as it likes in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """One column. optional: it may go where the terminal is narrow, the highest number first; 0 never goes."""

    heading: str
    right: bool = False
    wrap: bool = False
    optional: int = 0


def show(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], *, title: str | None = None, caption: str | None = None
) -> None:
    """Print the table on standard output: no number is ever cut, columns that can be missed go first."""
    console = Console()
    for level in range(max(column.optional for column in columns), -1, -1):
        kept = [i for i, column in enumerate(columns) if column.optional <= level]
        table = _table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
        if not console.is_terminal or console.measure(table).minimum <= console.width:
            break
    if not console.is_terminal:
        console = Console(width=max(console.measure(table, options=console.options.update(width=10_000)).maximum, 20))
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    if caption:
        console.print(Text(caption, style="italic dim"), soft_wrap=True)


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(
            column.heading, justify="right" if column.right else "left", no_wrap=not column.wrap, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return table
