"""``energylens models``."""

from __future__ import annotations

import click

from energylens.attacks.radius import write_radius
from energylens.cli.tables import new_table, show
from energylens.errors import InputError
from energylens.models.zoo import find_models

OTHERS = "Others: a checkpoint's path with --arch, package.module:factory, timm:NAME, torchvision:NAME, hf:REPO"


@click.command("models")
@click.argument("pattern", required=False)
def command(pattern: str | None) -> None:
    """List the models, or those that match PATTERN: a part of dataset/threat model/name, or a wildcard."""
    rows = find_models(pattern)
    if not rows:
        raise InputError(f"no model matches {pattern!r}: `energylens models` lists them all")
    table = new_table(caption=f"{len(rows)} model{'s' * (len(rows) > 1)}; accuracies in %, as published. {OTHERS}")
    for heading in ("model", "source", "dataset", "threat model", "architecture"):
        table.add_column(heading, overflow="fold")
    for heading in ("clean", "AutoAttack"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        threat = " ".join((row.threat_model or "", write_radius(row.eps) if row.eps else ""))
        table.add_row(
            row.name, row.source, row.dataset, threat, row.architecture, _percent(row.clean), _percent(row.autoattack)
        )
    show(table)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
