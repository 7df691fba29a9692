"""The options that several commands share: which model and data, what to record, what a dataclass of settings has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from energylens.cli.help import ATTACK, DATA, MODEL, OUTPUT, SPEED, option
from energylens.data.catalog import DATA_SETS
from energylens.records.shards import RANKS, launched_ranks
from energylens.settings import NORM_NAMES, Setting, declared

Function = Callable[..., None]
Decorator = Callable[[Function], Function]


def listed(kind: type, example: str) -> Callable[..., tuple[float, ...] | None]:
    """A callback of an option that is a list of numbers.

    It raises click.BadParameter for other text.

    Args:
        kind: int or float, of each number.
        example: such a list as it is typed, ``0.5,0.75``, for the error.

    Returns:
        The callback, which gives the numbers, and None where the option is not given.
    """

    def read(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[float, ...] | None:
        if text is None:
            return None
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise click.BadParameter(f"{text!r} is not a list of numbers such as {example}") from None

    return read


def arguments(ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any] | None:
    """A callback that reads ``width=32``, given as often as you like, as arguments by name.

    Args:
        ctx: click's context, which changes nothing.
        option: whose callback this is.
        texts: as they were typed, each ``NAME=VALUE``.

    Returns:
        The values by name, the last of a name; None where the option is not given.

    Raises:
        InputError: for what is no such text, as ``parse_argument`` says.
    """
    if not texts:
        return None
    from energylens.models.users_network import parse_argument

    return dict(map(parse_argument, texts))


def positive(ctx: click.Context, option: click.Parameter, value: int | None) -> int | None:
    """A callback that lets whole numbers above zero through, and None.

    Args:
        ctx: click's context, which changes nothing.
        option: whose callback this is.
        value: as click read it; None where the option is not given.

    Returns:
        The value, unchanged.

    Raises:
        click.BadParameter: for zero and below.
    """
    if value is not None and value < 1:
        raise click.BadParameter(f"{value} is not positive")
    return value


def _parts(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """A callback that takes a list of radii with commas apart."""
    if text is None:
        return None
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise click.BadParameter(f"{text!r} is not a list of radii such as 2/255,4/255,8/255")
    return parts


def giving(*options: Decorator) -> Decorator:
    """A decorator that gives a command several options.

    Args:
        *options: decorators that give one or more options each, in the order of the help.

    Returns:
        One decorator for all of them.
    """

    def give(command: Function) -> Function:
        for one in reversed(options):
            command = one(command)
        return command

    return give


def settings_options(kind: type, preset: Mapping[str, Any] | None = None) -> Decorator:
    """A decorator that gives a command an option for every setting of a dataclass, in the order of its fields.

    What is not given is None, or () for what is given by repeating. Words of a table are checked by the settings.

    Args:
        kind: a dataclass whose fields are made by ``energylens.settings.setting``.
        preset: defaults that the help shows instead of those of the fields.

    Returns:
        The decorator.
    """
    return giving(*(_setting(one, (preset or {}).get(one.name, one.default)) for one in declared(kind)))


def _setting(one: Setting, default: Any) -> Decorator:
    """The option of a setting."""
    told: dict[str, Any] = {"metavar": one.metavar, "default": None}
    if one.base is bool:
        names = f"{one.option}/--no-{one.option[2:]}"
    elif one.example:
        names, told["callback"] = one.option, listed(one.base, one.example)
    else:
        names, told["type"] = one.option, click.Choice(one.plain) if one.plain else one.base
        told["multiple"] = one.repeat
    told |= {"help": one.text, "group": one.group, "allowed": one.allowed, "usual": one.written(default)}
    return option(names, *filter(None, [one.short]), one.name, **told)


COUNT: dict[str, Any] = {"type": int, "callback": positive, "allowed": "1 or more"}
PATH: dict[str, Any] = {"type": click.Path(path_type=Path), "metavar": "DIR"}
FILE: dict[str, Any] = {"type": click.Path(path_type=Path, dir_okay=False), "metavar": "FILE"}
RUNS = partial(option, "--out", **PATH, default=Path("runs"), group=OUTPUT)
FIGURE = partial(option, "--figure", **FILE, group=OUTPUT)
JSON = option("--json", "as_json", is_flag=True, group=OUTPUT, help="Print all of it as JSON, and nothing else.")
BACKEND = partial(option, "--backend", formerly="--kernels", group=SPEED)
BATCH_SIZE = option("--batch-size", **COUNT, metavar="B", group=SPEED, help="Changes speed and memory only.")
DEVICE = option("--device", metavar="NAME", default="auto", group=SPEED, help="auto, cpu, cuda, cuda:1, mps.")
DATA_ROOT = option("--data-root", **PATH, group=DATA, usual="$ENERGYLENS_DATA", help="Where data sets lie.")

_data = partial(option, group=DATA)
_model = partial(option, group=MODEL)
_attack = partial(option, group=ATTACK)
_output = partial(option, group=OUTPUT)

_WHERE = (  # whose data, and where
    _data("--dataset", "-d", metavar="NAME", usual="the model's own", help=f"One of {', '.join(DATA_SETS)}."),
    DEVICE,
    DATA_ROOT,
)

_WEIGHTS = (  # how a model is read
    _model("--model-dir", **PATH, usual="$ENERGYLENS_MODELS", help="Where weights lie, in RobustBench's layout."),
    _model("--threat-model", metavar="NAME", help="RobustBench's: Linf, L2 or corruptions."),
    _model("--arch", metavar="NAME|MODULE:CLASS",
        help="Architecture of a checkpoint of your own: a name of ours, or a class or factory of yours."),
    _model("--arch-arg", "arch_args", multiple=True, callback=arguments, metavar="NAME=VALUE",
        help="An argument of that class, as width=32: a Python literal or a word. Repeatable."),
    _model("--weights-key", metavar="KEY", help="Which weights of a file with several, such as state_dict_ema."),
    _model("--mean", callback=listed(float, "0.485,0.456,0.406"), metavar="M,M,M",
        help="Mean of its input normalisation, a number a channel, if the network has none of its own."),
    _model("--std", callback=listed(float, "0.229,0.224,0.225"), metavar="S,S,S",
        help="Standard deviation of its input normalisation."),
    _model("--preprocessing", metavar="HOW",
        help="How pictures become its images, where it does not say: resize=256,crop=224,interpolation=bicubic "
        "(resize=224x224: both sides) or a word of RobustBench's, Res256Crop224."),
    _model("--trust-pickle", is_flag=True, help="Run the code inside a pickled checkpoint. Only for your own."),
)  # fmt: skip

_SAMPLES = (  # which of the data
    _data("--choose", type=click.Choice(["first", "random", "balanced"]), default="first",
        help="Which samples: the first n, n at random under the seed, or as many of each class."),
    _data("--split", metavar="NAME", default="test", help="Which part of the data set: test or train."),
    _data("--seed", type=int, metavar="S", default=0, allowed="0 or more", help="Seed of noise and random choices."),
)  # fmt: skip

_ATTACKS = (  # what is done to them
    _attack("--attack", "-a", "attacks", multiple=True, metavar="NAME[,SETTING=VALUE]...",
        usual="fgsm, pgd, trades and cw",
        help="An attack, with settings if you like: pgd,steps=50. Repeatable; `energylens attacks` lists them."),
    _data("--n", **COUNT, metavar="N", usual="256", help="How many samples."),
)  # fmt: skip
_RECORD = (  # and how
    _attack("--norm", type=click.Choice(list(NORM_NAMES)), usual="the model's, else linf",
        help="Norm of the radius."),
    _attack("--steps", **COUNT, metavar="K", help="Iterations of the attacks that iterate."),
    _attack("--target", metavar="RULE", help="Aim at a class: random, least-likely, second-best or a class number."),
    _attack("--version", type=click.Choice(["standard", "plus", "rand"]), help="Version of AutoAttack."),
    BATCH_SIZE,
    BACKEND(default="plain", metavar="plain|fused|bf16",
        help="What attacks run on: the model; a fused float32 copy; that in bfloat16. Energies stay float32."),
    _attack("--diffusion", metavar="NAME|PATH", usual="the data set's",
        help="What diff-pgd purifies with: digits-ddpm, a diffusers folder or a hub id."),
    RUNS(help="Where records are kept."),
    _output("--trajectory", is_flag=True, help="Keep E(x') and E(x',y) of every step, where attacks tell them."),
    _output("--save-images", is_flag=True,
        help="Keep the adversarial images, lossless, and what rounding them to 8 bits does; AutoAttack's always are."),
    option("--shard", metavar="I/N", group=SPEED,
        help="Do the I-th of N shares (1/8 ... 8/8); torchrun and accelerate launch give out shares by themselves."),
    _output("--overwrite", is_flag=True, help="Compute again what is already recorded."),
)  # fmt: skip

models = _model("--model", "-m", "models", multiple=True, metavar="NAME", default=["digits-standard"],
    usual="digits-standard", help="A name of `energylens models`, a checkpoint or module:factory.")  # fmt: skip
reading = giving(*_WEIGHTS)  # what a model is read with
loading = giving(*_WHERE, *_WEIGHTS)  # what a model and its data set are loaded with
naming = giving(*_WHERE, *_WEIGHTS, *_SAMPLES)  # which model, and which samples it is shown
radius = _attack("--eps", metavar="R", usual="the model's or the data set's", help="Radius, as 8/255 or 0.03.")
radii = _attack("--eps", metavar="R,R...", callback=_parts, usual="quarters of the usual one, to twice that",
    help="Radii, as 0,2/255,4/255,8/255 or 0.1,0.2.")  # fmt: skip


def recording_at(eps: Decorator) -> Decorator:
    """A decorator that gives a command all options which say what to record.

    Args:
        eps: the option of the radius or radii.

    Returns:
        The decorator.
    """
    return giving(*_ATTACKS, eps, *_RECORD, *_WHERE, *_WEIGHTS, *_SAMPLES)


recording = recording_at(radius)


def given_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options as the Python functions take them.

    Args:
        options: the command's, by their Python names.

    Returns:
        Those that were given, ``dataset`` under the name ``data``; the others are left to the functions' defaults.
    """
    renamed = {"dataset": "data"}
    return {renamed.get(name, name): value for name, value in options.items() if value not in (None, ())}


def record_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options as ``energylens.profile`` takes them; under a launcher, each of its processes takes a share.

    Args:
        options: the command's, by their Python names.

    Returns:
        Those that were given, a version of AutoAttack as a setting of the attack.

    Raises:
        InputError: for a version of AutoAttack where no attack has versions.
    """
    given = given_options(options)
    if launched_ranks().size > 1:
        given.setdefault("shard", RANKS)
    if version := given.pop("version", None):
        from energylens.attacks.spec import with_version

        given["attacks"] = with_version(given.get("attacks", ()), version)
    return given
