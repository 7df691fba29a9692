"""``energylens generate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import Renamed, given_options, loading, positive, settings_options
from energylens.cli.progress import progress
from energylens.cli.tables import Column, show
from energylens.files import shown
from energylens.generation.settings import GenerationSettings
from energylens.records.shards import RANKS, launched_ranks

if TYPE_CHECKING:
    from energylens.generation.generated import Generated


@click.command("generate")
@click.option("--model", "-m", metavar="NAME", help="The classifier [default: digits-pgd].")
@loading
@click.option("--n", type=int, callback=positive, metavar="N", help="How many images [default: 100].")
@click.option("--class", "classes", multiple=True, metavar="C", help="Only this class, by name or number. Repeatable.")
@settings_options(GenerationSettings, defaults=True)
@click.option("--seed", type=int, help="Of all noise [default: 0].")
@click.option("--batch-size", type=int, callback=positive, metavar="B", help="Changes speed and memory only.")
@click.option(
    "--backend", cls=Renamed, formerly="--kernels", metavar="plain|fused",
    help="What computes the network: the model [default] or a copy that is quicker.",
)  # fmt: skip
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    metavar="DIR",
    help="Where images are kept.",
)
@click.option("--overwrite", is_flag=True, help="Make again what is already there.")
def command(**options: Any) -> None:
    """Make images that a classifier finds probable, by lowering their energy.

    The same command again does only what is missing; under torchrun or accelerate launch, shares go out by themselves.

    \b
    energylens generate
    energylens generate --start noise --class 3 --class 7
    energylens generate --guidance reference-energy --stop reference-energy
    """
    from energylens.figures.contact_sheet import draw, panels
    from energylens.generation.generate import DEFAULT_MODEL, generate
    from energylens.plots.save import save_figure

    given = given_options(options)
    if not given["classes"]:
        del given["classes"]
    if launched_ranks().size > 1:
        given["shard"] = RANKS
    with progress(options["model"] or DEFAULT_MODEL) as listener:
        made = generate(listener=listener, **given)
    if not launched_ranks().speaks:
        return
    _print(made)
    table = panels({made.settings["start"]: made})
    for path in save_figure(draw(table), _folder(made) / "contact-sheet.png", table):
        click.echo(path)


def _folder(made: Generated) -> Path:
    assert made.folder is not None  # --out always names one
    return shown(made.folder)


# heading, how a row of the summary shows it
_COLUMNS: tuple[tuple[Column, Callable[[dict[str, Any]], str]], ...] = (
    (Column("class"), lambda row: row["class"]),
    (Column("n", right=True), lambda row: str(row["n"])),
    (Column("taken for it", right=True), lambda row: f"{100 * row['as_class']:.0f} %"),
    (Column("steps", right=True), lambda row: f"{row['steps']:.1f}"),
    (Column("E(x)", right=True), lambda row: f"{row['marginal']:.2f}"),
    (Column("E(x,y)", right=True), lambda row: f"{row['joint']:.2f}"),
    (Column("training", right=True), lambda row: "" if row["reference"] is None else f"{row['reference']:.2f}"),
    (Column("nearest L2", right=True), lambda row: f"{row['nearest_l2']:.2f}"),
)


def _print(made: Generated) -> None:
    """A row a class, then all of them."""
    rows = [[form(row) for _, form in _COLUMNS] for row in made.as_numbers()]
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in made.settings.items())
    kept = f"Means; nearest L2: median distance to the nearest training image. Kept in {_folder(made)}."
    show(
        [column for column, _ in _COLUMNS],
        rows,
        title=made.title,
        caption="\n".join([f"{told}.", kept, *made.notes]),
    )
