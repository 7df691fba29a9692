"""``energylens train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.help import OUTPUT, SPEED, Command, option
from energylens.cli.options import DATA_ROOT, PATH, RUNS, settings_options
from energylens.cli.tables import Column, percent, show
from energylens.cli.training_progress import training_progress
from energylens.files import shown
from energylens.settings import names_in, one_of
from energylens.training.settings import DIGITS, TrainSettings, advice

if TYPE_CHECKING:
    from energylens.training.final import Ends
    from energylens.training.loop import Trained

RECIPES = "energylens.training.recipes:RECIPES"
COLUMNS = (
    Column("", lambda row: row["name"]),
    Column("epoch", lambda row: f"{row['epoch']:.0f}", right=True),
    Column("clean", lambda row: percent(row["test_clean"]), right=True),
    Column("FGSM", lambda row: percent(row["test_fgsm"]), right=True),
    Column("PGD", lambda row: percent(row["test_pgd"]), right=True),
    Column("dE(x)", lambda row: f"{row['delta_marginal']:+.3f}", right=True),
    Column("dE(x,y)", lambda row: f"{row['delta_joint']:+.3f}", right=True, optional=2),
    Column("AAE", lambda row: percent(row["abnormal_share"]), right=True),
    Column("seconds", lambda row: f"{row['seconds']:.1f}", right=True, optional=1),
)


@click.command("train", cls=Command, first=("recipe", "dataset", "method", "reg", "epochs"))
@option(
    "--recipe", metavar="NAME", usual="digits",
    help=lambda: f"Preset, whose values override the defaults shown: {one_of(names_in(RECIPES))}.",
)  # fmt: skip
@settings_options(TrainSettings, preset=DIGITS)
@click.option("--der-form", hidden=True)
@option("--device", type=click.Choice(["auto", "cpu"]), default="auto", group=SPEED, help="What trains.")
@DATA_ROOT
@RUNS(help="Where runs are kept, below train/.")
@option(
    "--resume", **PATH | {"metavar": "RUN"}, group=OUTPUT,
    help="Go on with this run folder; with a larger --epochs, extend a finished run.",
)  # fmt: skip
@option("--overwrite", is_flag=True, group=OUTPUT, help="Start a run anew that is already there.")
@option("--verbose", is_flag=True, group=OUTPUT, help="Print every setting, as a command that repeats the run.")
def command(recipe: str | None, resume: Path | None, verbose: bool, **options: Any) -> None:
    """Train a classifier, natural or adversarial, and follow its energies epoch by epoch.

    The same command again goes on where it was interrupted. [R]: a choice of ours, where no paper gives one.

    \b
    energylens train
    energylens train --reg der
    energylens train --recipe co --reg der --seed 1
    energylens train --resume RUN --epochs 90
    energylens train --init digits-standard --epochs 5
    """
    from energylens.errors import InputError
    from energylens.records.shards import launched_ranks
    from energylens.training.folder import extension, settings_in
    from energylens.training.loop import train
    from energylens.training.recipes import settings_of
    from energylens.training.watch import EnergyWatch

    if (former := options.pop("der_form")) is not None:
        raise InputError(advice(former))
    about = {name: options.pop(name) for name in ("out", "device", "overwrite")} | {"root": options.pop("data_root")}
    own = {name: value for name, value in options.items() if value not in (None, ())}
    settings = settings_in(resume, recipe, **own) if resume else settings_of(recipe or "digits", **own)
    if launched_ranks().speaks:
        if verbose:
            click.echo(f"energylens train {settings.as_options()}", err=True)
        if resume and (told := extension(resume, settings)):
            click.echo(told, err=True)
    with training_progress(settings.name) as listener:
        trained = train(settings, folder=resume, watch=EnergyWatch(), listener=listener, **about)
    if trained.writes:
        _print(trained)


def _print(trained: Trained) -> None:
    """Best and last epoch, the curves, and where to go from here."""
    from energylens.figures.training_curves import draw
    from energylens.plots.save import save_figure
    from energylens.tables.training_curves import curves
    from energylens.tables.training_runs import read_run

    history = trained.history
    rows = [{"name": name, **history.iloc[at].to_dict()} for name, at in (("best", trained.best - 1), ("last", -1))]
    judge = "validation split" if history["val_pgd"].notna().any() else "training probe"
    ended = f", ended by the {trained.stopped.upper()} alarm" if trained.stopped else ""
    caption = (
        "Accuracies on test images; E(x) means over the training images seen, natural minus adversarial.\n"
        f"Best: the epoch of the highest PGD accuracy on the {judge}."
    )
    show(COLUMNS, rows, title=f"{trained.settings.name}, {len(history)} epochs{ended}", caption=caption)
    if trained.ends is not None:
        click.echo(_told(trained.ends))
    table, folder = curves([read_run(trained.folder)]), shown(trained.folder)
    for path in save_figure(draw(table), folder / "curves.png", table):
        click.echo(path)
    click.echo(f"energylens profile --model {folder / 'best.safetensors'}")


def _told(ends: Ends) -> str:
    """``PGD-50-10 on 1000 test images: best (epoch 12) 41.0 %, last 38.2 %, lost 2.8 points``."""
    best = f"best (epoch {ends.best['epoch']}) {percent(ends.best['pgd'])}"
    last = f"last {percent(ends.last['pgd'])}, lost {100 * ends.lost:.1f} points"
    return f"{ends.judge} on {ends.images} test images: {best}, {last}"
