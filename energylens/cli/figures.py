"""``energylens figures``."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from energylens.cli.help import OUTPUT, SPEED, Command, option
from energylens.cli.options import COUNT, DATA_ROOT, PATH, RUNS
from energylens.cli.tables import Column, show
from energylens.errors import InputError, RunError, did_you_mean
from energylens.files import shown

if TYPE_CHECKING:
    from energylens.figures.run_cache import RunCache

LISTED = (Column("figure"), Column("shows"), Column("source"))
DRAWN = (Column("figure"), Column("file"), Column("time", right=True))
KEPT = ("folder", "out", "data_root", "jobs")  # options of which a recorded command tells what was typed


@click.command("figures", cls=Command, first=("listing", "scale", "folder", "data_root", "jobs"))
@click.argument("names", nargs=-1, metavar="[NAME...|all]")
@option("--list", "listing", is_flag=True, help="Say what there is.")
@option(
    "--scale", type=click.Choice(["demo", "paper"]), default="demo",
    help="demo: the embedded digits, in minutes. paper: the papers' data, models and numbers.",
)  # fmt: skip
@option("--paper", "scale", flag_value="paper", help="The same as --scale paper.")
@option("--figures", "folder", **PATH, default=Path("figures-drawn"), group=OUTPUT, help="Where pictures go, by scale.")
@RUNS(help="Where runs are kept.")
@DATA_ROOT
@option("--jobs", **COUNT, metavar="N", default=1, group=SPEED, help="Training runs at a time.")
def command(
    names: tuple[str, ...], listing: bool, scale: str, folder: Path, out: Path, data_root: Path | None, jobs: int
) -> None:
    """Draw the papers' figures, each with the data that it shows.

    A figure is written as PNG, PDF, the CSV of what is drawn and the JSON of where it comes from; a table as Markdown,
    LaTeX, CSV and JSON.

    Runs that are there are used again, what is missing is computed.

    \b
    energylens figures --list
    energylens figures landscape co
    energylens figures all --scale paper --data-root DATA
    """
    from energylens.figures.catalog import FIGURES
    from energylens.figures.run_cache import RunCache

    if listing or not names:
        show(LISTED, [[name, figure.about, figure.source] for name, figure in FIGURES.items()])
        return
    typed = _typed()
    drawn, missing = [], {}
    for name in _chosen(names, tuple(FIGURES)):
        began = time.monotonic()
        cache = RunCache(scale, out, data_root, jobs, tell=lambda said: click.echo(f"  {said}", err=True))
        click.echo(f"{name}: {FIGURES[name].about}", err=True)
        try:
            command = f"energylens figures {name} --scale {scale}{typed}"
            file = _draw(name, cache, folder / scale / f"{name}.png", command)
        except (InputError, RunError) as error:
            missing[name] = str(error)
            click.echo(f"  not here: {error}", err=True)
        else:
            drawn.append([name, file, f"{time.monotonic() - began:.0f} s"])
    if drawn:
        show(DRAWN, drawn)
    if missing:
        reasons = "; ".join(f"{name} ({why})" for name, why in missing.items())
        raise RunError(f"{len(missing)} of {len(drawn) + len(missing)} figures could not be drawn: {reasons}")


def _chosen(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The figures that were asked for; InputError for one that there is not."""
    if "all" in names:
        return known
    for name in names:
        if name not in known:
            raise InputError(f"no figure {name!r}: {did_you_mean(name, known)}there are {', '.join(known)} and all")
    return tuple(dict.fromkeys(names))


def _typed() -> str:
    """The options of ``KEPT`` as they were typed, each after a space; nothing of what was left to its default."""
    context = click.get_current_context()
    return "".join(
        f" {option.opts[0]} {shlex.quote(str(context.params[name]))}"
        for option in context.command.params
        if (name := str(option.name)) in KEPT and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )


def _draw(name: str, cache: RunCache, path: Path, command: str) -> Path:
    """Compute, draw and keep one figure or table, and the command that does so; returns where it is."""
    import pandas as pd

    from energylens.figures.catalog import FIGURES
    from energylens.plots.save import save_figure
    from energylens.plots.tables import save_table
    from energylens.tables.origin import origin, seeds_of, write_origin

    figure = FIGURES[name]
    table = figure.table(cache)
    drawn = figure.draw(table)
    kept = save_table(drawn, path, table) if isinstance(drawn, pd.DataFrame) else save_figure(drawn, path, table)
    about = origin(
        command, seeds_of(table, cache.seeds), figure=name, shows=figure.about, source=figure.source, scale=cache.scale,
        caption=table.attrs.get("caption", ""), runs=[str(shown(run)) for run in cache.used],
    )  # fmt: skip
    write_origin(about, path.with_suffix(".csv"))
    return kept[0]
