"""``energylens histogram``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from energylens.cli.options import positive, record_options, recording
from energylens.cli.progress import progress
from energylens.errors import InputError
from energylens.files import shown
from energylens.records.shards import launched_ranks


@click.command("histogram")
@click.option("--model", "-m", "models", multiple=True, metavar="NAME", help="Default: digits-standard.")
@recording
@click.option("--bins", type=int, callback=positive, metavar="B", help="How many; default: from the number of samples.")
@click.option("--range", "limits", type=float, nargs=2, metavar="LOW HIGH", help="Of the energies; the papers: -50 20.")
@click.option("--paper", is_flag=True, help="The papers' bins, and without --attack its nine attacks.")
@click.option(
    "--figure", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Where to draw; PNG, PDF, CSV and JSON share the name [default: OUT/MODEL/landscape-ATTACKS.png].",
)  # fmt: skip
def command(
    models: tuple[str, ...],
    bins: int | None,
    limits: tuple[float, float] | None,
    paper: bool,
    figure: Path | None,
    **options: Any,
) -> None:
    """Draw the energy landscape of attacks: E(x) and E(x,y), natural and adversarial, a column an attack.

    \b
    energylens histogram --attack cw
    energylens histogram --model autoattack-resnet18 --attack pgd --attack trades --attack cw
    """
    from energylens.figures.attack_landscape import PAPER_NINE, draw
    from energylens.plots.save import save_figure
    from energylens.profiling import DEFAULT_MODEL, profile
    from energylens.records.run_folder import safe_name
    from energylens.tables.attack_landscape import PAPER_BINS, landscape
    from energylens.tables.origin import origin, typed_command, write_origin

    if len(models) > 1:
        raise InputError(f"a landscape is of one model, {len(models)} were named: draw them one after another")
    model = models[0] if models else DEFAULT_MODEL
    if paper:
        bins, limits = bins or PAPER_BINS["bins"], limits or PAPER_BINS["limits"]
        options["attacks"] = options["attacks"] or PAPER_NINE
    with progress(model) as listener:
        record = profile(model, listener=listener, checks=False, **record_options(options))
    if not launched_ranks().speaks:
        return
    table = landscape(record, bins=bins, limits=limits)
    attacks = "-".join(attack.name for attack in record.attacks[1:])
    default = (record.folder or options["out"]) / f"landscape-{safe_name(attacks)}.png"
    written = save_figure(draw(table), figure or default, table)
    about = origin(typed_command(), [record.seed], caption=table.attrs["caption"])
    for path in [*written, write_origin(about, written[-1])]:
        click.echo(shown(path))
