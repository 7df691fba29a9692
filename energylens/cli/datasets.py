"""``energylens datasets``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from energylens.cli.tables import Column, show
from energylens.data.catalog import DATA_SETS, DataSet

COLUMNS = (
    Column("data set"),
    Column("image"),
    Column("classes", right=True),
    Column("train", right=True),
    Column("test", right=True),
    Column("files below --data-root", wrap=16),
)


@click.command("datasets")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of them as a list in JSON.")
def command(as_json: bool) -> None:
    """List the data sets: names, sizes, and the files that each is read from."""
    if as_json:
        click.echo(json.dumps([_facts(row) for row in DATA_SETS.values()], indent=2))
        return
    caption = (
        "Image: channels x height x width. Data sets lie in --data-root or ENERGYLENS_DATA; those of torchvision are "
        "fetched there when they are asked for, and a missing one is answered with the command that fetches it."
    )
    show(COLUMNS, [_cells(row) for row in DATA_SETS.values()], caption=caption)


def _facts(row: DataSet) -> dict[str, Any]:
    return {"splits": row.splits} | asdict(row)


def _cells(row: DataSet) -> tuple[str, ...]:
    sizes = (f"{row.sizes[split]:,}" if split in row.sizes else "" for split in ("train", "test"))
    return (row.name, "x".join(map(str, row.image_shape)), str(row.num_classes), *sizes, _files(row))


def _files(row: DataSet) -> str:
    """The folder and its files; other folders and names where they are looked for as well."""
    if not row.files:
        return "comes with scikit-learn"
    files = ", ".join(file.path for file in row.files)
    packed = " (or .gz)" if any(name.endswith(".gz") for file in row.files for name in file.also) else ""
    others = [folder or "the data root itself" for folder in row.elsewhere]
    also = f"; or in {', '.join(others)}" if others else ""
    return f"{row.folder}: {files}{packed}{also}".removeprefix(": ")
