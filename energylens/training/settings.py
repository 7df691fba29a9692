"""The settings of a training run: one frozen dataclass, which is the manifest, the command line and the docs too.

``energylens train --help`` reads this module: what needs torch, as the tables of rows do, is imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, Self, TypeVar

from energylens.attacks.radius import check_radius, parse_radius, write_radius
from energylens.data import data_set
from energylens.errors import InputError
from energylens.settings import (
    GRADIENT_NORMS,
    PRECISIONS,
    Setting,
    check_ranges,
    check_words,
    declared,
    manifest_of,
    options_of,
    setting,
)
from energylens.training.schedules import SCHEDULES

if TYPE_CHECKING:
    from energylens.attacks.ascent import Ascent
    from energylens.training.der import DerTerms
    from energylens.training.methods import Method
    from energylens.training.step import Terms

Part = TypeVar("Part")

MODES = ("train", "eval")
#: what the early warning does, and whether the run then stops, and goes back to the weights of its best epoch
ON_ALARM = {"warn": (False, False), "stop": (True, False), "rollback": (True, True)}
OMIT_SHARE = 0.1  # ours [R], not tuned
AUTO = "auto"  # DER on abnormal examples in single-step training, on all in multi-step training, as its author has it
ROWS = "energylens.training."
FORMER_MEAN = "all"  # the default of --der-mean before "auto": what runs without DER tell, so that they stay the same
DIGITS = {"eps_ramp": 10.0, "epochs": 40, "eval_samples": 500}  # the default recipe, here so that help can show it


@dataclass(frozen=True)
class TrainSettings:
    """Everything a run depends on.

    None stands for the method's or the data set's own value, which ``resolved`` fills in. ``docs/reference`` lists
    all settings as a table.
    """

    dataset: str = setting(
        "digits", "Data set to train on.", choices="energylens.data.catalog:DATA_SETS", metavar="NAME", short="-d",
        group="Data",
    )  # fmt: skip
    classes: tuple[int, ...] | None = setting(
        None, "Only these labels, renumbered in this order.", metavar="K,K,...", example="0,1,6,7"
    )
    per_class: int | None = setting(None, "Only the first N training images of each class.", metavar="N", least=1)
    val_fraction: float = setting(
        0.1, "Share of the training images held back to pick the best epoch.", metavar="F", most=0.9
    )
    omit: str | None = setting(
        None, "Leave out training images: {names}.", choices=f"{ROWS}omission:RULES", metavar="RULE"
    )
    omit_share: float | None = setting(
        None, f"Share of the images to learn from that --omit leaves out [default: {OMIT_SHARE}].", metavar="F",
        least=0.001, most=0.9,
    )  # fmt: skip
    omit_by: str | None = setting(None, "Model that --omit asks, a name or a weights file.", metavar="MODEL")
    augment: str | None = setting(
        None, "Random changes of the images: {names} [default: the data set's].", metavar="NAME",
        choices=f"{ROWS}augmentation:AUGMENTATIONS",
    )  # fmt: skip
    arch: str = setting("digits-cnn", "Architecture, as in `energylens profile --arch`.", metavar="NAME", group="Model")
    width: int | None = setting(
        None, "Channels of the architecture's stem, where that is free.", metavar="W", least=1, most=1e6
    )
    normalize: bool = setting(False, "Put the training images' mean and std into the model, as a layer.")
    method: str = setting(
        "pgd", "How to train: {names}.", choices=f"{ROWS}methods:METHODS", metavar="NAME", group="Attack"
    )
    eps: str | None = setting(None, "Radius of the attack, as 8/255 or 0.03 [default: the data set's].", metavar="R")
    norm: str = setting("linf", "Norm of the radius.", choices=GRADIENT_NORMS)
    steps: int | None = setting(
        None, "Steps of the attack, where it takes several [default: the method's].", metavar="K", most=1e4
    )
    step_size: str | None = setting(
        None, "Step size of the attack, as 2/255 [default: the method's share of eps].", metavar="R"
    )
    attack_mode: str | None = setting(
        None, "Mode of batch norm inside the attack [default: the method's].", choices=MODES
    )
    eps_ramp: float = setting(0.0, "Epochs over which eps grows from 0.", metavar="E", most=1e6)
    beta: float | None = setting(None, "Weight of the KL term [default: the method's].", most=1e6)
    replays: int | None = setting(
        None, "How often free training uses a batch [default: the method's].", metavar="M", least=1, most=1e3
    )
    reg: tuple[str, ...] = setting(
        (), "Regulariser: {names}, or none. Repeatable.", choices=f"{ROWS}regularizers:REGULARIZERS", metavar="NAME",
        group="Regulariser",
    )  # fmt: skip
    reg_weight: tuple[float, ...] = setting(
        (), "Weight of each --reg, in their order; DER's is beta. Left out: the authors', AAER's and ELLE's at the "
        "nearest eps they give; ours for der, energy-linearity and delta-l2 [R].", metavar="W",
    )  # fmt: skip
    der_gamma: float | None = setting(
        None, "DER: difference that costs nothing, in --der-unit [R: 0 with the mask, else .1].", metavar="G", most=1e6
    )
    der_on: str = setting(
        AUTO, "DER: samples it is of: {names}; auto: abnormal in single-step training, else all.",
        choices=(AUTO, f"{ROWS}der:SAMPLES"), metavar="WHICH",
    )  # fmt: skip
    der_mean: str = setting(
        AUTO, "DER: divide by the number of samples: {names} [R]; auto: selected with the mask alone, else all.",
        choices=(AUTO, f"{ROWS}der:MEANS"), metavar="M",
    )  # fmt: skip
    der_unit: str = setting(
        "nats", "DER: unit of dE and gamma: {names}, that of E over the batch [R].", metavar="U",
        choices=f"{ROWS}der:UNITS",
    )  # fmt: skip
    der_start: str = setting(
        "clean", "DER: what x is: {names} of the attack [R].", choices=f"{ROWS}der:STARTS", metavar="NAME"
    )
    der_stop_gradient: str = setting(
        "none", "DER: end without a gradient: {names} [R].", choices=f"{ROWS}der:STOPS", metavar="END"
    )
    der_warmup: float = setting(0.0, "DER: epochs over which its weight grows from 0 [R].", metavar="E", most=1e6)
    awp: float = setting(0.0, "Weight perturbation, 0 for none: .01, or .005 with TRADES.", metavar="GAMMA", most=1)
    optimizer: str = setting(
        "adamw", "Optimiser: {names}.", choices=f"{ROWS}optimizers:OPTIMIZERS", metavar="NAME", group="Optimisation"
    )
    lr: float = setting(2e-3, "Largest learning rate.", least=1e-12, most=1e3)
    momentum: float = setting(0.9, "Momentum; Adam's first beta, too.", most=0.9999)
    weight_decay: float = setting(1e-4, "Weight decay.", most=1e3)
    schedule: str = setting(
        "onecycle", "Learning rate over the run: {names}.", choices=f"{ROWS}schedules:SCHEDULES", metavar="NAME"
    )
    peak: float = setting(
        0.3, "Share of the run after which cyclic and onecycle are at their largest rate.", metavar="F",
        least=0.001, most=0.999,
    )  # fmt: skip
    milestones: tuple[float, ...] = setting(
        (0.5, 0.75), "Shares of the run after which piecewise drops to a tenth.", metavar="F,F", example="0.5,0.75"
    )
    epochs: int = setting(60, "Passes over the training images.", least=1, most=1e6)
    batch_size: int = setting(64, "Images in a batch, of all processes together.", metavar="B", least=2, most=1e6)
    ema: float = setting(
        0.0, "Decay of an average of the weights, which is then judged; 0 for none.", metavar="D", most=0.999999
    )
    amp: str = setting("no", "Mixed precision.", choices=PRECISIONS, group="Speed")
    channels_last: bool = setting(False, "Channels-last memory layout.")
    compile: bool = setting(False, "Compile the network with torch.compile.")
    eval_samples: int = setting(
        1000, "Images of each split that judge an epoch; 0 for all.", metavar="N", group="Evaluation"
    )
    eval_steps: int = setting(10, "Steps of the PGD that judges an epoch.", metavar="K", least=1, most=1e4)
    eval_restarts: int = setting(1, "Restarts of that PGD.", metavar="K", least=1, most=1e4, later=True)
    eval_step: str | None = setting(
        None, "Step size of that PGD, as 2/255 [default: eps/4]; of the final one too.", metavar="R", later=True
    )
    eval_amp: str = setting(
        "no", "Precision of the attacks that judge; the verdict is float32.", choices=PRECISIONS, later=True
    )
    eval_every: int = setting(
        1, "Epochs between two judgements; the last epoch is always judged.", metavar="E", least=1, most=1e6
    )
    eval_train_every: int = setting(
        1, "The same for training images, counted in epochs that are judged.", metavar="E", least=1, most=1e6,
        later=True,
    )  # fmt: skip
    final_steps: int = setting(
        0, "Steps of the PGD that judges best and last weights at the end; 0 for none.", metavar="K", most=1e4,
        later=True,
    )  # fmt: skip
    final_restarts: int = setting(10, "Restarts of the final PGD.", metavar="K", least=1, most=1e4, later=True)
    final_samples: int = setting(0, "Test images that the final PGD judges by; 0 for all.", metavar="N", later=True)
    measure_every: int = setting(
        10, "Steps between two looks at the clean images, where the steps do not see them.", metavar="K", least=1,
        group="Early warning",
    )  # fmt: skip
    # settings, as they decide the weights where an alarm stops a run
    watch_every: int = setting(10, "Measured steps between two looks of the early warning.", metavar="K", least=1)
    classwise: bool = setting(False, "Keep the probe's energies of every class.")
    on_alarm: str = setting("warn", "What the early warning does.", choices=tuple(ON_ALARM))
    seed: int = setting(0, "Seed of all random choices.", most=2**63 - 1, group="Other options")
    init: str | None = setting(
        None, "Start from the weights of this model, a name or a weights file.", metavar="MODEL", later=True
    )
    extended: tuple[int, ...] = setting(
        (), "Repeat a run that was extended: until epoch E the schedule is that of a run so long.", metavar="E,E",
        example="30,60", later=True,
    )  # fmt: skip

    @property
    def radius(self) -> float:
        """The radius eps in units of [0, 1]."""
        return parse_radius(self.eps or "nan")

    @property
    def row(self) -> Method:
        """The method's row."""
        from energylens.training.methods import METHODS

        return METHODS[self.method]

    @property
    def name(self) -> str:
        """``cifar10-preactresnet18-fgsm-der-8-255-s0``: what a run is called before its fingerprint."""
        parts = [self.dataset, self.arch, self.method, *self.reg, *(["awp"] if self.awp else [])]
        parts += [f"without-{self.omit}"] if self.omit else []
        eps = [str(self.eps).replace("/", "-")] if self.row.adversarial else []
        return "-".join([*parts, *eps, f"s{self.seed}"])

    @property
    def pixels(self) -> int:
        """How many numbers an image has."""
        return math.prod(data_set(self.dataset).image_shape)

    @property
    def der(self) -> DerTerms:
        """DER's own settings."""
        from energylens.training.der import DerTerms

        own = {one.name.removeprefix("der_"): getattr(self, one.name) for one in _of_der()}
        return DerTerms(**own | {"gamma": self.der_gamma or 0.0})

    @property
    def attack(self) -> Ascent:
        """The method's attack with the run's radius, norm, steps and step size."""
        row = self.row.attack
        if not self.row.adversarial:
            return row
        step_size = parse_radius(self.step_size or "nan", "step-size")
        return replace(row, eps=self.radius, norm=self.norm, steps=self.steps or row.steps, step_size=step_size)

    def part(self, kind: Callable[..., Part]) -> Part:
        """A part of the run, made of the resolved settings that its arguments are named after.

        Args:
            kind: a class, or a ``partial`` of one to which everything that is no setting is given already.

        Returns:
            The part.
        """
        return kind(**{name: getattr(self, name) for name in signature(kind).parameters if hasattr(self, name)})

    @property
    def terms(self) -> Terms:
        """What losses and regularisers take of resolved settings."""
        from energylens.training.step import Terms

        return self.part(Terms)

    def resolved(self) -> TrainSettings:
        """The same run with nothing left to defaults.

        Returns:
            The settings; of what was given nothing is changed.

        Raises:
            InputError: for what cannot be run.
        """
        from energylens.training.augmentation import usual_augmentation
        from energylens.training.regularizers import REGULARIZERS

        if self.reg == ("none",):
            return replace(self, reg=()).resolved()
        _check_combinations(self)
        method, row = self.row, data_set(self.dataset)
        usual: dict[str, Any] = {
            "eps": write_radius(row.default_eps[self.norm]),
            "augment": usual_augmentation(self.dataset),
            "omit_share": OMIT_SHARE if self.omit else None,
            "steps": method.attack.steps,
            "attack_mode": method.attack_mode,
            "beta": method.beta,
            "replays": method.replays,
        }
        filled = {name: value for name, value in usual.items() if getattr(self, name) is None}
        settings = replace(self, **filled)
        settings = _resolved_der(settings) if "der" in settings.reg else replace(settings, der_mean=FORMER_MEAN)
        _check_numbers(settings)
        own = tuple(REGULARIZERS[name].weight(settings.terms) for name in self.reg)
        return replace(
            settings, reg_weight=self.reg_weight or own, step_size=self.step_size or settings.usual_step_size
        )

    def extended_to(self, epochs: int) -> TrainSettings:
        """The finished run made longer.

        ``extended`` tells what it becomes where that is not the run that so many epochs from the start would be.

        Args:
            epochs: in all, more than it has.

        Returns:
            The longer run's settings.
        """
        same = not SCHEDULES[self.schedule].by_length and self.epochs % self.eval_every == 0
        return replace(self, epochs=epochs, extended=self.extended if same else (*self.extended, self.epochs))

    @property
    def usual_step_size(self) -> str:
        """The method's share of eps, as resolved settings have it."""
        return repr(self.row.attack.relative_step * self.radius)

    def manifest(self) -> dict[str, Any]:
        """The settings as JSON holds them.

        Of those that came after the first release only what is set, so that a run of an earlier version is still the
        same run.

        Returns:
            Values by name.
        """
        told = manifest_of(self)
        return told if "der" in self.reg else told | {"der_mean": FORMER_MEAN}

    def as_options(self) -> str:
        """The settings as ``energylens train`` takes them, in full.

        A step size that is the method's own is left out, for it follows from eps.

        Returns:
            Words for a shell.
        """
        return options_of(self, without={"step_size"} if self.step_size == self.usual_step_size else ())

    @classmethod
    def from_manifest(cls, found: dict[str, Any]) -> Self:
        """The settings that ``manifest`` wrote.

        Args:
            found: by name, as the manifest holds them.

        Returns:
            The settings.

        Raises:
            InputError: for fields of another version.
        """
        later = {one.name for one in declared(cls) if one.later}
        if (former := found.get("der_form")) is not None and "der" in found["reg"]:
            raise InputError(f"the run is of a version before --reg der was its author's formula: {advice(former)}")
        if strange := sorted((found.keys() | later) ^ {one.name for one in declared(cls)}):
            raise InputError(f"the manifest is of another version: it differs in {strange[0]!r}; train anew")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        return cls(**values)


#: what earlier versions called forms of DER, and what is left of them
FORMER_FORMS = {"ball-joint": "energy-linearity", "marginal-l2": "delta-l2"}
DROPPED_FORMS = (
    "marginal-l1", "joint-l2", "both", "hinge", "aae", "path-joint", "path-marginal", "path-ce", "ball-marginal",
    "shift-joint",
)  # fmt: skip


def advice(form: str) -> str:
    """What to write instead of ``--reg der --der-form FORM`` of an earlier version.

    Args:
        form: what came.

    Returns:
        The end of an error's sentence.
    """
    if form in FORMER_FORMS:
        return f"write --reg {FORMER_FORMS[form]} for what was --reg der --der-form {form}, and train anew"
    if form in DROPPED_FORMS:
        return (
            f"--der-form {form} was dropped (`energylens figures energy-forms` draws its runs): write --reg der "
            f"for DER, or one of --reg {', '.join(FORMER_FORMS.values())}, and train anew"
        )
    return f"--der-form {form!r} is unknown: write --reg der, which takes no form"


def _check_combinations(settings: TrainSettings) -> None:
    """Refuse words that are not in their tables, and combinations that mean nothing."""
    from energylens.models.architectures import architecture
    from energylens.training.regularizers import REGULARIZERS

    check_words(settings)
    architecture(settings.arch)
    method = settings.row
    meaningless = {
        "--reg": settings.reg and not method.adversarial,
        "--awp": settings.awp and not method.adversarial,
        "--beta": settings.beta is not None and method.beta is None,
        "--replays": settings.replays is not None and method.replays is None,
        "--steps": settings.steps not in (None, method.attack.steps) and not method.steppable,
    }
    for option, fault in meaningless.items():
        if fault:
            raise InputError(f"{option} means nothing to --method {settings.method}: leave one of the two out")
    if settings.reg and method.replays is not None:
        raise InputError(f"--method {settings.method} attacks with the gradient of its whole loss: leave --reg out")
    if len(set(settings.reg)) < len(settings.reg):
        raise InputError(f"--reg {', '.join(settings.reg)}: name each once, and set its weight with --reg-weight")
    for name in settings.reg if settings.compile else ():
        if REGULARIZERS[name].double_backward:
            raise InputError(f"--reg {name} needs a double backward, which torch.compile has not: leave --compile out")
    _check_omission(settings)
    _check_der(settings)
    if settings.reg_weight and len(settings.reg_weight) != len(settings.reg):
        raise InputError(
            f"{len(settings.reg_weight)} --reg-weight came for {len(settings.reg)} --reg: give one each, or none"
        )


def _resolved_der(settings: TrainSettings) -> TrainSettings:
    """DER's samples by the method's steps, mean and gamma by the samples.

    Raises InputError for a mean that is no choice.
    """
    from energylens.training.regularizers import DER_GAMMAS, DER_MEANS

    on = ("abnormal" if settings.steps == 1 else "all") if settings.der_on == AUTO else settings.der_on
    if on == "all" and settings.der_mean == "selected":
        raise InputError(
            "--der-mean selected means nothing with --der-on all, which selects every sample: leave it out"
        )
    mean = DER_MEANS[on] if settings.der_mean == AUTO else settings.der_mean
    gamma = DER_GAMMAS[on] if settings.der_gamma is None else settings.der_gamma
    return replace(settings, der_on=on, der_mean=mean, der_gamma=gamma)


def _check_der(settings: TrainSettings) -> None:
    """DER's switches come with DER."""
    if "der" in settings.reg:
        return
    for one in _of_der():
        nothing = (one.default, FORMER_MEAN) if one.name == "der_mean" else (one.default,)
        if getattr(settings, one.name) not in nothing:
            raise InputError(f"{one.option} means nothing without DER: add --reg der, or leave it out")


def _of_der() -> list[Setting]:
    """DER's own settings."""
    return [one for one in declared(TrainSettings) if one.name.startswith("der_")]


def _check_omission(settings: TrainSettings) -> None:
    """A rule has its share and, where it asks one, its model; without a rule there is neither."""
    from energylens.training.omission import RULES

    if settings.omit is None:
        if (settings.omit_share, settings.omit_by) != (None, None):
            raise InputError(f"--omit-share and --omit-by mean nothing without --omit: add one of {', '.join(RULES)}")
        return
    judged = RULES[settings.omit].judged
    if judged and settings.omit_by is None:
        raise InputError(f"--omit {settings.omit} asks a model: name it with --omit-by, as in --omit-by digits-pgd")
    if not judged and settings.omit_by is not None:
        raise InputError(f"--omit {settings.omit} asks no model: leave --omit-by out")


def _check_numbers(settings: TrainSettings) -> None:
    check_ranges(settings)
    if not all(0 <= weight < math.inf for weight in settings.reg_weight):
        raise InputError(f"--reg-weight is {settings.reg_weight}: give finite numbers of at least 0")
    check_radius(settings.radius, settings.norm)  # of natural training too, which is judged under attacks
    if settings.row.adversarial and settings.step_size is not None:
        parse_radius(settings.step_size, "step-size")
    if settings.eval_step is not None:
        parse_radius(settings.eval_step, "eval-step")
    if list(settings.extended) != sorted({*settings.extended}) or not all(
        1 <= end < settings.epochs for end in settings.extended
    ):
        raise InputError(
            f"--extended is {','.join(map(str, settings.extended))}: give rising numbers of epochs below --epochs "
            f"{settings.epochs}"
        )
    labels = settings.classes or (0, 1)
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError(f"--classes is {settings.classes}: give two or more different labels, as in 0,1,6,7")
