"""``energylens models``."""

from __future__ import annotations

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
)
CORRUPTIONS = Column("corruptions", right=True)

OTHERS = "Others: a checkpoint's path with --arch, package.module:factory, timm:NAME, torchvision:NAME, hf:REPO"


@click.command("models")
@click.argument("pattern", required=False)
def command(pattern: str | None) -> None:
    """List the models, or those that match PATTERN: a part of dataset/threat model/name, or a wildcard."""
    rows = find_models(pattern)
    if not rows:
        raise InputError(f"no model matches {pattern!r}: `energylens models` lists them all")
    corrupted = any(row.corruptions is not None for row in rows)
    columns = (*COLUMNS, CORRUPTIONS) if corrupted else COLUMNS
    counted = f"{len(rows)} model{'s' * (len(rows) > 1)}"
    caption = f"{counted}; accuracies in %, as published, of our own as measured. {OTHERS}"
    show(columns, [_cells(row)[: len(columns)] for row in rows], caption=caption)


def _cells(row: ZooRow) -> tuple[str | None, ...]:
    threat = " ".join((row.threat_model or "", write_radius(row.eps) if row.eps else ""))
    accuracies = map(_percent, (row.clean, row.autoattack, row.corruptions))
    return (row.name, row.source, row.dataset, threat, row.architecture, *accuracies)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
