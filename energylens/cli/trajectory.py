"""``energylens trajectory``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from energylens.cli.options import record_options, recording
from energylens.cli.progress import progress
from energylens.errors import InputError
from energylens.files import shown
from energylens.records.shards import launched_ranks

DEFAULT_ATTACKS = ("pgd", "he-pgd")  # the one that leaves a trace and the one that hides it


@click.command("trajectory")
@click.option("--model", "-m", "models", multiple=True, metavar="NAME", help="Default: digits-standard.")
@recording
@click.option(
    "--figure", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Where to draw; PNG, PDF, CSV and JSON share the name [default: OUT/MODEL/steps-ATTACKS.png].",
)  # fmt: skip
def command(models: tuple[str, ...], figure: Path | None, **options: Any) -> None:
    """Draw energy against the steps of attacks: E(x') and E(x',y) of every iterate. Default: PGD beside HE-PGD.

    \b
    energylens trajectory
    energylens trajectory --model autoattack-resnet18 --attack pgd,steps=40 --attack he-pgd,steps=40
    """
    from energylens.figures.energy_steps import draw, energy_against_steps
    from energylens.plots.save import save_figure
    from energylens.profiling import DEFAULT_MODEL, profile
    from energylens.records.run_folder import safe_name
    from energylens.tables.origin import origin, typed_command, write_origin

    if len(models) > 1:
        raise InputError(f"the picture is of one model, {len(models)} were named: draw them one after another")
    model = models[0] if models else DEFAULT_MODEL
    settings = {"attacks": DEFAULT_ATTACKS} | record_options(options) | {"trajectory": True, "checks": False}
    with progress(model) as listener:
        record = profile(model, listener=listener, **settings)
    if not launched_ranks().speaks:
        return
    table = energy_against_steps(record)
    attacks = "-".join(dict.fromkeys(table["attack"]))
    default = (record.folder or options["out"]) / f"steps-{safe_name(attacks)}.png"
    written = save_figure(draw(table), figure or default, table)
    about = origin(typed_command(), [record.seed], caption=table.attrs["caption"])
    for path in [*written, write_origin(about, written[-1])]:
        click.echo(shown(path))
