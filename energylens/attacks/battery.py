"""The attacks of one record: rows of the table with their settings filled in, from what a user wrote."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from energylens.attacks.autoattack import Shelf
from energylens.attacks.backends import BACKENDS, PLAIN, Networks
from energylens.attacks.foreign import ForeignAttack, attack_at, foreign_row
from energylens.attacks.radius import write_radius
from energylens.attacks.registry import ATTACKS, NO_ATTACK, AttackRow
from energylens.attacks.result import AttackResult, PassCounter, Told
from energylens.attacks.settings import BLOCK, Settings
from energylens.attacks.spec import Attack, check_runnable
from energylens.attacks.targets import check_target
from energylens.diffusion.diffuser import Diffuser
from energylens.errors import InputError
from energylens.noise import Noise


@dataclass(frozen=True)
class ConfiguredAttack:
    """A row with its settings filled in: ready to run, and all that a record needs to name it.

    Attributes:
        row: of the table.
        settings: all of them.
        eps_text: the radius as the user wrote it ("8/255"), None where it has none.
        target: None, a rule of targets.RULES or a class number.
        overrides: what was set beyond the row's defaults, as text.
        diffuser: what Diff-PGD purifies with, see ``equip``.
        backend: what computes the network, a row of BACKENDS, None for the record's.
    """

    row: AttackRow
    settings: Settings
    eps_text: str | None
    target: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    diffuser: Diffuser | None = None
    backend: str | None = None

    @property
    def reusable(self) -> bool:
        """Whether rows on disk can be known to be this attack's: not for a callable, whose settings nobody knows."""
        return self.settings.reusable

    @property
    def rounded(self) -> bool:
        """Whether it follows other gradients than those of float32."""
        return BACKENDS[self.backend or PLAIN].rounded

    @property
    def name(self) -> str:
        """The row's name and what was set beyond its defaults: ``pgd,steps=50``."""
        return ",".join([self.row.name, *(f"{k}={v}" for k, v in self.overrides.items())])

    @property
    def label(self) -> str:
        """The same as a figure would title it."""
        return ", ".join([self.row.label, *(f"{k} {v}" for k, v in self.overrides.items())])

    def running_on(self, networks: Networks, asked: str, *, trace: bool = False) -> ConfiguredAttack:
        """The attack on a backend that there is and that it supports.

        One that follows rounded gradients says so in its name.

        Args:
            networks: the model on each backend that it runs on.
            asked: the backend for an attack that names none itself, a row of BACKENDS.
            trace: whether the energies of the iterates are to be recorded, see ``Networks.backend_for``.

        Returns:
            The attack with its backend; itself where that is the plain one and it named none.
        """
        trace = trace and self.settings.traceable
        backend = networks.backend_for(self.settings.quickest, self.backend or asked, trace=trace)
        if backend == PLAIN and self.backend is None:
            return self
        told = {"backend": backend} if BACKENDS[backend].rounded else {}
        own = {name: value for name, value in self.overrides.items() if name != "backend"}
        return replace(self, backend=backend, overrides=own | told)

    def check_classes(self, classes: int) -> None:
        """Refuse to attack a model of so few classes, or to aim at one that is not there.

        Args:
            classes: how many the model has.

        Raises:
            InputError: in these cases.
        """
        if self.target is not None:
            check_target(self.target, classes)
        if self.settings.min_classes > classes:
            raise InputError(
                f"{self.name} needs {self.settings.min_classes} classes, its DLR loss is undefined for {classes}: "
                "take apgd-ce, fab-t or square instead"
            )

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        noise: Noise,
        target: Tensor | None = None,
        clean_logits: Tensor | None = None,
        trace: bool = False,
        networks: Networks | None = None,
        shelf: Shelf | None = None,
        told: Told | None = None,
    ) -> AttackResult:
        """Attack one batch.

        Args:
            model: from images in [0, 1] to logits (N, K), held in eval mode (``isolation.frozen``).
            x: (N, C, H, W) in [0, 1].
            y: (N,) labels.
            noise: of these samples.
            target: (N,) labels to move towards, or None.
            clean_logits: (N, K) logits of x where they are known.
            trace: keep the energies of every iterate, only where settings.traceable.
            networks: the model on its other backends, where the attack is to run on them.
            shelf: for attacks in blocks, see ``run_autoattack``.
            told: hears which share of the batch is done, from the attacks that know.

        Returns:
            The adversarial images and what they cost.
        """
        more: dict[str, Any] = {"trace": True} if trace else {}
        if self.diffuser:
            more["diffuser"] = self.diffuser
        if self.rounded:
            more["judge"] = model
        if self.settings.block:
            more["shelf"] = shelf
        if told and self.settings.reports_progress:
            more["told"] = told
        seen = model if networks is None else networks.on[self.backend or PLAIN]
        with self._counted(seen, len(x), told):
            return self.row.run(
                seen, x, y, noise=noise, settings=self.settings, target=target, clean_logits=clean_logits, **more
            )

    def _counted(self, network: nn.Module, samples: int, told: Told | None) -> AbstractContextManager[object]:
        """Inside, told hears of the passes through the network, where every sample of a batch makes as many."""
        if told is None or self.settings.reports_progress:
            return nullcontext()
        whole = samples * self.settings.passes
        return PassCounter(network, lambda work: told(min(1.0, work / whole), True))


NATURAL = ConfiguredAttack(NO_ATTACK, NO_ATTACK.defaults, None)

AttackSpec = str | Attack | ConfiguredAttack | ForeignAttack


def configure_battery(specs: AttackSpec | Sequence[AttackSpec], **call: Any) -> tuple[ConfiguredAttack, ...]:
    """Every attack of a record.

    Args:
        specs: names with settings, Attacks and callables, one or several.
        call: ``eps``, ``norm``, ``steps`` and ``target`` of the call, as ``configure`` takes them.

    Returns:
        The attacks in the order given, one at least.

    Raises:
        InputError: for none at all, two of one name, and as ``configure``.
    """
    if isinstance(specs, str | Attack) or callable(specs):
        specs = [specs]
    if not specs:
        raise InputError(f"no attack given: name at least one of {', '.join(row.name for row in ATTACKS)}")
    battery = tuple(configure(spec, **call) for spec in specs)
    check_distinct(battery)
    return battery


def check_distinct(battery: Sequence[ConfiguredAttack]) -> None:
    """Refuse two attacks of one name.

    Args:
        battery: the attacks, whose names tell their settings.

    Raises:
        InputError: names the first that is there twice.
    """
    names = [attack.name for attack in battery]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(
            f"attack {twice} is named twice: give each its own settings, such as pgd,steps=50, and functions names of "
            "their own"
        )


def equip(
    attack: ConfiguredAttack,
    dataset: str | None,
    image_shape: Sequence[int],
    diffusion: str | None,
    device: torch.device,
) -> ConfiguredAttack:
    """The attack with what it needs here.

    That is its diffusion model, and on a GPU blocks that fill it, unless the user gave a size; a record tells which.

    Args:
        attack: as the user configured it.
        dataset: the name of the data, None where it has none.
        image_shape: (C, H, W).
        diffusion: the diffusion model of the call, for attacks that name none themselves.
        device: where the attack runs.

    Returns:
        A copy of the attack; its diffusion model is None where it needs none.

    Raises:
        InputError: where no diffusion model is known or fits.
    """
    settings = attack.settings
    if settings.gpu_block and device.type != "cpu" and BLOCK not in attack.overrides:
        settings = replace(settings, **{BLOCK: settings.gpu_block})
    return replace(attack, settings=settings, diffuser=settings.diffuser(diffusion, dataset, image_shape, device))


def configure(
    spec: AttackSpec,
    *,
    eps: str | float | None,
    norm: str = "linf",
    steps: int | None = None,
    target: str | None = None,
) -> ConfiguredAttack:
    """An attack with all its settings, from what a user wrote.

    Args:
        spec: a name with settings (``"pgd,steps=50,restarts=10"``), an Attack, a callable or its address
            (``"package.module:function"``), or an attack that is configured already.
        eps: the radius of the call. A setting in ``spec`` overrides this and the following; an attack that has no such
            setting (FGSM's steps, C&W's eps) keeps its own.
        norm: of the radius.
        steps: iterations.
        target: a rule or a class number to aim at.

    Returns:
        The attack; its name tells the settings that ``spec`` and ``target`` gave.

    Raises:
        InputError: for an attack or a setting that there is not, or that cannot be run.
    """
    if isinstance(spec, ConfiguredAttack):
        return spec
    if isinstance(spec, str) and ":" in spec:
        spec = attack_at(spec)
    if not isinstance(spec, str | Attack):
        if target is not None:
            raise InputError("a target cannot be given to a callable: bind it there, or leave the callable out")
        row = foreign_row(spec)
        return ConfiguredAttack(row, row.defaults, eps_text=None)
    asked = Attack(spec)
    row, shown = asked.row, dict(asked.overrides)
    settings = asked.settings(eps=eps, norm=norm, steps=steps)
    if "target" not in shown and target is not None:
        check_runnable(row, settings, target)
        shown["target"] = target
    radius = shown.get("eps", eps)
    text = write_radius(radius) if radius is not None and row.defaults.bounded else None
    return ConfiguredAttack(row, settings, text, shown.get("target"), shown, backend=shown.get("backend"))
