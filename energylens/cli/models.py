"""``energylens models``."""

from __future__ import annotations

from dataclasses import asdict

import click

from energylens.attacks.radius import write_radius
from energylens.cli.help import Command
from energylens.cli.options import JSON
from energylens.cli.tables import Column, print_json, show
from energylens.errors import InputError
from energylens.models.zoo import ZooRow, find_models


def _threat(row: ZooRow) -> str:
    return " ".join((row.threat_model or "", write_radius(row.eps) if row.eps else ""))


def _published(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


COLUMNS = (
    Column("model", lambda row: row.name),
    Column("source", lambda row: row.source, optional=3),
    Column("dataset", lambda row: row.dataset, optional=1),
    Column("threat model", _threat),
    Column("architecture", lambda row: row.architecture, wrap=16, optional=2),
    Column("clean", lambda row: _published(row.clean), right=True),
    Column("AutoAttack", lambda row: _published(row.autoattack), right=True),
    Column("corruptions", lambda row: _published(row.corruptions), right=True),
)

OTHERS = (
    "Others: a checkpoint's path with --arch (of ours, or a class of yours as my_models:MyCNN), "
    "package.module:factory, timm:NAME, torchvision:NAME, hf:REPO"
)


@click.command("models", cls=Command)
@click.argument("pattern", required=False)
@JSON
def command(pattern: str | None, as_json: bool) -> None:
    """List the models, or those that match PATTERN: a part of dataset/threat model/name, or a wildcard.

    \b
    energylens models cifar10/Linf
    """
    rows = find_models(pattern)
    if not rows:
        raise InputError(f"no model matches {pattern!r}: `energylens models` lists them all")
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    counted = f"{len(rows)} model{'s' * (len(rows) > 1)}"
    caption = f"{counted}; accuracies in %, as published, of our own as measured. {OTHERS}"
    show(COLUMNS, rows, caption=caption, all_of_it="--json")
