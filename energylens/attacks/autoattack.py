"""AutoAttack (arXiv 2003.01690) and its parts, on the attacks of the ``pyautoattack`` package, under our scheduler.

The package's attacks draw from the global random state, so their rows depend on who is in the batch. They run in fixed
blocks of the chosen samples, each part of a block under a state keyed by (seed, part, the block's first sample): the
block is the unit of work, of writing and of resuming, and a run killed anywhere goes on to the table of an
uninterrupted one. Within a block only the samples that are still robust go on to the next part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from energylens.attacks.result import AttackResult, Heard, PassCounter, Told, counts
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

    Attributes:
        eps: radius, in units of [0, 1].
        parts: rows of PARTS, run in this order.
        norm: linf, l2 or l1.
        steps: iterations of APGD and FAB.
        restarts: of the untargeted attacks; None for the package's standard, 1, or 5 in L1.
        queries: of Square.
        targets: classes tried at most; None for the package's standard, 9, or 5 in L1.
        eot: gradients averaged in an iteration.
        block: samples attacked together; another block is another draw.
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


Build = Callable[[nn.Module, AutoAttackSettings, int, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Part:
    """One attack of the package.

    Attributes:
        build: (model, settings, classes, keywords that all attacks of the package take) -> the package's object, whose
            ``perturb(x, y)`` gives back x where it does not succeed.
        passes: settings -> forward-backward passes a sample makes at most.
        min_classes: classes that its loss needs.
        unused: the settings that it has no use for.
    """

    build: Build
    passes: Callable[[AutoAttackSettings], int]
    min_classes: int = 2
    unused: frozenset[str] = frozenset()


def _apgd(
    model: nn.Module, s: AutoAttackSettings, classes: int, common: Mapping[str, Any], *, loss: str | None = None
) -> Any:
    """On this loss; without one, on the targeted DLR loss, class after class."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    own = {"n_iter": s.steps, "eot_iter": s.eot, "rho": 0.75, "use_largereps": s.norm == "l1", "logger": LOGGER}
    if loss:
        return APGDAttack(model, n_restarts=s.runs, loss=loss, **common, **own)
    return APGDAttack_targeted(model, n_restarts=1, n_target_classes=min(s.aims, classes - 1), **common, **own)


def _fab(
    model: nn.Module, s: AutoAttackSettings, classes: int, common: Mapping[str, Any], *, targeted: bool = False
) -> Any:
    from pyautoattack.fab_pt import FABAttack_PT

    runs, aims = 1 if targeted else s.runs, min(s.aims, classes - 1)
    return FABAttack_PT(model, n_restarts=runs, n_iter=s.steps, targeted=targeted, n_target_classes=aims, **common)


def _square(model: nn.Module, s: AutoAttackSettings, classes: int, common: Mapping[str, Any]) -> Any:
    from energylens.attacks.square import AnySizeSquare

    return AnySizeSquare(model, n_queries=s.queries, p_init=0.8, n_restarts=1, resc_schedule=False, **common)


_UNTARGETED = frozenset({"queries", "targets"})
_TARGETED = frozenset({"queries", "restarts"})
_FORWARDS_ALONE = frozenset({"steps", "restarts", "eot", "targets"})

PARTS: dict[str, Part] = {
    "apgd-ce": Part(partial(_apgd, loss="ce"), lambda s: s.steps * s.runs * s.eot, unused=_UNTARGETED),
    "apgd-dlr": Part(partial(_apgd, loss="dlr"), lambda s: s.steps * s.runs * s.eot, 3, _UNTARGETED),
    "apgd-t": Part(_apgd, lambda s: s.steps * s.aims * s.eot, min_classes=4, unused=_TARGETED),
    # a backward a class, about half a pass each
    "fab": Part(_fab, lambda s: 5 * s.steps * s.runs, unused=_UNTARGETED | {"eot"}),
    "fab-t": Part(partial(_fab, targeted=True), lambda s: s.steps * s.aims, unused=_TARGETED | {"eot"}),
    "square": Part(_square, lambda s: s.queries // 2, unused=_FORWARDS_ALONE),
}


@dataclass
class _Course:
    """How far a block has come: the passes that were made, and at most those that the samples still robust need."""

    settings: AutoAttackSettings
    told: Told
    made: float = 0.0

    def of(self, part: str, samples: int) -> Heard:
        """What hears of the passes of this part on so many samples, while it runs."""
        whole, later = samples * PARTS[part].passes(self.settings), samples * self._after(part)
        sure = part != self.settings.parts[0] or not later
        return lambda work: self.told((self.made + min(work, whole)) / (self.made + whole + later), sure)

    def over(self, part: str, work: float, robust: int) -> None:
        """The part is over, after so many passes, and so many samples are robust."""
        self.made += work
        if left := robust * self._after(part):
            self.told(self.made / (self.made + left), True)

    def _after(self, part: str) -> int:
        """The passes of all later parts."""
        later = self.settings.parts[self.settings.parts.index(part) + 1 :]
        return sum(PARTS[name].passes(self.settings) for name in later)


class Shelf(Protocol):
    """Where a block that is not whole yet is put down between two parts."""

    def load(self) -> dict[str, Tensor] | None:
        """What was put down last.

        Returns:
            The tensors by name, as ``save`` took them; None where nothing was put down.
        """

    def save(self, tensors: dict[str, Tensor]) -> None:
        """Put this down in place of what is there.

        Args:
            tensors: by name; the first axis is the block's N samples, but for scalars that count for all of it.
        """


@dataclass
class _Block:
    """A block of N samples after some of the parts.

    Attributes:
        x_adv: (N, C, H, W) in [0, 1].
        logits: (N, K) of x_adv.
        steps: (N,) int64.
        forwards: (N,) int64.
        backwards: (N,) int64.
        broken_by: (N,) int64, the number of the part that broke a sample, NATURAL where it was never right, ROBUST
            where none did.
        done: () how many parts have run.
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

    Args:
        model: from images in [0, 1] to logits (N, K), held in eval mode.
        x: (N, C, H, W) in [0, 1].
        y: (N,) labels.
        noise: its seed and the index of the block's first sample key the random states.
        settings: of the parts.
        target: (N,), not used; no attack of the package takes a class of one's choice.
        clean_logits: (N, K) logits of x where they are known.
        shelf: keeps the block between the parts, so that one that fails or is interrupted costs its own work alone.
        told: hears which share of the block is done: within the first part, when nobody knows how few samples the
            others will have, the least that it can be.

    Returns:
        The result; its ``broken_by`` names the part that broke a sample, "natural" where it was never right, "" where
        it is robust.

    Raises:
        RunError: where the package, or the network in it, fails; in one line.
    """
    seen = FloatLogits(model)
    block = _put_down(shelf, x.device) or _begun(seen, x, y, clean_logits)
    course = _Course(settings, told or (lambda share, sure: None))
    for part in settings.parts[int(block.done) :]:
        rows = (block.broken_by == ROBUST).nonzero().squeeze(1)
        if not len(rows):
            break
        with _told(part, kept=shelf is not None):
            _run_part(part, seen, x, y, noise, block, rows, course)
        block.done += 1
        if shelf is not None and block.done < len(settings.parts):
            shelf.save(vars(block))
    names = {ROBUST: "", NATURAL: "natural", **dict(enumerate(settings.parts))}
    broken_by = tuple(names[code] for code in block.broken_by.tolist())
    return AttackResult(block.x_adv, block.steps, block.forwards, block.backwards, block.logits, broken_by)


def _begun(model: nn.Module, x: Tensor, y: Tensor, clean_logits: Tensor | None) -> _Block:
    """The block before the first part."""
    logits = (model(x) if clean_logits is None else clean_logits.clone()).float()
    broken_by = torch.where(logits.argmax(dim=1) == y, ROBUST, NATURAL)
    forwards = counts(int(clean_logits is None), x)
    return _Block(x.clone(), logits, counts(0, x), forwards, counts(0, x), broken_by, torch.tensor(0))


def _put_down(shelf: Shelf | None, device: torch.device) -> _Block | None:
    """The block as an interrupted run has left it."""
    tensors = None if shelf is None else shelf.load()
    if tensors is None:
        return None
    formerly = {"fell": "broken_by"}  # what an earlier version called it
    return _Block(**{formerly.get(name, name): values.to(device) for name, values in tensors.items()})


def _run_part(
    name: str, model: nn.Module, x: Tensor, y: Tensor, noise: Noise, block: _Block, rows: Tensor, course: _Course
) -> None:
    """One part on the samples at these rows, which are robust: fills in those that it breaks."""
    settings = course.settings
    seed = key(noise.seed, name, noise.indices[0])
    common = {"norm": NORM_NAMES[settings.norm], "eps": settings.eps, "seed": seed, "device": x.device}
    with PassCounter(model, course.of(name, len(rows))) as counter, random_state(seed):
        attack = PARTS[name].build(model, settings, block.logits.shape[1], {**common, "verbose": False})
        candidates = attack.perturb(x[rows], y[rows]).clamp(0, 1)  # in L1 the package leaves them outside by rounding
    logits = model(candidates)
    hit = logits.argmax(dim=1) != y[rows]
    broken = rows[hit]
    block.x_adv[broken], block.logits[broken] = candidates[hit], logits[hit]
    block.broken_by[broken] = settings.parts.index(name)
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
            "is kept, and the same command goes on from there"
            if kept
            else "would be kept in a folder: give out (--out)"
        )
        raise RunError(f"{part} failed ({type(error).__name__}: {reason}); what ran before it {after}") from error
