"""``energylens attacks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from energylens.cli.help import Command
from energylens.cli.options import JSON
from energylens.cli.tables import Column, print_json, show

if TYPE_CHECKING:
    from energylens.attacks.registry import AttackRow

COLUMNS = (
    Column("attack", lambda row: row.name),
    Column("what it does", lambda row: row.summary, wrap=24),
    Column("settings and defaults", lambda row: ", ".join(map("=".join, row.free_settings().items())), wrap=21),
    Column("norms", lambda row: " ".join(row.norms), optional=1),
    Column("source", lambda row: row.source, wrap=16, optional=2),
)
CAPTION = "Set one with --attack NAME,SETTING=VALUE, as in pgd,steps=50,restarts=10"


@click.command("attacks", cls=Command)
@JSON
def command(as_json: bool) -> None:
    """List the attacks with their settings and defaults.

    \b
    energylens attacks
    """
    from energylens.attacks.registry import ATTACKS

    if as_json:
        print_json([_as_numbers(row) for row in ATTACKS])
    else:
        show(COLUMNS, ATTACKS, caption=CAPTION, all_of_it="--json")


def _as_numbers(row: AttackRow) -> dict[str, Any]:
    """A row as JSON holds it; settings with their defaults as text, as the table shows them."""
    told = ("name", "label", "summary", "source", "norms", "aliases", "versions", "keeps_images")
    known = {name: getattr(row, name) for name in told}
    return {**known, "versions": list(row.versions), "settings": row.free_settings()}
