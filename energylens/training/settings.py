"""The settings of a training run: one frozen dataclass, which is the manifest too."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from energylens.attacks.norms import NORMS
from energylens.attacks.radius import parse_radius, write_radius
from energylens.attacks.settings import check_norm, check_radius
from energylens.data import DATA_SETS, data_set
from energylens.errors import InputError
from energylens.models.architectures import architecture
from energylens.training.augmentation import AUGMENTATIONS, usual_augmentation
from energylens.training.der import MEANS, SAMPLES, UNITS
from energylens.training.methods import METHODS
from energylens.training.omission import RULES
from energylens.training.optimizers import OPTIMIZERS
from energylens.training.regularizers import DER_GAMMAS, REGULARIZERS, STARTS, STOPS
from energylens.training.schedules import SCHEDULES

PRECISIONS = ("no", "bf16")
MODES = ("train", "eval")
#: settings that earlier versions did not have: their runs were made as the defaults say
LATER = frozenset({
    "init", "extended", "eval_restarts", "eval_step", "eval_amp", "eval_train_every", "final_steps", "final_restarts",
    "final_samples",
})  # fmt: skip
OMIT_SHARE = 0.1  # ours [R], not tuned
ON_ALARM = ("warn", "stop", "rollback")
AUTO = "auto"  # DER on abnormal examples in single-step training, on all in multi-step training, as its author has it


@dataclass(frozen=True)
class TrainSettings:
    """Everything a run depends on. None stands for the method's or the data set's own; ``resolved`` fills it in.

    classes: labels kept and renumbered in this order, None for all; per_class: the first so many training images of
    each. val_fraction: share of the training images held back to choose the best epoch. omit, omit_share, omit_by: a
    rule of ``omission.py``, the share of the images to learn from that it leaves out, and the model, as ``load_model``
    takes it, that it asks. normalize: put the training images' mean and std into the model, as a layer. attack_mode: of
    the batch norm inside the attack. eps_ramp: epochs over which eps grows from 0. beta: weight of the KL term.
    replays: of a batch, in free training. reg, reg_weight: regularisers and their weights, in pairs; no weights stand
    for the regularisers' own. der_*: gamma, in der_unit, and the choices that DER's author leaves open, see ``der.py``;
    der_warmup: epochs over which its weight grows from 0. awp: gamma of the weight perturbation, 0 for none. peak,
    milestones: shares of the run, see ``schedules.py``. ema: decay of the averaged weights, 0 for none. eval_samples:
    how many images of each split the epochs are judged by, 0 for all; eval_steps, eval_restarts, eval_step: of the PGD
    that judges, whose step size is eps/4 by default; eval_amp: the precision of its attacks, the verdict is float32;
    eval_every: epochs between two such judgements, the last epoch is always judged; eval_train_every: the same for the
    training images, in epochs that are judged at all. final_steps: of the PGD that judges the best and the last weights
    when the run is over, 0 for none; final_restarts: its restarts; final_samples: test images, 0 for all; its step size
    is eval_step. measure_every: steps between measurements of a method whose steps do not see the clean images.
    watch_every: measured steps between two hearings of the early warning, which is heard at an epoch's end too.
    classwise: keep the probe's energies of every class. on_alarm: what the early warning does. init: a model, as
    ``load_model`` takes it, whose weights the run starts from. extended: the epochs at which a run that was to end
    there was made longer: up to each, the schedule is that of a run so long.
    """

    dataset: str = "digits"
    classes: tuple[int, ...] | None = None
    per_class: int | None = None
    val_fraction: float = 0.1
    omit: str | None = None
    omit_share: float | None = None
    omit_by: str | None = None
    augment: str | None = None
    arch: str = "digits-cnn"
    width: int | None = None
    normalize: bool = False
    method: str = "pgd"
    eps: str | None = None
    norm: str = "linf"
    steps: int | None = None
    step_size: str | None = None
    attack_mode: str | None = None
    eps_ramp: float = 0.0
    beta: float | None = None
    replays: int | None = None
    reg: tuple[str, ...] = ()
    reg_weight: tuple[float, ...] = ()
    der_gamma: float | None = None
    der_on: str = AUTO
    der_mean: str = "all"
    der_unit: str = "nats"
    der_start: str = "clean"
    der_stop_gradient: str = "none"
    der_warmup: float = 0.0
    awp: float = 0.0
    optimizer: str = "adamw"
    lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "onecycle"
    peak: float = 0.3
    milestones: tuple[float, ...] = (0.5, 0.75)
    epochs: int = 60
    batch_size: int = 64
    ema: float = 0.0
    amp: str = "no"
    channels_last: bool = False
    compile: bool = False
    eval_samples: int = 1000
    eval_steps: int = 10
    eval_restarts: int = 1
    eval_step: str | None = None
    eval_amp: str = "no"
    eval_every: int = 1
    eval_train_every: int = 1
    final_steps: int = 0
    final_restarts: int = 10
    final_samples: int = 0
    measure_every: int = 10
    watch_every: int = 10  # a setting, as on_alarm is: where an alarm stops a run, it decides the weights
    classwise: bool = False
    on_alarm: str = "warn"
    seed: int = 0
    init: str | None = None
    extended: tuple[int, ...] = ()

    @property
    def radius(self) -> float:
        """eps in units of [0, 1]."""
        return parse_radius(self.eps or "nan")

    @property
    def pixels(self) -> int:
        """How many numbers an image has."""
        return math.prod(data_set(self.dataset).image_shape)

    @property
    def name(self) -> str:
        """``cifar10-preactresnet18-fgsm-der-8-255-s0``: what a run is called before its fingerprint."""
        parts = [self.dataset, self.arch, self.method, *self.reg, *(["awp"] if self.awp else [])]
        parts += [f"without-{self.omit}"] if self.omit else []
        eps = [str(self.eps).replace("/", "-")] if METHODS[self.method].adversarial else []
        return "-".join([*parts, *eps, f"s{self.seed}"])

    def resolved(self) -> TrainSettings:
        """The same run with nothing left to defaults. Raises InputError for what cannot be run."""
        if self.reg == ("none",):
            return replace(self, reg=()).resolved()
        _check_words(self)
        method, row = METHODS[self.method], data_set(self.dataset)
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
        if "der" in settings.reg:
            settings = _resolved_der(settings)
        _check_numbers(settings)
        own = tuple(REGULARIZERS[name].weight(settings) for name in self.reg)
        return replace(
            settings, reg_weight=self.reg_weight or own, step_size=self.step_size or settings.usual_step_size
        )

    def length_at(self, epoch: int) -> int:
        """The epochs of the run whose schedule this epoch, from 0, follows."""
        return next((end for end in self.extended if epoch < end), self.epochs)

    def extended_to(self, epochs: int) -> TrainSettings:
        """The run, finished as it is, made longer. What it becomes is told as ``extended`` where it is not the same
        that a run of so many epochs from the start would be."""
        same = not SCHEDULES[self.schedule].by_length and self.epochs % self.eval_every == 0
        return replace(self, epochs=epochs, extended=self.extended if same else (*self.extended, self.epochs))

    @property
    def usual_step_size(self) -> str:
        """The method's share of eps, as resolved settings have it."""
        return repr(METHODS[self.method].attack.relative_step * self.radius)

    def manifest(self) -> dict[str, Any]:
        """The settings as JSON holds them; of those that came after the first release only what is set, so that a run
        of an earlier version is still the same run."""
        told = {name: value for name, value in asdict(self).items() if name not in LATER or value != _usual(name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}

    def as_options(self) -> str:
        """The settings as ``energylens train`` takes them, in full; a step size that is the method's own is left out,
        for it follows from eps."""
        words = []
        for name, value in asdict(self).items():
            option = name.replace("_", "-")
            if (name == "step_size" and value == self.usual_step_size) or (name in LATER and value == _usual(name)):
                continue
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            elif name in ("reg", "reg_weight"):
                words.extend(f"--{option} {one}" for one in value)
            elif value is not None:
                words.append(f"--{option} {','.join(map(str, value)) if isinstance(value, tuple) else value}")
        return " ".join(words)

    @staticmethod
    def from_manifest(found: dict[str, Any]) -> TrainSettings:
        """The settings that ``manifest`` wrote. Raises InputError for fields of another version."""
        known = {field.name for field in fields(TrainSettings)}
        if (former := found.get("der_form")) is not None and "der" in found["reg"]:
            raise InputError(f"the run is of a version before --reg der was its author's formula: {advice(former)}")
        if strange := sorted((found.keys() | LATER) ^ known):
            raise InputError(f"the manifest is of another version: it differs in {strange[0]!r}; train anew")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        return TrainSettings(**values)


def _usual(name: str) -> Any:
    """The default of this setting."""
    return getattr(TrainSettings, name)


#: what earlier versions called forms of DER, and what is left of them
FORMER_FORMS = {"ball-joint": "energy-linearity", "marginal-l2": "delta-l2"}
DROPPED_FORMS = (
    "marginal-l1", "joint-l2", "both", "hinge", "aae", "path-joint", "path-marginal", "path-ce", "ball-marginal",
    "shift-joint",
)  # fmt: skip


def advice(form: str) -> str:
    """What to write instead of ``--reg der --der-form FORM`` of an earlier version."""
    if form in FORMER_FORMS:
        return f"write --reg {FORMER_FORMS[form]} for what was --reg der --der-form {form}, and train anew"
    if form in DROPPED_FORMS:
        return (
            f"--der-form {form} was dropped (`energylens figures energy-forms` draws its runs): write --reg der "
            f"for DER, or one of --reg {', '.join(FORMER_FORMS.values())}, and train anew"
        )
    return f"--der-form {form!r} is unknown: write --reg der, which takes no form"


def _check_words(settings: TrainSettings) -> None:
    """Every word out of its table; combinations that mean nothing."""
    words: dict[str, tuple[Any, Any]] = {
        "dataset": (settings.dataset, DATA_SETS),
        "method": (settings.method, METHODS),
        "omit": (settings.omit or "random", RULES),
        "augment": (settings.augment or "none", AUGMENTATIONS),
        "optimizer": (settings.optimizer, OPTIMIZERS),
        "schedule": (settings.schedule, SCHEDULES),
        "der-on": (settings.der_on, (AUTO, *SAMPLES)),
        "der-mean": (settings.der_mean, MEANS),
        "der-unit": (settings.der_unit, UNITS),
        "der-start": (settings.der_start, STARTS),
        "der-stop-gradient": (settings.der_stop_gradient, STOPS),
        "attack-mode": (settings.attack_mode or "train", MODES),
        "amp": (settings.amp, PRECISIONS),
        "eval-amp": (settings.eval_amp, PRECISIONS),
        "on-alarm": (settings.on_alarm, ON_ALARM),
    }
    words |= {f"reg {name}": (name, REGULARIZERS) for name in settings.reg}
    for option, (given, known) in words.items():
        if given not in known:
            raise InputError(f"--{option.split()[0]} {given!r} is unknown: give one of {', '.join(known)}")
    architecture(settings.arch)
    check_norm(settings.norm, list(NORMS))
    method = METHODS[settings.method]
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
    """DER's samples by the method's steps, and gamma by the samples. Raises InputError for a mean that is no choice."""
    on = ("abnormal" if settings.steps == 1 else "all") if settings.der_on == AUTO else settings.der_on
    if on == "all" and settings.der_mean == "selected":
        raise InputError(
            "--der-mean selected means nothing with --der-on all, which selects every sample: leave it out"
        )
    return replace(settings, der_on=on, der_gamma=DER_GAMMAS[on] if settings.der_gamma is None else settings.der_gamma)


def _check_der(settings: TrainSettings) -> None:
    """DER's switches come with DER."""
    if "der" in settings.reg:
        return
    usual = TrainSettings()
    for name in (field.name for field in fields(TrainSettings) if field.name.startswith("der_")):
        if getattr(settings, name) != getattr(usual, name):
            raise InputError(f"--{name.replace('_', '-')} means nothing without DER: add --reg der, or leave it out")


def _check_omission(settings: TrainSettings) -> None:
    """A rule has its share and, where it asks one, its model; without a rule there is neither."""
    if settings.omit is None:
        if (settings.omit_share, settings.omit_by) != (None, None):
            raise InputError(f"--omit-share and --omit-by mean nothing without --omit: add one of {', '.join(RULES)}")
        return
    judged = RULES[settings.omit].judged
    if judged and settings.omit_by is None:
        raise InputError(f"--omit {settings.omit} asks a model: name it with --omit-by, as in --omit-by digits-pgd")
    if not judged and settings.omit_by is not None:
        raise InputError(f"--omit {settings.omit} asks no model: leave --omit-by out")


# the smallest and the largest value that can be run with
_RANGES: dict[str, tuple[float, float]] = {
    "per_class": (1, 1e9), "val_fraction": (0, 0.9), "omit_share": (0.001, 0.9), "steps": (0, 1e4),
    "eps_ramp": (0, 1e6), "beta": (0, 1e6), "replays": (1, 1e3), "der_gamma": (0, 1e6),
    "der_warmup": (0, 1e6), "awp": (0, 1),
    "lr": (1e-12, 1e3), "momentum": (0, 0.9999),
    "weight_decay": (0, 1e3), "peak": (0.001, 0.999), "epochs": (1, 1e6), "batch_size": (2, 1e6), "ema": (0, 0.999999),
    "eval_samples": (0, 1e9), "eval_steps": (1, 1e4), "eval_restarts": (1, 1e4), "eval_every": (1, 1e6),
    "eval_train_every": (1, 1e6), "final_steps": (0, 1e4), "final_restarts": (1, 1e4), "final_samples": (0, 1e9),
    "measure_every": (1, 1e9), "watch_every": (1, 1e9),
    "seed": (0, 2**63 - 1),
}  # fmt: skip


def _check_numbers(settings: TrainSettings) -> None:
    for name, (least, most) in _RANGES.items():
        value = getattr(settings, name)
        if value is not None and not least <= value <= most:
            raise InputError(f"--{name.replace('_', '-')} is {value}: give a number from {least:g} to {most:g}")
    if not all(0 <= weight < math.inf for weight in settings.reg_weight):
        raise InputError(f"--reg-weight is {settings.reg_weight}: give finite numbers of at least 0")
    check_radius(settings.radius, settings.norm)  # of natural training too, which is judged under attacks
    if METHODS[settings.method].adversarial and settings.step_size is not None:
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
