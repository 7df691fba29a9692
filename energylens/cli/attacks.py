"""``energylens attacks``."""

from __future__ import annotations

import click

from energylens.cli.tables import new_table, show


@click.command("attacks")
def command() -> None:
    """List the attacks with their settings and defaults."""
    from energylens.attacks.registry import ATTACKS

    table = new_table(caption="Set one with --attack NAME,SETTING=VALUE, as in pgd,steps=50,restarts=10")
    for heading in ("attack", "what it does", "norms", "settings and defaults"):
        table.add_column(heading, no_wrap=heading in ("attack", "norms"))
    for row in ATTACKS:
        settings = ", ".join(f"{name}={value}" for name, value in row.free_settings().items())
        names = ", ".join((row.name, *row.aliases))
        table.add_row(names, f"{row.summary} [dim]({row.source})[/dim]", " ".join(row.norms), settings)
    show(table)
