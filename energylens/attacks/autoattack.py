"""AutoAttack (arXiv 2003.01690) and its parts, on the attacks of the ``pyautoattack`` package, under our scheduler.

The package's attacks draw from the global random state, so their rows depend on who is in the batch. They run in fixed
blocks of the chosen samples, each part of a block under a state keyed by (seed, part, the block's first sample): the
block is the unit of work, of writing and of resuming, and a run killed anywhere goes on to the table of an
uninterrupted one. Within a block only the samples that are still robust go on to the next part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from energylens.attacks.passes import Heard, PassCounter, Told
from energylens.attacks.result import AttackResult
from energylens.attacks.settings import Length, NormName, Settings, norm_of, radius
from energylens.errors import InputError, RunError
from energylens.isolation import random_state
from energylens.models.usable import FloatLogits
from energylens.noise import Noise, key
from energylens.settings import NORM_NAMES, setting

LOGGER = logging.getLogger("energylens.autoattack")
GPU_BLOCK = 250  # as many as the package's own default batch


@dataclass(frozen=True)
class AutoAttackSettings(Settings):
    """The settings of AutoAttack and of its parts alone.

    parts: rows of PARTS, run in this order. eps in units of [0, 1]. restarts and targets are 1 and 9 where they are
    None, the package's standard, or 5 and 5 in L1. Another block is another draw.
    """

    eps: Length = radius()
    parts: tuple[str, ...] = ("apgd-ce", "apgd-t", "fab-t", "square")  # the standard version
    norm: NormName = norm_of(NORM_NAMES)
    steps: int = setting(100, "iterations", above=0, amount=True)
    restarts: int | None = setting(
        None, "runs of the untargeted attacks; the standard is 1, or 5 in l1", above=0, amount=True
    )
    queries: int = setting(5000, "queries of Square", above=0, amount=True)
    targets: int | None = setting(None, "classes tried at most; the standard is 9, or 5 in l1", above=0, amount=True)
    eot: int = setting(1, "gradients averaged in an iteration, for randomised models", above=0)
    #: on a CPU, which larger ones do not make faster
    block: int = setting(50, f"samples attacked together; on a GPU {GPU_BLOCK}", above=0)

    reports_progress: ClassVar[bool] = True
    gpu_block: ClassVar[int | None] = GPU_BLOCK

    @property
    def runs(self) -> int:
        """Restarts of the untargeted attacks."""
        return self.restarts or (5 if self.norm == "l1" else 1)

    @property
    def aims(self) -> int:
        """Classes that the targeted attacks try, at most."""
        return self.targets or (5 if self.norm == "l1" else 9)

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most, near enough to tell the time left."""
        return sum(PARTS[part].passes(self) for part in self.parts)

    @property
    def min_classes(self) -> int:
        """Classes that the parts' losses need: DLR is undefined below three, its targeted form below four."""
        return max(PARTS[part].min_classes for part in self.parts)

    @property
    def fixed(self) -> frozenset[str]:
        """The settings that none of the parts has a use for."""
        return frozenset.intersection(*(PARTS[part].unused for part in self.parts))

    @property
    def amounts(self) -> dict[str, Any]:
        """Its standards as the numbers they are; and another part is more."""
        return {**super().amounts, "restarts": self.runs, "targets": self.aims, "parts": frozenset(self.parts)}


class Perturb(Protocol):
    """An attack object of the package: its ``perturb`` gives back x where it did not succeed."""

    def perturb(self, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images for (x, y)."""


@dataclass(frozen=True)
class Part:
    """One attack of the package.

    build: (model, settings, seed, classes, device) -> the package's object. unused: the settings that it has no use
    for.
    """

    build: Callable[[nn.Module, AutoAttackSettings, int, int, torch.device], Perturb]
    passes: Callable[[AutoAttackSettings], int]
    min_classes: int = 2
    unused: frozenset[str] = frozenset()


def _apgd(loss: str) -> Callable[[nn.Module, AutoAttackSettings, int, int, torch.device], Perturb]:
    def build(model: nn.Module, s: AutoAttackSettings, seed: int, classes: int, device: torch.device) -> Perturb:
        from pyautoattack.autopgd_base import APGDAttack

        attack: Perturb = APGDAttack(
            model, n_iter=s.steps, norm=NORM_NAMES[s.norm], n_restarts=s.runs, eps=s.eps, seed=seed, loss=loss,
            eot_iter=s.eot, rho=0.75, verbose=False, device=device, use_largereps=s.norm == "l1", logger=LOGGER,
        )  # fmt: skip
        return attack

    return build


def _apgd_targeted(model: nn.Module, s: AutoAttackSettings, seed: int, classes: int, device: torch.device) -> Perturb:
    from pyautoattack.autopgd_base import APGDAttack_targeted

    attack: Perturb = APGDAttack_targeted(
        model, n_iter=s.steps, norm=NORM_NAMES[s.norm], n_restarts=1, eps=s.eps, seed=seed, eot_iter=s.eot,
        rho=0.75, n_target_classes=min(s.aims, classes - 1), verbose=False, device=device,
        use_largereps=s.norm == "l1", logger=LOGGER,
    )  # fmt: skip
    return attack


def _fab(targeted: bool) -> Callable[[nn.Module, AutoAttackSettings, int, int, torch.device], Perturb]:
    def build(model: nn.Module, s: AutoAttackSettings, seed: int, classes: int, device: torch.device) -> Perturb:
        from pyautoattack.fab_pt import FABAttack_PT

        attack: Perturb = FABAttack_PT(
            model, norm=NORM_NAMES[s.norm], n_restarts=1 if targeted else s.runs, n_iter=s.steps, eps=s.eps,
            seed=seed, targeted=targeted, device=device, n_target_classes=min(s.aims, classes - 1), verbose=False,
        )  # fmt: skip
        return attack

    return build


def _square(model: nn.Module, s: AutoAttackSettings, seed: int, classes: int, device: torch.device) -> Perturb:
    from energylens.attacks.square import AnySizeSquare

    attack: Perturb = AnySizeSquare(
        model, norm=NORM_NAMES[s.norm], n_queries=s.queries, eps=s.eps, p_init=0.8, n_restarts=1, seed=seed,
        verbose=False, device=device, resc_schedule=False,
    )  # fmt: skip
    return attack


_UNTARGETED = frozenset({"queries", "targets"})
_TARGETED = frozenset({"queries", "restarts"})

PARTS: dict[str, Part] = {
    "apgd-ce": Part(_apgd("ce"), lambda s: s.steps * s.runs * s.eot, unused=_UNTARGETED),
    "apgd-dlr": Part(_apgd("dlr"), lambda s: s.steps * s.runs * s.eot, min_classes=3, unused=_UNTARGETED),
    "apgd-t": Part(_apgd_targeted, lambda s: s.steps * s.aims * s.eot, min_classes=4, unused=_TARGETED),
    # a backward a class, about half a pass each
    "fab": Part(_fab(targeted=False), lambda s: 5 * s.steps * s.runs, unused=_UNTARGETED | {"eot"}),
    "fab-t": Part(_fab(targeted=True), lambda s: s.steps * s.aims, unused=_TARGETED | {"eot"}),
    "square": Part(  # forwards alone
        _square, lambda s: s.queries // 2, unused=frozenset({"steps", "restarts", "eot", "targets"})
    ),
}


@dataclass
class _Course:
    """How far a block has come: the passes that were made, and at most those that the samples still robust need."""

    settings: AutoAttackSettings
    told: Told | None
    made: float = 0.0

    def of(self, part: str, samples: int) -> Heard | None:
        """What hears of the passes of this part on so many samples, while it runs."""
        if self.told is None:
            return None
        tell, whole, later = self.told, samples * PARTS[part].passes(self.settings), samples * self._after(part)
        sure = part != self.settings.parts[0] or not later
        return lambda work: tell((self.made + min(work, whole)) / (self.made + whole + later), sure)

    def over(self, part: str, work: float, robust: int) -> None:
        """The part is over, after so many passes, and so many samples are robust."""
        self.made += work
        if self.told is not None and (left := robust * self._after(part)):
            self.told(self.made / (self.made + left), True)

    def _after(self, part: str) -> int:
        """The passes of all later parts."""
        later = self.settings.parts[self.settings.parts.index(part) + 1 :]
        return sum(PARTS[name].passes(self.settings) for name in later)


class Shelf(Protocol):
    """Where a block that is not whole yet is put down between two parts."""

    def load(self) -> dict[str, Tensor] | None:
        """What was put down last; None for nothing."""

    def save(self, tensors: dict[str, Tensor]) -> None:
        """Put this down in place of what is there."""


@dataclass
class _Block:
    """A block of N samples after some of the parts.

    broken_by: (N,), the number of the part that broke a sample, NATURAL where it was never right, ROBUST where none
    did. done: (), how many parts have run.
    """

    x_adv: Tensor
    logits: Tensor
    steps: Tensor
    forwards: Tensor
    backwards: Tensor
    broken_by: Tensor
    done: Tensor


NATURAL, ROBUST = -1, -2


@torch.no_grad()
def run_autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    noise: Noise,
    settings: AutoAttackSettings,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
    shelf: Shelf | None = None,
    told: Told | None = None,
) -> AttackResult:
    """Attack one block: each part takes on the robust samples, and a broken one keeps the images that broke it.

    x: (N, C, H, W) in [0, 1]; y: (N,) labels; clean_logits: (N, K) logits of x where they are known. shelf: keeps the
    block between the parts, so that one that fails or is interrupted costs its own work alone. told: hears
    which share of the block is done: within the first part, when nobody knows how few samples the others will have, the
    least that it can be. ``broken_by`` of the result names the part that broke a sample, "natural" where it was never
    right, "" where it is robust.
    """
    seen = FloatLogits(model)
    block = _put_down(shelf, x.device) or _begun(seen, x, y, clean_logits)
    course = _Course(settings, told)
    for number in range(int(block.done), len(settings.parts)):
        rows = (block.broken_by == ROBUST).nonzero().squeeze(1)
        if not len(rows):
            break
        with _told(settings.parts[number], kept=shelf is not None):
            _run_part(seen, x, y, noise, settings, number, block, rows, course)
        block.done += 1
        if shelf is not None and block.done < len(settings.parts):
            shelf.save(vars(block))
    names = {ROBUST: "", NATURAL: "natural", **dict(enumerate(settings.parts))}
    return AttackResult(
        block.x_adv, block.steps, block.forwards, block.backwards, logits=block.logits,
        broken_by=tuple(names[code] for code in block.broken_by.tolist()),
    )  # fmt: skip


def _begun(model: nn.Module, x: Tensor, y: Tensor, clean_logits: Tensor | None) -> _Block:
    """The block before the first part."""
    logits = (model(x) if clean_logits is None else clean_logits.clone()).float()
    none = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    broken_by = torch.where(logits.argmax(dim=1) == y, ROBUST, NATURAL)
    forwards = none + int(clean_logits is None)
    return _Block(x.clone(), logits, none, forwards, none.clone(), broken_by, torch.tensor(0))


def _put_down(shelf: Shelf | None, device: torch.device) -> _Block | None:
    """The block as an interrupted run has left it."""
    tensors = None if shelf is None else shelf.load()
    if tensors is None:
        return None
    formerly = {"fell": "broken_by"}  # what an earlier version called it
    return _Block(**{formerly.get(name, name): values.to(device) for name, values in tensors.items()})


def _run_part(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    noise: Noise,
    settings: AutoAttackSettings,
    number: int,
    block: _Block,
    rows: Tensor,
    course: _Course,
) -> None:
    """One part on the samples at these rows, which are robust: fills in those that it breaks."""
    name, classes = settings.parts[number], block.logits.shape[1]
    seed = key(noise.seed, name, noise.indices[0])
    with PassCounter(model, course.of(name, len(rows))) as counter, random_state(seed):
        candidates = PARTS[name].build(model, settings, seed, classes, x.device).perturb(x[rows], y[rows])
    candidates = candidates.clamp(0, 1)  # in L1 the package leaves them outside by rounding
    logits = model(candidates)
    hit = logits.argmax(dim=1) != y[rows]
    broken = rows[hit]
    block.x_adv[broken], block.logits[broken], block.broken_by[broken] = candidates[hit], logits[hit], number
    course.over(name, counter.work, int((block.broken_by == ROBUST).sum()))
    seen, returned = counter.per_sample(len(rows))
    block.forwards[rows] += seen + 1
    block.backwards[rows] += returned
    block.steps[rows] += max(seen, returned)  # the package does not tell its iterations; its passes stand for them


@contextmanager
def _told(part: str, *, kept: bool) -> Iterator[None]:
    """What a part raises is a RunError of one line. kept: the parts before it have been put down."""
    try:
        yield
    except (InputError, RunError, torch.OutOfMemoryError):  # they say in one line what is wrong
        raise
    except Exception as error:  # whatever the package, or a user's network in it, raises
        reason = next(iter(str(error).splitlines()), "") or "no reason given"
        after = (
            "what ran before it is kept, and the same command goes on from there"
            if kept
            else ("what ran before it would be kept in a folder: give out (--out)")
        )
        raise RunError(f"{part} failed ({type(error).__name__}: {reason}); {after}") from error
