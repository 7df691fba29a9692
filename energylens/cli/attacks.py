"""``energylens attacks``."""

from __future__ import annotations

import click

from energylens.cli.tables import Column, show

COLUMNS = (
    Column("attack"),
    Column("what it does", wrap=30),
    Column("settings and defaults", wrap=26),
    Column("norms", optional=1),
    Column("source", optional=2),
)


@click.command("attacks")
def command() -> None:
    """List the attacks with their settings and defaults."""
    from energylens.attacks.registry import ATTACKS

    rows = [
        (
            row.name,
            row.summary,
            ", ".join(f"{name}={value}" for name, value in row.free_settings().items()),
            " ".join(row.norms),
            row.source,
        )
        for row in ATTACKS
    ]
    show(COLUMNS, rows, caption="Set one with --attack NAME,SETTING=VALUE, as in pgd,steps=50,restarts=10")
