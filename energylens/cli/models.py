"""``energylens models``."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from energylens.models.zoo import find_models


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


@click.command("models")
@click.argument("pattern", required=False)
def command(pattern: str | None) -> None:
    """List the models, or those that match PATTERN: part of a name or a wildcard, as in '*R18*'."""
    rows = find_models(pattern)
    table = Table(
        caption=f"{len(rows)} models. clean, AutoAttack: published accuracy in %. "
        "Others: a checkpoint's path with --arch, package.module:factory, timm:NAME, torchvision:NAME, hf:REPO",
        caption_justify="left",
    )
    for heading, justify in (("model", "left"), ("source", "left"), ("dataset", "left"), ("threat", "left"),
                             ("eps", "right"), ("architecture", "left"), ("clean", "right"), ("AutoAttack", "right")):  # fmt: skip
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(
            row.name, row.source, row.dataset, row.threat_model or "", row.eps_text or "", row.architecture,
            _percent(row.clean), _percent(row.autoattack),
        )  # fmt: skip
    Console().print(table)
