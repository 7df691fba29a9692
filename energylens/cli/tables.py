"""How the command line shows a table: ruled under its heading; as wide as the terminal, or as it likes in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """One column. wrap: the width down to which its text may be folded, 0 for never. optional: the column may go where
    the terminal is narrow, the highest number first; 0 never goes."""

    heading: str
    right: bool = False
    wrap: int = 0
    optional: int = 0


def show(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], *, title: str | None = None, caption: str | None = None
) -> None:
    """Print the table on standard output: no number is ever cut, columns that can be missed go first, and those that
    are empty are not shown."""
    console = Console()
    filled = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in rows)]
    for level in range(max(column.optional for column in columns), -1, -1):
        kept = [i for i in filled if columns[i].optional <= level]
        table = _table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])
        width = console.measure(table, options=console.options.update(width=10_000))
        if not console.is_terminal or width.minimum <= console.width:
            break
    if not console.is_terminal:
        console = Console(width=width.maximum)
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    if caption:
        console.print(Text(caption, style="italic dim"), soft_wrap=True)


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    for position, column in enumerate(columns):
        whole = max(map(len, [column.heading, *(row[position] for row in texts)]))
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.heading, justify=justify, min_width=column.wrap or whole, overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))  # Text, so that brackets in a name are no markup
    return table
