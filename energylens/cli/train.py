"""``energylens train``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import LateHelp, settings_options
from energylens.cli.tables import Column, show
from energylens.cli.training_progress import training_progress
from energylens.files import shown
from energylens.settings import names_in, one_of
from energylens.training.settings import TrainSettings, advice

if TYPE_CHECKING:
    from energylens.training.final import Ends
    from energylens.training.loop import Trained


@click.command("train")
@click.option(
    "--recipe",
    metavar="NAME",
    cls=LateHelp,
    text=lambda: f"Preset: {one_of(names_in('energylens.training.recipes:RECIPES'))} [default: digits].",
)
@settings_options(TrainSettings)
@click.option("--der-form", hidden=True)
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Where data sets lie.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, metavar="DIR")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN",
    help="Go on with this run folder; with a larger --epochs, extend a finished run.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Start a run anew that is already there.")
@click.option("--verbose", is_flag=True, help="Print every setting, as a command that repeats the run.")
def command(
    recipe: str | None,
    device: str,
    data_root: Path | None,
    out: Path,
    resume: Path | None,
    overwrite: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Train a classifier, natural or adversarial, and follow its energies epoch by epoch.

    The same command again goes on where it was interrupted.

    \b
    energylens train
    energylens train --reg der
    energylens train --recipe co --reg der --seed 1
    energylens train --resume RUN --epochs 90
    energylens train --init digits-standard --epochs 5
    """
    from energylens.errors import InputError
    from energylens.records.shards import launched_ranks
    from energylens.training.loop import train
    from energylens.training.recipes import extension, settings_in, settings_of
    from energylens.training.watch import EnergyWatch

    if (former := options.pop("der_form")) is not None:
        raise InputError(advice(former))
    own = {name: value for name, value in options.items() if value not in (None, ())}
    settings = settings_in(resume, recipe, **own) if resume else settings_of(recipe or "digits", **own)
    if launched_ranks().speaks:
        if verbose:
            click.echo(f"energylens train {settings.as_options()}", err=True)
        if resume and (told := extension(resume, settings)):
            click.echo(told, err=True)
    with training_progress(settings.name) as listener:
        trained = train(
            settings, out=out, folder=resume, root=data_root, device=device, watch=EnergyWatch(), overwrite=overwrite,
            listener=listener,
        )  # fmt: skip
    if trained.writes:
        _print(trained)


def _print(trained: Trained) -> None:
    """Best and last epoch, the curves, and where to go from here."""
    from energylens.figures.training_curves import draw
    from energylens.plots.save import save_figure
    from energylens.tables.training_curves import curves
    from energylens.tables.training_runs import read_run

    history = trained.history
    rows = [
        [name, *(form(row) for _, form in _COLUMNS)]
        for name, row in (("best", history.iloc[trained.best - 1].to_dict()), ("last", history.iloc[-1].to_dict()))
    ]
    judge = "validation split" if history["val_pgd"].notna().any() else "training probe"
    ended = f", ended by the {trained.stopped.upper()} alarm" if trained.stopped else ""
    show(
        [Column(""), *(column for column, _ in _COLUMNS)],
        rows,
        title=f"{trained.settings.name}, {len(history)} epochs{ended}",
        caption="Accuracies on test images; E(x) means over the training images seen, natural minus adversarial.\n"
        f"Best: the epoch of the highest PGD accuracy on the {judge}.",
    )
    if trained.ends is not None:
        click.echo(_told(trained.ends))
    table, folder = curves([read_run(trained.folder)]), shown(trained.folder)
    for path in save_figure(draw(table), folder / "curves.png", table):
        click.echo(path)
    click.echo(f"energylens profile --model {folder / 'best.safetensors'}")


def _told(ends: Ends) -> str:
    """``PGD-50-10 on 1000 test images: best (epoch 12) 41.0 %, last 38.2 %, lost 2.8 points``."""
    return (
        f"{ends.judge} on {ends.images} test images: best (epoch {ends.best['epoch']}) {100 * ends.best['pgd']:.1f} %, "
        f"last {100 * ends.last['pgd']:.1f} %, lost {100 * ends.lost:.1f} points"
    )


_COLUMNS: tuple[tuple[Column, Callable[[Mapping[Any, Any]], str]], ...] = (
    (Column("epoch", right=True), lambda row: f"{row['epoch']:.0f}"),
    (Column("clean", right=True), lambda row: f"{100 * row['test_clean']:.1f} %"),
    (Column("FGSM", right=True), lambda row: f"{100 * row['test_fgsm']:.1f} %"),
    (Column("PGD", right=True), lambda row: f"{100 * row['test_pgd']:.1f} %"),
    (Column("dE(x)", right=True), lambda row: f"{row['delta_marginal']:+.3f}"),
    (Column("dE(x,y)", right=True, optional=2), lambda row: f"{row['delta_joint']:+.3f}"),
    (Column("AAE", right=True), lambda row: f"{100 * row['abnormal_share']:.1f} %"),
    (Column("seconds", right=True, optional=1), lambda row: f"{row['seconds']:.1f}"),
)
