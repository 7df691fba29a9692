"""``energylens generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.help import DATA, MODEL, OUTPUT, Command, option
from energylens.cli.options import BACKEND, BATCH_SIZE, COUNT, RUNS, given_options, loading, settings_options
from energylens.cli.progress import progress
from energylens.cli.tables import Column, percent, show
from energylens.files import shown
from energylens.generation.settings import GenerationSettings
from energylens.records.shards import RANKS, launched_ranks

if TYPE_CHECKING:
    from energylens.generation.generated import Generated

COLUMNS = (
    Column("class", lambda row: row["class"]),
    Column("n", lambda row: row["n"], right=True),
    Column("taken for it", lambda row: percent(row["as_class"], 0), right=True),
    Column("steps", lambda row: f"{row['steps']:.1f}", right=True),
    Column("E(x)", lambda row: f"{row['marginal']:.2f}", right=True),
    Column("E(x,y)", lambda row: f"{row['joint']:.2f}", right=True),
    Column("training", lambda row: "" if row["reference"] is None else f"{row['reference']:.2f}", right=True),
    Column("nearest L2", lambda row: f"{row['nearest_l2']:.2f}", right=True),
)


@click.command("generate", cls=Command, first=("model", "n", "classes", "start", "steps"))
@option("--model", "-m", metavar="NAME", default="digits-pgd", group=MODEL, help="The classifier.")
@loading
@option("--n", **COUNT, metavar="N", group=DATA, usual="100", help="How many images.")
@option(
    "--class", "classes", multiple=True, metavar="C", group=DATA,
    help="Only this class, by name or number. Repeatable.",
)  # fmt: skip
@settings_options(GenerationSettings)
@option("--seed", type=int, metavar="S", allowed="0 or more", usual="0", help="Seed of all noise.")
@BATCH_SIZE
@BACKEND(metavar="plain|fused", usual="plain", help="What computes the network: the model or a copy that is quicker.")
@RUNS(help="Where images are kept.")
@option("--overwrite", is_flag=True, group=OUTPUT, help="Make again what is already there.")
def command(**options: Any) -> None:
    """Make images that a classifier finds probable, by lowering their energy.

    The same command again does only what is missing; under torchrun or accelerate launch, shares go out by themselves.

    \b
    energylens generate
    energylens generate --start noise --class 3 --class 7
    energylens generate --guidance reference-energy --stop reference-energy
    """
    from energylens.figures.contact_sheet import draw, panels
    from energylens.generation.generate import generate
    from energylens.plots.save import save_figure

    given = given_options(options)
    if launched_ranks().size > 1:
        given["shard"] = RANKS
    with progress(options["model"]) as listener:
        made = generate(listener=listener, **given)
    if not launched_ranks().speaks:
        return
    assert made.folder is not None  # --out always names one
    folder = shown(made.folder)
    _print(made, folder)
    table = panels({made.settings["start"]: made})
    for path in save_figure(draw(table), folder / "contact-sheet.png", table):
        click.echo(path)


def _print(made: Generated, folder: Path) -> None:
    """A row a class, then all of them."""
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made.settings.items())
    kept = f"Means; nearest L2: median distance to the nearest training image. Kept in {folder}."
    show(COLUMNS, made.as_numbers(), title=made.title, caption="\n".join([f"{told}.", kept, *made.notes]))
