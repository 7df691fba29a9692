"""``energylens attacks``."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table


@click.command("attacks")
def command() -> None:
    """List the attacks with their settings and defaults."""
    from energylens.attacks.registry import ATTACKS

    table = Table(caption="Set one with --attack NAME,SETTING=VALUE, as in pgd,steps=50,restarts=10", caption_justify="left")
    for heading in ("attack", "what it does", "norms", "settings and defaults", "source"):
        table.add_column(heading, no_wrap=heading == "attack")
    for row in ATTACKS:
        settings = ", ".join(f"{name}={value}" for name, value in row.free_settings().items())
        table.add_row(row.name, row.summary, ", ".join(row.norms), settings, row.source)
    Console().print(table)
