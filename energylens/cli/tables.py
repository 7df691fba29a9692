"""How the command line shows a table: ruled under its heading; as wide as the terminal, or at most PIPED in a pipe."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED = 120  # characters, where no terminal says how wide a line may be


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: its heading.
        cell: makes the text of a row's cell; None where rows are sequences of cells.
        right: whether its cells stand at the right.
        wrap: the width down to which its text may be folded, 0 for never.
        optional: the column may go where the terminal is narrow, the highest number first; 0 never goes.
    """

    heading: str
    cell: Callable[[Any], str | None] | None = None
    right: bool = False
    wrap: int = 0
    optional: int = 0


def percent(share: float | None, digits: int = 1) -> str:
    """``98.4 %`` of 0.984; "" for None."""
    return "" if share is None else f"{100 * share:.{digits}f} %"


def cells_of(columns: Sequence[Column], rows: Sequence[Any]) -> list[list[str]]:
    """The texts of a table's cells."""
    return [[_text(one.cell(row) if one.cell else row[at]) for at, one in enumerate(columns)] for row in rows]


def show(
    columns: Sequence[Column],
    rows: Sequence[Any],
    *,
    title: str | None = None,
    caption: str | None = None,
    all_of_it: str = "",
) -> None:
    """Print the table on standard output.

    No number is ever cut. Columns that can be missed go first, and those that are empty are not shown.

    Args:
        columns: from left to right.
        rows: what the columns make their cells of.
        title: above the table.
        caption: below it.
        all_of_it: the option that tells what a narrow terminal has no room for.
    """
    console = Console()
    cells = cells_of(columns, rows)
    filled = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    for level in range(max(column.optional for column in columns), -1, -1):
        kept = [i for i in filled if columns[i].optional <= level]
        table = _Table([columns[i] for i in kept], [[row[i] for i in kept] for row in cells])
        if not console.is_terminal or table.least_wide <= console.width:
            break
    if not console.is_terminal:
        console = Console(width=max(PIPED, table.least_wide))
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table.within(console.width))
    if gone := [columns[i].heading for i in filled if i not in kept]:
        more = f"; {all_of_it} has all" if all_of_it else ""
        caption = "\n".join(filter(None, [caption, f"Left out at {console.width} columns: {', '.join(gone)}{more}."]))
    if caption:
        console.print(Text(caption, style="italic dim"), soft_wrap=True)


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)


@dataclass(frozen=True)
class _Table:
    """Columns and the texts of their cells, a row each."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]

    @property
    def _whole(self) -> list[int]:
        """The width that every column would like."""
        return [
            max(map(len, [column.heading, *(row[position] for row in self.rows)]))
            for position, column in enumerate(self.columns)
        ]

    @property
    def _folded(self) -> list[int]:
        """The least width of every column."""
        return [min(column.wrap or whole, whole) for column, whole in zip(self.columns, self._whole, strict=True)]

    @property
    def least_wide(self) -> int:
        """Of the whole table, its columns folded as far as they may be."""
        console = Console(width=10_000)
        return console.measure(self._drawn(self._folded)).minimum

    def within(self, width: int) -> Table:
        """The table in so many characters: what is left over goes to the columns that are folded most."""
        widths, whole = self._folded, self._whole
        for _ in range(width - self.least_wide):
            position = max(range(len(widths)), key=lambda at: whole[at] / widths[at])
            widths[position] += whole[position] > widths[position]
        return self._drawn(widths)

    def _drawn(self, widths: Sequence[int]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for column, width in zip(self.columns, widths, strict=True):
            justify: Literal["left", "right"] = "right" if column.right else "left"
            table.add_column(column.heading, justify=justify, width=width, overflow="fold")
        for row in self.rows:  # folded here: rich cuts a comma that stands at the very edge
            cells = (
                text if len(text) <= width else "\n".join(textwrap.wrap(text, width))
                for text, width in zip(row, widths, strict=True)
            )
            table.add_row(*map(Text, cells))  # Text, so that brackets in a name are no markup
        return table
