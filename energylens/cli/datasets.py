"""``energylens datasets``."""

from __future__ import annotations

from dataclasses import asdict

import click

from energylens.cli.help import Command
from energylens.cli.options import JSON
from energylens.cli.tables import Column, print_json, show
from energylens.data.catalog import DATA_SETS, DataSet


def _size(row: DataSet, split: str) -> str:
    return f"{row.sizes[split]:,}" if split in row.sizes else ""


def _files(row: DataSet) -> str:
    """The folder and its files; other folders and names where they are looked for as well."""
    if not row.files:
        return "comes with scikit-learn"
    files = ", ".join(file.path for file in row.files)
    packed = " (or .gz)" if any(name.endswith(".gz") for file in row.files for name in file.also) else ""
    others = [folder or "the data root itself" for folder in row.elsewhere]
    also = f"; or in {', '.join(others)}" if others else ""
    return f"{row.folder}: {files}{packed}{also}".removeprefix(": ")


COLUMNS = (
    Column("data set", lambda row: row.name),
    Column("image", lambda row: "x".join(map(str, row.image_shape))),
    Column("classes", lambda row: str(row.num_classes), right=True),
    Column("train", lambda row: _size(row, "train"), right=True),
    Column("test", lambda row: _size(row, "test"), right=True),
    Column("files below --data-root", _files, wrap=16),
)
CAPTION = (
    "Image: channels x height x width. Data sets lie in --data-root or ENERGYLENS_DATA; those of torchvision are "
    "fetched there when they are asked for, and a missing one is answered with the command that fetches it."
)


@click.command("datasets", cls=Command)
@JSON
def command(as_json: bool) -> None:
    """List the data sets: names, sizes, and the files that each is read from.

    \b
    energylens datasets
    """
    if as_json:
        rows = [{"splits": row.splits} | asdict(row) for row in DATA_SETS.values()]
        print_json(rows)
    else:
        show(COLUMNS, list(DATA_SETS.values()), caption=CAPTION)
