"""``energylens figures``."""

from __future__ import annotations

import difflib
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from energylens.cli.options import positive
from energylens.cli.tables import Column, show
from energylens.errors import InputError, RunError
from energylens.files import shown

if TYPE_CHECKING:
    from energylens.figures.run_cache import RunCache

LISTED = (Column("figure"), Column("shows"), Column("source"))
DRAWN = (Column("figure"), Column("file"), Column("time", right=True))


@click.command("figures")
@click.argument("names", nargs=-1, metavar="[NAME...|all]")
@click.option("--list", "listing", is_flag=True, help="Say what there is.")
@click.option(
    "--scale", type=click.Choice(["demo", "paper"]), default="demo", show_default=True,
    help="demo: the embedded digits, in minutes. paper: the papers' data, models and numbers.",
)  # fmt: skip
@click.option("--paper", "scale", flag_value="paper", help="The same as --scale paper.")
@click.option("--figures", "folder", type=click.Path(path_type=Path), default=Path("figures-drawn"), show_default=True,
    help="Where pictures go, by scale.")  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where runs are kept."
)
@click.option("--data-root", type=click.Path(path_type=Path), envvar="ENERGYLENS_DATA", help="Where data sets lie.")
@click.option("--jobs", type=int, default=1, callback=positive, show_default=True, help="Training runs at a time.")
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
    given = _given("folder", "out", "data_root", "jobs")
    drawn, missing = [], {}
    for name in _chosen(names, tuple(FIGURES)):
        began = time.monotonic()
        cache = RunCache(scale, out, data_root, jobs, tell=lambda said: click.echo(f"  {said}", err=True))
        click.echo(f"{name}: {FIGURES[name].about}", err=True)
        try:
            file = _draw(
                name, cache, folder / scale / f"{name}.png", f"energylens figures {name} --scale {scale}{given}"
            )
        except (InputError, RunError) as error:
            missing[name] = str(error)
            click.echo(f"  not here: {error}", err=True)
        else:
            drawn.append([name, str(file), f"{time.monotonic() - began:.0f} s"])
    if drawn:
        show(DRAWN, drawn)
    if missing:
        raise RunError(
            f"{len(missing)} of {len(drawn) + len(missing)} figures could not be drawn: "
            + "; ".join(f"{name} ({why})" for name, why in missing.items())
        )


def _chosen(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The figures that were asked for; InputError for one that there is not."""
    if "all" in names:
        return known
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise InputError(f"no figure {name!r}: {hint}there are {', '.join(known)} and all")
    return tuple(dict.fromkeys(names))


def _given(*names: str) -> str:
    """These options as they were typed, each after a space; nothing of what was left to its default."""
    context = click.get_current_context()
    typed = [option for option in context.command.params if option.name in names and _typed(context, option)]
    return "".join(f" {option.opts[0]} {shlex.quote(str(context.params[str(option.name)]))}" for option in typed)


def _typed(context: click.Context, option: click.Parameter) -> bool:
    return context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE


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
