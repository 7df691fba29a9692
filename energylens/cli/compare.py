"""``energylens compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from energylens.cli.help import OUTPUT, Command, option
from energylens.cli.options import FIGURE
from energylens.cli.tables import Column, cells_of, show


def _spread(name: str, heading: str, optional: int = 0) -> Column:
    """A column of a mean, to one decimal, with its deviation where there are several seeds."""

    def cell(row: dict[str, Any]) -> str:
        mean, sd = row[f"{name}_mean"], row[f"{name}_sd"]
        return f"{mean:.1f}" if sd != sd else f"{mean:.1f} ± {sd:.1f}"

    return Column(heading, cell, right=True, optional=optional)


COLUMNS = (
    Column("run", lambda row: row["label"], wrap=16),
    Column("data", lambda row: row["dataset"], optional=2),
    Column("n", lambda row: row["seeds"], right=True),
    Column("judge", lambda row: row["judge"], optional=1),
    Column("best by", lambda row: row["best_by"]),
    _spread("best_epoch", "best epoch", optional=1),
    *(
        _spread(f"{what}_{attack.lower()}", f"{attack} {what}")
        for attack in ("PGD", "clean")
        for what in ("best", "last", "gap")
    ),
    Column("alarms", lambda row: row["alarms"], optional=3),
    Column("unfinished", lambda row: row["unfinished"], optional=4),
)
CAPTION = (
    "Test accuracies in %, gap = best - last; mean ± sd over n seeds. Best: the epoch of the highest PGD accuracy on "
    'the split named under "best by"; judge: PGD of so many steps, and restarts'
)


@click.command("compare", cls=Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@option("--csv", "form", flag_value="csv", group=OUTPUT, help="Print the table as CSV: means and deviations in full.")
@option("--markdown", "form", flag_value="markdown", group=OUTPUT, help="Print it as a Markdown table.")
@option("--latex", "form", flag_value="latex", group=OUTPUT, help="Print it as a LaTeX tabular (needs booktabs).")
@FIGURE(help="Draw accuracies, dE(x) and AAE share against the epoch; PNG, PDF and CSV share the name.")
def command(runs: tuple[Path, ...], form: str | None, figure: Path | None) -> None:
    """Put training runs side by side: best and last test accuracy and the gap between them.

    RUN is a folder that `energylens train` made. Runs that differ only in their seed are one row, mean ± standard
    deviation over n of them.

    \b
    energylens compare runs/train/*
    energylens compare runs/train/fgsm-* runs/train/der-* --figure compare.png --latex > compare.tex
    """
    import pandas as pd

    from energylens.plots import tables
    from energylens.tables.compare_runs import comparison, followed
    from energylens.tables.training_runs import read_runs

    read = read_runs(runs)
    table = comparison(read)
    rows = table.to_dict("records")
    if form is None:
        show(COLUMNS, rows, caption=CAPTION, all_of_it="--csv")
    elif form == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    else:
        cells = pd.DataFrame(cells_of(COLUMNS, rows), columns=[column.heading for column in COLUMNS])
        right = [column.heading for column in COLUMNS if column.right]
        click.echo(getattr(tables, form)(cells, right), nl=False)
    for note in table.attrs["notes"]:
        click.echo(f"note: {note}", err=True)
    if figure:
        from energylens.figures.compare_runs import draw
        from energylens.plots.save import save_figure

        lines = followed(read)
        for path in save_figure(draw(lines), figure, lines):
            click.echo(path, err=True)
