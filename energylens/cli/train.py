"""``energylens train``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from energylens.cli.options import listed, positive
from energylens.cli.tables import Column, show
from energylens.cli.training_progress import training_progress
from energylens.files import shown

if TYPE_CHECKING:
    from energylens.training.final import Ends
    from energylens.training.loop import Trained


labels = listed(int, "0,1,6,7")
shares = listed(float, "0.5,0.75")
ends = listed(int, "30,60")

_SETTINGS = (
    click.option("--recipe", metavar="NAME", help="Preset: digits (the default), co-small, ro-small, co, ro or weat."),
    click.option("--dataset", "-d", metavar="NAME", help="What to train on."),
    click.option("--classes", callback=labels, metavar="K,K,...", help="Only these labels, renumbered in this order."),
    click.option("--per-class", type=int, callback=positive, metavar="N", help="Only the first N of each class."),
    click.option("--val-fraction", type=float, metavar="F", help="Share held back to pick the best epoch."),
    click.option("--omit", metavar="RULE", help="Leave out: high-energy, misclassified, low-energy or random images."),
    click.option("--omit-share", type=float, metavar="F", help="How many, of the images to learn from [default: 0.1]."),
    click.option("--omit-by", metavar="MODEL", help="By what this model, a name or a weights file, makes of them."),
    click.option("--augment", metavar="NAME", help="none, shift, crop, crop-flip [default: the data set's]."),
    click.option("--arch", metavar="NAME", help="Architecture, as in `energylens profile --arch`."),
    click.option("--width", type=int, callback=positive, metavar="W", help="Channels of its stem, where that is free."),
    click.option("--normalize/--no-normalize", default=None, help="The training images' mean and std as a layer."),
    click.option("--method", metavar="NAME", help="standard fgsm rs-fgsm n-fgsm free pgd trades mart mail-trades ..."),
    click.option("--eps", metavar="R", help="Radius, as 8/255 or 0.03 [default: the data set's]."),
    click.option("--norm", type=click.Choice(["linf", "l2"])),
    click.option("--steps", type=int, metavar="K", help="Of the attack, where it takes several."),
    click.option("--step-size", metavar="R", help="Of the attack, as 2/255 [default: the method's share of eps]."),
    click.option("--attack-mode", type=click.Choice(["train", "eval"]), help="Of batch norm inside the attack."),
    click.option("--eps-ramp", type=float, metavar="E", help="Epochs over which eps grows from 0."),
    click.option("--beta", type=float, help="Weight of the KL term."),
    click.option("--replays", type=int, metavar="M", help="How often free training uses a batch."),
    click.option(
        "--reg", multiple=True, metavar="NAME",
        help="der, gradalign, aaer, elle, elle-a, energy-linearity, delta-l2 or none. Repeatable.",
    ),
    click.option(
        "--reg-weight", type=float, multiple=True, metavar="W",
        help="Of each --reg, in their order; DER's is beta. Left out: their authors', AAER's and ELLE's at the nearest "
        "eps they give; ours for der, energy-linearity and delta-l2 [R].",
    ),
    click.option(
        "--der-gamma", type=float, metavar="G",
        help="The difference that costs nothing, in nats [R: 0 with the mask, else .1].",
    ),
    click.option(
        "--der-on", metavar="WHICH",
        help="Samples: abnormal, all, both, or auto: abnormal in single-step training, else all [default: auto].",
    ),
    click.option("--der-mean", metavar="M", help="Divide by all samples or by the selected ones [R: all]."),
    click.option("--der-unit", metavar="U", help="Of dE and gamma: nats, or the batch's spread of E [R: nats]."),
    click.option("--der-start", metavar="NAME", help="What x is: clean, or the start of the attack [R: clean]."),
    click.option("--der-stop-gradient", metavar="END", help="The end without a gradient: none, clean, adv [R: none]."),
    click.option("--der-warmup", type=float, metavar="E", help="Epochs over which DER's weight grows from 0 [R: 0]."),
    click.option("--der-form", hidden=True),
    click.option("--awp", type=float, metavar="GAMMA", help="Weight perturbation: .01, or .005 with TRADES."),
    click.option("--optimizer", metavar="NAME", help="sgd, adam or adamw."),
    click.option("--lr", type=float, help="Largest learning rate."),
    click.option("--momentum", type=float, help="Adam's first beta, too."),
    click.option("--weight-decay", type=float),
    click.option("--schedule", metavar="NAME", help="cyclic (linear), piecewise, cosine, onecycle or constant."),
    click.option("--peak", type=float, metavar="F", help="Where cyclic and onecycle are at their largest rate."),
    click.option("--milestones", callback=shares, metavar="F,F", help="Where piecewise drops to a tenth."),
    click.option("--epochs", type=int),
    click.option("--batch-size", type=int, metavar="B", help="Of all processes together."),
    click.option("--ema", type=float, metavar="D", help="Decay of an average of the weights, which is then judged."),
    click.option("--amp", type=click.Choice(["no", "bf16"]), help="Mixed precision."),
    click.option("--channels-last/--no-channels-last", default=None, help="Memory layout."),
    click.option("--compile/--no-compile", default=None, help="torch.compile."),
    click.option("--eval-samples", type=int, metavar="N", help="Images of each split that judge an epoch; 0 for all."),
    click.option("--eval-steps", type=int, metavar="K", help="Of the PGD that judges an epoch."),
    click.option("--eval-restarts", type=int, metavar="K", help="Of the same."),
    click.option("--eval-step", metavar="R", help="Its step size, as 2/255 [default: eps/4]; the final PGD's too."),
    click.option(
        "--eval-amp", type=click.Choice(["no", "bf16"]), help="Precision of its attacks; the verdict is float32."
    ),
    click.option("--eval-every", type=int, metavar="E", help="Epochs between two judgements."),
    click.option("--eval-train-every", type=int, metavar="E", help="The same for training images."),
    click.option(
        "--final-steps", type=int, metavar="K",
        help="Of the PGD that judges best and last weights at the end; 0 for none.",
    ),
    click.option("--final-restarts", type=int, metavar="K", help="Of the same."),
    click.option("--final-samples", type=int, metavar="N", help="Test images that it judges by; 0 for all."),
    click.option("--measure-every", type=int, metavar="K", help="Steps between two looks at the clean images."),
    click.option("--watch-every", type=int, metavar="K", help="Measured steps between two looks of the early warning."),
    click.option("--classwise/--no-classwise", default=None, help="Keep the probe's energies of every class."),
    click.option("--on-alarm", type=click.Choice(["warn", "stop", "rollback"]), help="What the early warning does."),
    click.option("--seed", type=int),
    click.option("--init", metavar="MODEL", help="Start from the weights of this model, a name or a weights file."),
    click.option(
        "--extended", callback=ends, metavar="E,E",
        help="Repeat a run that was extended: until epoch E the schedule is that of a run so long.",
    ),
)  # fmt: skip


def training(command: Any) -> Any:
    """Give a command every setting of a run."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.command("train")
@training
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
    from energylens.training.settings import advice
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
