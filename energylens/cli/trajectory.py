"""``energylens trajectory``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from energylens.cli import pictures
from energylens.cli.help import Command
from energylens.cli.options import FIGURE, models, recording

DEFAULT_ATTACKS = ("pgd", "he-pgd")  # the one that leaves a trace and the one that hides it


@click.command("trajectory", cls=Command, first=pictures.USED_MOST)
@models
@recording
@FIGURE(usual="OUT/MODEL/steps-ATTACKS.png", help=pictures.KEPT)
def command(models: tuple[str, ...], figure: Path | None, **options: Any) -> None:
    """Draw energy against the steps of attacks: E(x') and E(x',y) of every iterate. Default: PGD beside HE-PGD.

    \b
    energylens trajectory
    energylens trajectory --model autoattack-resnet18 --attack pgd,steps=40 --attack he-pgd,steps=40
    """
    from energylens.figures.energy_steps import draw, energy_against_steps

    options["attacks"] = options["attacks"] or DEFAULT_ATTACKS
    record = pictures.recorded(models, options, trajectory=True)
    if record is None:
        return
    table = energy_against_steps(record)
    attacks = list(dict.fromkeys(table["attack"]))
    pictures.keep(record, table, draw, figure or pictures.beside(record, options["out"], "steps", attacks))
