"""``energylens histogram``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from energylens.cli import pictures
from energylens.cli.help import OUTPUT, Command, option
from energylens.cli.options import COUNT, FIGURE, models, recording


@click.command("histogram", cls=Command, first=pictures.USED_MOST)
@models
@recording
@option("--bins", **COUNT, metavar="B", group=OUTPUT, usual="by the number of samples", help="How many bins.")
@option(
    "--range", "limits", type=float, nargs=2, metavar="LOW HIGH", group=OUTPUT, usual="that of the energies",
    help="Range of the bins, in nats; the papers: -50 20.",
)  # fmt: skip
@option("--paper", is_flag=True, group=OUTPUT, help="The papers' bins, and without --attack its nine attacks.")
@FIGURE(usual="OUT/MODEL/landscape-ATTACKS.png", help=pictures.KEPT)
def command(
    models: tuple[str, ...],
    bins: int | None,
    limits: tuple[float, float] | None,
    paper: bool,
    figure: Path | None,
    **options: Any,
) -> None:
    """Draw the energy landscape of attacks: E(x) and E(x,y), natural and adversarial, a column an attack.

    Several models stand side by side.

    \b
    energylens histogram --attack cw
    energylens histogram --model autoattack-resnet18 --attack pgd --attack trades --attack cw
    energylens histogram --model digits-standard --model digits-pgd --attack pgd --attack cw
    """
    from energylens.figures.attack_landscape import PAPER_NINE, draw
    from energylens.tables.attack_landscape import PAPER_BINS, landscapes

    if paper:
        bins, limits = bins or PAPER_BINS["bins"], limits or PAPER_BINS["limits"]
        options["attacks"] = options["attacks"] or PAPER_NINE
    records = pictures.recorded_all(models, options)
    if not records:
        return
    table = landscapes(records, bins=bins, limits=limits)
    others = [f"beside-{record.model}" for record in records[1:]]
    attacks = [attack.name for attack in records[0].attacks[1:]]
    where = figure or pictures.beside(records[0], options["out"], "landscape", [*attacks, *others])
    pictures.keep(records[0], table, draw, where)
