"""The options that name a model and its data and say what to record, shared by commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from energylens.data.catalog import DATA_SETS
from energylens.records.shards import RANKS, launched_ranks
from energylens.settings import NORM_NAMES, Setting, declared

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


def listed(kind: type, example: str) -> Callable[..., tuple[float, ...] | None]:
    """A callback that reads an option like the example, ``0.5,0.75``, as numbers of this kind."""

    def read(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
        if text is None:
            return None
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise click.BadParameter(f"{text!r} is not a list of numbers such as {example}") from None

    return read


def arguments(ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any] | None:
    """``width=32``, given as often as you like, as arguments by name."""
    if not texts:
        return None
    from energylens.models.users_network import parse_argument

    return dict(map(parse_argument, texts))


numbers = listed(float, "0.485,0.456,0.406")


def positive(ctx: click.Context, option: click.Parameter, value: int | None) -> int | None:
    """A whole number above zero."""
    if value is not None and value < 1:
        raise click.BadParameter(f"{value} is not positive")
    return value


class Renamed(click.Option):
    """An option that still takes an earlier spelling, which its help does not show."""

    def __init__(self, *args: Any, formerly: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self._formerly = formerly

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know both spellings."""
        shown = self.opts
        self.opts = [*shown, self._formerly]
        super().add_to_parser(parser, ctx)
        self.opts = shown


def giving(*options: Decorator) -> Decorator:
    """A decorator that gives a command these options, in this order."""

    def give(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return give


def settings_options(kind: type, *, defaults: bool = False) -> Decorator:
    """A decorator that gives a command an option for every setting of a dataclass, in the order of its fields.

    What is not given is None, or () for what is given by repeating. Words of a table are checked by the settings.

    Args:
        kind: a dataclass whose fields are made by ``energylens.settings.setting``.
        defaults: whether the help tells the defaults of the fields.
    """
    return giving(*(_option(one, defaults) for one in declared(kind)))


class LateHelp(click.Option):
    """An option whose help is made when it is shown."""

    def __init__(self, names: Sequence[str], text: Callable[[], str], **rest: Any) -> None:
        super().__init__(names, **rest)
        self._text = text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The option's line in the help, whose text is made now."""
        self.help = self._text()
        return super().get_help_record(ctx)


def _option(one: Setting, defaults: bool) -> Decorator:
    """The option of a setting."""

    def text() -> str:
        return f"{one.text()[:-1]} [default: {one.default}]." if defaults else one.text()

    told: dict[str, Any] = {"cls": LateHelp, "text": text, "metavar": one.metavar, "default": None}
    if one.base is bool:
        names = f"{one.option}/--no-{one.option[2:]}"
    elif one.example:
        names, told["callback"] = one.option, listed(one.base, one.example)
    else:
        names, told["type"] = one.option, click.Choice(one.plain) if one.plain else one.base
        told["multiple"] = one.repeat
    return click.option(names, *filter(None, [one.short]), one.name, **told)


_DATA = (  # whose, and where
    click.option("--dataset", "-d", metavar="NAME", help=f"Default: the model's own. One of {', '.join(DATA_SETS)}."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option(
        "--data-root", type=click.Path(path_type=Path), metavar="DIR",
        help="Where data sets lie [default: $ENERGYLENS_DATA].",
    ),
)  # fmt: skip

_WEIGHTS = (  # how a model is read
    click.option(
        "--model-dir", type=click.Path(path_type=Path), metavar="DIR",
        help="Where weights lie, in RobustBench's layout [default: $ENERGYLENS_MODELS].",
    ),
    click.option("--threat-model", metavar="NAME", help="RobustBench's: Linf, L2 or corruptions."),
    click.option(
        "--arch", metavar="NAME|MODULE:CLASS",
        help="Architecture of a checkpoint of your own: a name of ours, or a class or factory of yours.",
    ),
    click.option(
        "--arch-arg", "arch_args", multiple=True, callback=arguments, metavar="NAME=VALUE",
        help="An argument of that class, as width=32: a Python literal or a word. Repeatable.",
    ),
    click.option("--weights-key", metavar="KEY", help="Which weights of a file with several, such as state_dict_ema."),
    click.option("--mean", callback=numbers, metavar="M,M,M", help="Its input normalisation, if the network has one."),
    click.option("--std", callback=numbers, metavar="S,S,S"),
    click.option(
        "--preprocessing", metavar="HOW",
        help="How pictures become its images, where it does not say: resize=256,crop=224,interpolation=bicubic "
        "(resize=224x224: both sides) or a word of RobustBench's, Res256Crop224.",
    ),
    click.option("--trust-pickle", is_flag=True, help="Run the code inside a pickled checkpoint. Only for your own."),
)  # fmt: skip

_SAMPLES = (  # which of the data
    click.option(
        "--choose", type=click.Choice(["first", "random", "balanced"]), default="first", show_default=True,
        help="Which samples: the first n, n at random under the seed, or as many of each class.",
    ),
    click.option("--split", default="test", show_default=True, help="Which part of the data set: test or train."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the noise and of random choices."),
)  # fmt: skip

_RECORD = (  # what to do with them
    click.option(
        "--attack", "-a", "attacks", multiple=True, metavar="NAME[,SETTING=VALUE]...",
        help="An attack, with settings if you like: pgd,steps=50. Repeatable; `energylens attacks` lists them.",
    ),
    click.option("--n", type=int, callback=positive, metavar="N", help="How many samples [default: 256]."),
    click.option("--eps", metavar="R", help="Radius, as 8/255 or 0.03 [default: the model's or the data set's]."),
    click.option("--norm", type=click.Choice(list(NORM_NAMES)), help="Default: the model's, else linf."),
    click.option("--steps", type=int, callback=positive, metavar="K", help="Iterations of the attacks that iterate."),
    click.option(
        "--target", metavar="RULE", help="Aim at a class: random, least-likely, second-best or a class number."
    ),
    click.option("--version", type=click.Choice(["standard", "plus", "rand"]), help="Of AutoAttack."),
    click.option("--batch-size", type=int, callback=positive, metavar="B", help="Changes speed and memory only."),
    click.option(
        "--backend", cls=Renamed, formerly="--kernels", default="plain", show_default=True, metavar="plain|fused|bf16",
        help="What attacks run on: the model; a fused float32 copy; that in bfloat16. Energies stay float32.",
    ),
    click.option(
        "--diffusion", metavar="NAME|PATH",
        help="What diff-pgd purifies with: digits-ddpm, a diffusers folder or a hub id [default: the data set's].",
    ),
    click.option(
        "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, metavar="DIR",
        help="Where records are kept.",
    ),
    click.option("--trajectory", is_flag=True, help="Keep E(x') and E(x',y) of every step, where attacks tell them."),
    click.option(
        "--save-images", is_flag=True,
        help="Keep the adversarial images, lossless, and what rounding them to 8 bits does; AutoAttack's always are.",
    ),
    click.option(
        "--shard", metavar="I/N",
        help="Do the I-th of N shares (1/8 ... 8/8); under torchrun or accelerate launch, shares go out by themselves.",
    ),
    click.option("--overwrite", is_flag=True, help="Compute again what is already recorded."),
)  # fmt: skip


reading = giving(*_WEIGHTS)  # what a model is read with
loading = giving(*_DATA, *_WEIGHTS)  # what a model and its data set are loaded with
naming = giving(*_DATA, *_WEIGHTS, *_SAMPLES)  # which model, and which samples it is shown
recording = giving(*_RECORD, *_DATA, *_WEIGHTS, *_SAMPLES)  # all that says what to record


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options as the Python functions take them: what was not given is left to their defaults."""
    renamed = {"dataset": "data"}
    return {renamed.get(name, name): value for name, value in options.items() if value is not None}


def record_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options as ``energylens.profile`` takes them; under a launcher, each of its processes takes a share."""
    given = given_options(options)
    if launched_ranks().size > 1:
        given.setdefault("shard", RANKS)
    if version := given.pop("version", None):
        from energylens.attacks.spec import with_version

        given["attacks"] = with_version(given["attacks"], version)
    if not given["attacks"]:
        del given["attacks"]
    return given
