"""``energylens score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.help import DATA, MODEL, Command, option
from energylens.cli.options import BATCH_SIZE, DATA_ROOT, DEVICE, FILE, JSON, RUNS, reading
from energylens.cli.progress import progress
from energylens.cli.tables import Column, print_json, show

if TYPE_CHECKING:
    from energylens.generation.score import Scores, Value


@click.command("score", cls=Command, first=("dataset", "reference", "classifier", "inception_weights", "as_json"))
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@option(
    "--dataset", "-d", metavar="NAME", group=DATA, usual="the generation's own", help="Data set of the real images."
)
@option("--reference", metavar="SPLIT", group=DATA, usual="train", help="Split of the real images: train or test.")
@option("--inception-weights", **FILE, group=MODEL, help="Inception's weights, where torch's cache has them not.")
@option("--classifier", metavar="NAME", group=MODEL, help="Score in this classifier's features instead of Inception's.")
@option(
    "--layer", metavar="NAME", group=MODEL, usual="penultimate", help="Layer of the classifier: penultimate or logits."
)
@reading
@BATCH_SIZE
@DEVICE
@DATA_ROOT
@RUNS(help="Where the statistics of the real images are kept.")
@JSON
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
        print_json(scores.as_numbers())
    else:
        _print(scores)


def _print(scores: Scores) -> None:
    """Print the scores, then what was compared and what a reader must know.

    The table has a row a score and a column a set of images, by rank, so that many scores fit a narrow terminal.
    """
    columns = [Column("score", wrap=12), *(Column(row.name, right=True, wrap=10) for row in scores.rows)]
    rows = [
        ["n", *(row.n for row in scores.rows)],
        ["seeds", *(len(row.seeds) or "" for row in scores.rows)],
        *(
            [name.replace("_", " "), *(_cell(row.values[name]) for row in scores.rows)]
            for name in scores.rows[0].values
        ),
    ]
    caption = [f"Resize: {scores.resize}. {scores.dtype}. ±: half a 95 % interval.", *scores.notes]
    show(columns, rows, title=scores.title, caption="\n".join(caption))


def _cell(value: Value) -> str:
    """``12.3 ± 0.4``, or the number."""
    if value.low is None or value.high is None:
        return f"{value.value:.3g}"
    half = (value.high - value.low) / 2
    return f"{value.value:.3g} ± {half:.2g}"
