"""``energylens compare``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from energylens.cli.tables import Column, show

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    Column("run", wrap=16),
    Column("data", optional=2),
    Column("n", right=True),
    Column("judge", optional=1),
    Column("best by"),
    Column("best epoch", right=True, optional=1),
    *(Column(f"{attack} {what}", right=True) for attack in ("PGD", "clean") for what in ("best", "last", "gap")),
    Column("alarms", optional=3),
    Column("unfinished", optional=4),
)

CAPTION = (
    "Test accuracies in %, gap = best - last; mean ± sd over n seeds. Best: the epoch of the highest PGD accuracy on "
    'the split named under "best by"; judge: PGD of so many steps, and restarts'
)
RIGHT = tuple(column.heading for column in COLUMNS if column.right)


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--csv", "form", flag_value="csv", help="Print the table as CSV: means and deviations as they are.")
@click.option("--markdown", "form", flag_value="markdown", help="Print it as a Markdown table.")
@click.option("--latex", "form", flag_value="latex", help="Print it as a LaTeX tabular (needs booktabs).")
@click.option(
    "--figure", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Draw accuracies, dE(x) and AAE share against the epoch; PNG, PDF and CSV share the name.",
)  # fmt: skip
def command(runs: tuple[Path, ...], form: str | None, figure: Path | None) -> None:
    """Put training runs side by side: best and last test accuracy and the gap between them.

    RUN is a folder that `energylens train` made. Runs that differ only in their seed are one row, mean ± standard
    deviation over n of them.

    \b
    energylens compare runs/train/*
    energylens compare runs/train/fgsm-* runs/train/der-* --figure compare.png --latex > compare.tex
    """
    from energylens.tables.compare_runs import comparison, followed
    from energylens.tables.training_runs import read_runs

    read = read_runs(runs)
    table = comparison(read)
    FORMS[form](table)
    for note in table.attrs["notes"]:
        click.echo(f"note: {note}", err=True)
    if figure:
        from energylens.figures.compare_runs import draw
        from energylens.plots.save import save_figure

        lines = followed(read)
        for path in save_figure(draw(lines), figure, lines):
            click.echo(path, err=True)


def _print(table: pd.DataFrame) -> None:
    show(COLUMNS, _cells(table), caption=CAPTION, all_of_it="--csv")


def _print_csv(table: pd.DataFrame) -> None:
    click.echo(table.to_csv(index=False), nl=False)


def _print_markdown(table: pd.DataFrame) -> None:
    from energylens.plots.tables import markdown

    click.echo(markdown(_headed(table), RIGHT), nl=False)


def _print_latex(table: pd.DataFrame) -> None:
    from energylens.plots.tables import latex

    click.echo(latex(_headed(table), RIGHT), nl=False)


def _headed(table: pd.DataFrame) -> pd.DataFrame:
    """The cells under their headings."""
    import pandas as pd

    return pd.DataFrame(_cells(table), columns=[column.heading for column in COLUMNS])


FORMS: dict[str | None, Callable[[pd.DataFrame], None]] = {
    None: _print,
    "csv": _print_csv,
    "markdown": _print_markdown,
    "latex": _print_latex,
}


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """The table as it is read: numbers to one decimal, with their deviation where there are several seeds."""
    from energylens.tables.compare_runs import MEASURED

    return [
        [
            row["label"], row["dataset"], str(row["seeds"]), row["judge"], row["best_by"],
            *(_spread(row[f"{name}_mean"], row[f"{name}_sd"]) for name in MEASURED),
            row["alarms"], row["unfinished"],
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip


def _spread(mean: float, sd: float) -> str:
    return f"{mean:.1f}" if sd != sd else f"{mean:.1f} ± {sd:.1f}"
