"""``energylens merge``."""

from __future__ import annotations

from pathlib import Path

import click

from energylens.cli.help import OUTPUT, Command, option
from energylens.cli.options import PATH
from energylens.cli.tables import Column, show


@click.command("merge", cls=Command)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@option("--out", **PATH, required=True, group=OUTPUT, help="Where the rows go together.")
def command(folders: tuple[Path, ...], out: Path) -> None:
    """Put the records of a job array's shares together.

    \b
    energylens profile --n 10000 --shard 1/8 --out share-1      # ... and so on, one job each
    energylens merge share-* --out runs
    """
    from energylens.records.merging import merge

    columns = (
        Column("record", lambda run: run.path.relative_to(out.absolute())),
        Column("from", lambda run: run.source),
        Column("added", lambda run: run.added, right=True),
        Column("rows", lambda run: run.rows, right=True),
    )
    caption = f"Kept in {out}: the same profile with --out {out} prints the whole table (callables run again)."
    show(columns, merge(folders, out), caption=caption)
