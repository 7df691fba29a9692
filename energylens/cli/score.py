"""``energylens score``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import positive, reading
from energylens.cli.progress import progress
from energylens.cli.tables import Column, show

if TYPE_CHECKING:
    from energylens.generation.score import Scores, Value


@click.command("score")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@click.option("--dataset", "-d", metavar="NAME", help="Of the real images [default: the generation's own].")
@click.option("--reference", metavar="SPLIT", help="Of the real images: train [default] or test.")
@click.option("--inception-weights", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("--classifier", metavar="NAME", help="Score in this classifier's features instead of Inception's.")
@click.option("--layer", metavar="NAME", help="Of the classifier: penultimate [default] or logits.")
@reading
@click.option("--batch-size", type=int, callback=positive, metavar="B", help="Changes speed and memory only.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Where data sets lie.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, metavar="DIR",
    help="Where the statistics of the real images are kept.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON, and nothing else.")
def command(as_json: bool, **options: Any) -> None:
    """Score folders of pictures against real images and rank them.

    A FOLDER's pictures lie in it, in its images/, or in folders below it, such as one a class.

    IS, FID and KID in Inception's features where torch's cache has its weights, or --inception-weights names them;
    else the same formulas in a classifier's features, under their general names. Folders that `energylens generate`
    made and that differ only in their seed are one row, with the 95 % interval of the mean; of such a folder the images
    are scored that were asked for last.

    \b
    energylens score runs/digits-pgd/generate-*
    energylens score pictures --dataset cifar10 --inception-weights FILE
    energylens score pictures --dataset cifar10 --classifier my.pt --arch resnet18
    """
    from energylens.generation.score import score

    with progress("score") as listener:
        scores = score(listener=listener, **{name: value for name, value in options.items() if value is not None})
    if as_json:
        click.echo(json.dumps(scores.as_numbers(), indent=2))
    else:
        _print(scores)


def _print(scores: Scores) -> None:
    """Print the scores, then what was compared and what a reader must know.

    The table has a row a score and a column a set of images, by rank, so that many scores fit a narrow terminal.
    """
    columns = [Column("score", wrap=12), *(Column(row.name, right=True, wrap=10) for row in scores.rows)]
    counts = [("n", [str(row.n) for row in scores.rows]), ("seeds", [str(len(row.seeds) or "") for row in scores.rows])]
    values = [
        (name.replace("_", " "), [_cell(row.values[name]) for row in scores.rows]) for name in scores.rows[0].values
    ]
    show(
        columns,
        [[name, *cells] for name, cells in [*counts, *values]],
        title=scores.title,
        caption="\n".join([f"Resize: {scores.resize}. {scores.dtype}. ±: half a 95 % interval.", *scores.notes]),
    )


def _cell(value: Value) -> str:
    """``12.3 ± 0.4``, or the number."""
    if value.low is None or value.high is None:
        return f"{value.value:.3g}"
    half = (value.high - value.low) / 2
    return f"{value.value:.3g} ± {half:.2g}"
