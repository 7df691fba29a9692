"""``energylens models``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from energylens.attacks.radius import write_radius
from energylens.cli.tables import Column, show
from energylens.errors import InputError
from energylens.models.zoo import ZooRow, find_models

COLUMNS = (
    Column("model"),
    Column("source", optional=3),
    Column("dataset", optional=1),
    Column("threat model"),
    Column("architecture", wrap=16, optional=2),
    Column("clean", right=True),
    Column("AutoAttack", right=True),
    Column("corruptions", right=True),
)

OTHERS = (
    "Others: a checkpoint's path with --arch (of ours, or a class of yours as my_models:MyCNN), "
    "package.module:factory, timm:NAME, torchvision:NAME, hf:REPO"
)


@click.command("models")
@click.argument("pattern", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of them as a list in JSON.")
def command(pattern: str | None, as_json: bool) -> None:
    """List the models, or those that match PATTERN: a part of dataset/threat model/name, or a wildcard."""
    rows = find_models(pattern)
    if not rows:
        raise InputError(f"no model matches {pattern!r}: `energylens models` lists them all")
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    counted = f"{len(rows)} model{'s' * (len(rows) > 1)}"
    caption = f"{counted}; accuracies in %, as published, of our own as measured. {OTHERS}"
    show(COLUMNS, [_cells(row) for row in rows], caption=caption, all_of_it="--json")


def _cells(row: ZooRow) -> tuple[str | None, ...]:
    threat = " ".join((row.threat_model or "", write_radius(row.eps) if row.eps else ""))
    accuracies = map(_percent, (row.clean, row.autoattack, row.corruptions))
    return (row.name, row.source, row.dataset, threat, row.architecture, *accuracies)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
