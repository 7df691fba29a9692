"""``energylens merge``."""

from __future__ import annotations

from pathlib import Path

import click

from energylens.cli.tables import Column, show


@click.command("merge")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the rows go together."
)
def command(folders: tuple[Path, ...], out: Path) -> None:
    """Put the records of a job array's shares together.

    \b
    energylens profile --n 10000 --shard 1/8 --out share-1      # ... and so on, one job each
    energylens merge share-* --out runs
    """
    from energylens.records.merging import merge

    merged = merge(folders, out)
    rows = [[run.path.relative_to(out.absolute()), run.source, run.added, run.rows] for run in merged]
    columns = [Column("record"), Column("from"), Column("added", right=True), Column("rows", right=True)]
    show(
        columns,
        rows,
        caption=f"Kept in {out}: the same profile with --out {out} prints the whole table (callables run again).",
    )
