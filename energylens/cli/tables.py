"""How the command line shows a table: ruled under its heading, as wide as the terminal, or wide enough for a log."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

LOG_WIDTH = 110  # columns, where standard output is no terminal


def new_table(title: str | None = None, caption: str | None = None) -> Table:
    """An empty table in our style."""
    return Table(
        title=title, caption=caption, title_justify="left", caption_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1),
    )  # fmt: skip


def show(table: Table) -> None:
    """Print it on standard output."""
    console = Console()
    (console if console.is_terminal else Console(width=LOG_WIDTH)).print(table)
