"""How the command line shows a table: ruled under its heading; as wide as the terminal, or at most PIPED in a pipe."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # help screens import no rich
    from rich.table import Table

BETWEEN = 3  # characters between two columns
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
    """A share in percent.

    Args:
        share: in [0, 1], or None.
        digits: behind the point.

    Returns:
        ``98.4 %`` of 0.984; "" for None.

    Example:
        >>> percent(0.984), percent(0.984, digits=0), percent(None)
        ('98.4 %', '98 %', '')
    """
    return "" if share is None else f"{100 * share:.{digits}f} %"


def cells_of(columns: Sequence[Column], rows: Sequence[Any]) -> list[list[str]]:
    """The texts of a table's cells.

    Args:
        columns: from left to right.
        rows: what the columns make their cells of, or sequences of cells.

    Returns:
        A list a row, a text a column; "" for None.
    """
    cells = [[one.cell(row) if one.cell else row[at] for at, one in enumerate(columns)] for row in rows]
    return [["" if cell is None else str(cell) for cell in row] for row in cells]


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
    from rich.console import Console
    from rich.text import Text

    console = Console()
    cells = cells_of(columns, rows)
    filled = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    whole = {i: max(map(len, [columns[i].heading, *(row[i] for row in cells)])) for i in range(len(columns))}
    least = {i: min(columns[i].wrap or whole[i], whole[i]) for i in whole}
    for level in range(max(column.optional for column in columns), -1, -1):
        widths = {i: least[i] for i in filled if columns[i].optional <= level}
        needed = sum(widths.values()) + BETWEEN * len(widths) - 1
        if not console.is_terminal or needed <= console.width:
            break
    if not console.is_terminal:
        console = Console(width=max(PIPED, needed))
    for _ in range(console.width - needed):  # what is left over goes to the columns that are folded most
        folded_most = max(widths, key=lambda i: whole[i] / widths[i])
        widths[folded_most] += whole[folded_most] > widths[folded_most]
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(_table(columns, cells, widths))
    if gone := [columns[i].heading for i in filled if i not in widths]:
        more = f"; {all_of_it} has all" if all_of_it else ""
        caption = "\n".join(filter(None, [caption, f"Left out at {console.width} columns: {', '.join(gone)}{more}."]))
    if caption:
        console.print(Text(caption, style="italic dim"), soft_wrap=True)


def _table(columns: Sequence[Column], cells: Sequence[Sequence[str]], widths: Mapping[int, int]) -> Table:
    """The columns of which a width is given, their cells folded to it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for i, width in widths.items():
        table.add_column(columns[i].heading, justify="right" if columns[i].right else "left", width=width)
    for row in cells:  # folded here: rich cuts a comma that stands at the very edge
        texts = (_folded(row[i], width) for i, width in widths.items())
        table.add_row(*map(Text, texts))  # Text, so that brackets in a name are no markup
    return table


def _folded(text: str, width: int) -> str:
    return text if len(text) <= width else "\n".join(textwrap.wrap(text, width))


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output.

    Args:
        value: anything that JSON can hold.
    """
    click.echo(json.dumps(value, indent=2))
