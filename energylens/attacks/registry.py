"""The attacks, as a table: a row names the function that runs and the settings that make it this attack."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from torch import Tensor, nn

from energylens.attacks.ascent import LOSSES, Ascent, ascend
from energylens.attacks.carlini_wagner import CarliniWagner, carlini_wagner
from energylens.attacks.foreign import ForeignAttack, foreign_name, run_foreign
from energylens.attacks.noise import Noise
from energylens.attacks.norms import NORMS
from energylens.attacks.radius import parse_radius, write_radius
from energylens.attacks.result import AttackResult, counts
from energylens.attacks.targets import check_target
from energylens.errors import InputError


@dataclass(frozen=True)
class Still:
    """No settings: the natural images as they are, or an attack whose settings are its own business."""

    norm: str = "linf"
    steps: int = 0
    passes: int = 1


Settings = Ascent | CarliniWagner | Still


@dataclass(frozen=True)
class AttackRow:
    """One row. ``fixed`` names the settings that make the attack what it is and cannot be set."""

    name: str
    label: str
    run: Callable[..., AttackResult]
    defaults: Settings
    summary: str
    source: str
    norms: tuple[str, ...] = ("linf", "l2")
    fixed: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()

    @property
    def targetable(self) -> bool:
        """Whether the attack can aim at a class."""
        return not isinstance(self.defaults, Ascent) or LOSSES[self.defaults.loss].targeted

    @property
    def bounded(self) -> bool:
        """Whether the attack works inside an eps-ball (C&W seeks the smallest perturbation instead)."""
        return isinstance(self.defaults, Ascent)

    def free_settings(self) -> dict[str, str]:
        """The settings a user may change beside eps and norm, each with its default as text."""
        shown = {f.name: str(getattr(self.defaults, f.name)) for f in fields(self.defaults) if f.name not in self.fixed}
        if isinstance(self.defaults, Ascent):
            shown["step_size"] = f"{self.defaults.relative_step:g} eps"
        return {name: value for name, value in shown.items() if name not in ("eps", "norm")}


def _stand(model: nn.Module, x: Tensor, y: Tensor, *, clean_logits: Tensor | None, **_: Any) -> AttackResult:
    """Leave the images as they are: the natural row of every record."""
    return AttackResult(x, steps=counts(0, x), forwards=counts(1, x), backwards=counts(0, x), logits=clean_logits)


_ANY = math.nan  # stands for eps in the rows' defaults until a radius is given
_MANY_STEPS = frozenset({"start", "start_scale", "loss", "relative_step", "clip"})
_ONE_STEP = _MANY_STEPS | {"steps", "gamma"}

ATTACKS: tuple[AttackRow, ...] = (
    AttackRow(
        "fgsm", "FGSM", ascend, Ascent(_ANY), "one step of eps from x", "arXiv 1412.6572",
        fixed=_ONE_STEP | {"restarts"},
    ),
    AttackRow(
        "rs-fgsm", "RS-FGSM", ascend, Ascent(_ANY, start="uniform", relative_step=1.25),
        "one step of 1.25 eps from a random start, clipped to eps", "arXiv 2001.03994", fixed=_ONE_STEP,
    ),
    AttackRow(
        "n-fgsm", "N-FGSM", ascend, Ascent(_ANY, start="uniform", start_scale=2.0, clip=False),
        "one step of eps from noise of 2 eps, not clipped: up to 3 eps away", "arXiv 2202.01181", fixed=_ONE_STEP,
    ),
    AttackRow(
        "pgd", "PGD", ascend, Ascent(_ANY, start="uniform", steps=20, relative_step=0.25),
        "ascent of the cross-entropy from a random start", "arXiv 1706.06083", fixed=_MANY_STEPS | {"gamma"},
    ),
    AttackRow(
        "trades", "TRADES-KL", ascend,
        Ascent(_ANY, start="gaussian", start_scale=0.001, steps=20, relative_step=0.25, loss="kl"),
        "ascent of KL(p(.|x) || p(.|x')) from x + .001 N(0, 1)", "arXiv 1901.08573",
        fixed=_MANY_STEPS | {"gamma"}, aliases=("trades-kl",),
    ),
    AttackRow(
        "he-pgd", "HE-PGD", ascend,
        Ascent(_ANY, start="uniform", steps=20, relative_step=0.25, loss="high-energy"),
        "PGD on cross-entropy + gamma E(x'): leaves no trace in E(x)", "arXiv 2304.04033", fixed=_MANY_STEPS,
    ),
    AttackRow(
        "cw", "C&W", carlini_wagner, CarliniWagner(),
        "smallest L2 perturbation at a fixed c: the energy papers' setting", "arXiv 1608.04644; torchattacks",
        norms=("l2",), fixed=frozenset({"search_steps", "norm"}), aliases=("cw-l2",),
    ),
    AttackRow(
        "cw-search", "C&W search", carlini_wagner,
        CarliniWagner(c=1e-3, steps=1000, search_steps=9, stop_ratio=0.9999),
        "smallest L2 perturbation with a binary search over c", "arXiv 1608.04644",
        norms=("l2",), fixed=frozenset({"norm"}),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """A row with its settings filled in: ready to run, and all that a record needs to name it.

    label names it among the attacks of one record. eps_text: the radius as the user wrote it ("8/255"). overrides:
    what was set beyond the row's defaults. target: None, a rule of targets.RULES or a class number.
    """

    row: AttackRow
    settings: Settings
    eps_text: str | None
    target: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def reusable(self) -> bool:
        """Whether rows on disk can be told to be this attack's: not for a callable, whose settings nobody knows."""
        return self.row.name == NATURAL.row.name or not isinstance(self.settings, Still)

    @property
    def name(self) -> str:
        """The row's name and what was set beyond its defaults: ``pgd,steps=50``."""
        return ",".join([self.row.name, *(f"{k}={v}" for k, v in self.overrides.items())])

    @property
    def label(self) -> str:
        """The same as a figure would title it."""
        return ", ".join([self.row.label, *(f"{k} {v}" for k, v in self.overrides.items())])

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        noise: Noise,
        target: Tensor | None = None,
        clean_logits: Tensor | None = None,
    ) -> AttackResult:
        """Attack one batch; see ``ascend`` and ``carlini_wagner`` for the arguments."""
        return self.row.run(model, x, y, noise=noise, settings=self.settings, target=target, clean_logits=clean_logits)


NATURAL = Attack(
    AttackRow("natural", "natural", _stand, Still(), "the images as they are", "", aliases=()), Still(), None
)

AttackSpec = str | Attack | ForeignAttack


def configure_battery(
    specs: Sequence[AttackSpec],
    *,
    eps: str | float,
    norm: str = "linf",
    steps: int | None = None,
    target: str | None = None,
) -> tuple[Attack, ...]:
    """Every attack of a record, from names, configured attacks and callables; see ``configure``."""
    if not specs:
        raise InputError(f"no attack given: name at least one of {', '.join(row.name for row in ATTACKS)}")
    battery = tuple(_configured(spec, eps=eps, norm=norm, steps=steps, target=target) for spec in specs)
    names = [attack.name for attack in battery]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"attack {twice} is named twice: give each its own settings, such as {twice},steps=50")
    return battery


def _configured(spec: AttackSpec, **battery: Any) -> Attack:
    if isinstance(spec, Attack):
        return spec
    return configure(spec, **battery) if isinstance(spec, str) else _foreign(spec)


def _foreign(attack: ForeignAttack) -> Attack:
    """A callable as a row of its own."""
    if not callable(attack):
        raise InputError(f"an attack is a name or a callable f(model, x, y) -> x_adv, not a {type(attack).__name__}")

    def run(model: nn.Module, x: Tensor, y: Tensor, *, noise: Noise, **_: Any) -> AttackResult:
        return run_foreign(attack, model, x, y, noise)

    name = foreign_name(attack)
    return Attack(AttackRow(name, name, run, Still(), "a foreign attack", ""), Still(), None)


def find_row(name: str) -> AttackRow:
    """The row of this name or alias."""
    known = {alias: row for row in ATTACKS for alias in (row.name, *row.aliases)}
    if name.lower() in known:
        return known[name.lower()]
    close = difflib.get_close_matches(name.lower(), known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise InputError(f"unknown attack {name!r}: {hint}the attacks are {', '.join(row.name for row in ATTACKS)}")


def configure(
    spec: str,
    *,
    eps: str | float,
    norm: str = "linf",
    steps: int | None = None,
    target: str | None = None,
) -> Attack:
    """An attack from its name and settings, ``"pgd"`` or ``"pgd,steps=50,restarts=10"``.

    eps, norm, steps and target are the battery's; a setting in ``spec`` goes before them, and attacks that have no
    such setting (FGSM's steps, C&W's eps) keep their own. Raises InputError.
    """
    name, *assignments = (part.strip() for part in spec.split(","))
    row = find_row(name)
    own = dict(_assignment(part, row) for part in assignments)
    text = write_radius(own.get("eps", eps))
    target = own.get("target", target)
    chosen: dict[str, Any] = {"eps": parse_radius(text), "norm": norm} if row.bounded else {}
    if steps is not None and "steps" in row.free_settings():
        chosen["steps"] = steps
    chosen |= {name: _value(name, value, row) for name, value in own.items() if name not in ("eps", "target")}
    settings = replace(row.defaults, **chosen)
    _check(row, settings, target)
    shown = own if target is None else {**own, "target": target}
    return Attack(row, settings, text if row.bounded else None, target, shown)


def _assignment(part: str, row: AttackRow) -> tuple[str, str]:
    """``steps=50`` as the name of a setting and its text."""
    name, equals, value = (piece.strip() for piece in part.partition("="))
    name = name.replace("-", "_")
    known = [*row.free_settings(), *(("eps", "norm") if row.bounded else ()), "target"]
    if not equals or name not in known:
        raise InputError(f"{row.name} has no setting {part!r}: write it as name=value with one of {', '.join(known)}")
    return name, value


def _value(name: str, text: str, row: AttackRow) -> Any:
    """The text as the setting's type."""
    kind = {field.name: field.type for field in fields(row.defaults)}[name]
    try:
        return _READERS[str(kind)](text)
    except ValueError as error:
        raise InputError(f"{row.name}: {name}={text!r} is not what was expected ({kind}): {error}") from error


_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "float | None": lambda text: parse_radius(text, what="step_size"),
    "str": str,
}


_POSITIVE = ("c", "lr", "stop_ratio")


def _check(row: AttackRow, settings: Settings, target: str | None) -> None:
    """Refuse settings that cannot be run."""
    if settings.norm not in NORMS:
        raise InputError(f"unknown norm {settings.norm!r}: give one of {', '.join(NORMS)}")
    if settings.norm not in row.norms:
        raise InputError(f"{row.name} works in {', '.join(row.norms)}, not in {settings.norm}")
    if settings.steps < 1:
        raise InputError(f"{row.name} needs at least one step, got steps={settings.steps}")
    if isinstance(settings, Ascent) and settings.restarts < 1:
        raise InputError(f"{row.name} needs at least one run, got restarts={settings.restarts}")
    numbers = {name: value for name, value in asdict(settings).items() if isinstance(value, float)}
    for name, value in numbers.items():
        if not math.isfinite(value) or value < 0 or (value == 0 and name in _POSITIVE):
            raise InputError(f"{row.name} cannot run with {name}={value:g}: a finite number above zero was expected")
    if target is not None:
        check_target(target)
        if not row.targetable:
            raise InputError(f"{row.name} looks at no label and cannot aim at a class: leave it out or drop --target")
