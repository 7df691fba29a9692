"""AutoAttack (arXiv 2003.01690) and its parts, on the attacks of the ``pyautoattack`` package, under our scheduler.

The package's attacks draw from the global random state, so their rows depend on who is in the batch. They run in fixed
blocks of the chosen samples, each part of a block under a state keyed by (seed, part, the block's first sample): the
block is the unit of work, of writing and of resuming, and a run killed anywhere goes on to the table of an
uninterrupted one. Within a block only the samples that still stand go on to the next part.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from energylens.attacks.frozen import random_state
from energylens.attacks.kernels import FUSED
from energylens.attacks.noise import Noise, key
from energylens.attacks.passes import PassCounter
from energylens.attacks.result import AttackResult
from energylens.attacks.settings import check_norm, check_numbers, check_radius

LOGGER = logging.getLogger("energylens.autoattack")
PACKAGE_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}  # our words, the package's


@dataclass(frozen=True)
class Package:
    """Settings. parts: rows of PARTS, run in this order. eps in units of [0, 1]. steps: iterations of APGD and FAB.
    restarts: of APGD-CE, APGD-DLR and FAB. queries: of Square. targets: classes tried by APGD-T and FAB-T, at most.
    None: the package's standard, 1 and 9, or 5 and 5 in L1. eot: gradients averaged an iteration, for randomised
    models. block: samples attacked together; another block is another draw."""

    eps: float
    parts: tuple[str, ...]
    norm: str = "linf"
    steps: int = 100
    restarts: int | None = None
    queries: int = 5000
    targets: int | None = None
    eot: int = 1
    block: int = 50

    recipe: ClassVar[frozenset[str]] = frozenset({"parts"})
    bounded: ClassVar[bool] = True
    traceable: ClassVar[bool] = False
    quickest: ClassVar[str] = FUSED
    targetable: ClassVar[bool] = False

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

    def check(self) -> None:
        """Refuse settings that cannot be run."""
        check_norm(self.norm, list(PACKAGE_NORMS))
        check_radius(self.eps, self.norm)
        counted = ("eps", "steps", "restarts", "queries", "targets", "eot", "block")
        check_numbers(asdict(self), positive=counted)


class Perturb(Protocol):
    """An attack object of the package: its ``perturb`` gives back x where it did not succeed."""

    def perturb(self, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images for (x, y)."""


@dataclass(frozen=True)
class Part:
    """One attack of the package. build: (model, settings, seed, classes, device) -> the package's object."""

    build: Callable[[nn.Module, Package, int, int, torch.device], Perturb]
    passes: Callable[[Package], int]
    min_classes: int = 2


def _apgd(loss: str) -> Callable[[nn.Module, Package, int, int, torch.device], Perturb]:
    def build(model: nn.Module, s: Package, seed: int, classes: int, device: torch.device) -> Perturb:
        from pyautoattack.autopgd_base import APGDAttack

        attack: Perturb = APGDAttack(
            model, n_iter=s.steps, norm=PACKAGE_NORMS[s.norm], n_restarts=s.runs, eps=s.eps, seed=seed, loss=loss,
            eot_iter=s.eot, rho=0.75, verbose=False, device=device, use_largereps=s.norm == "l1", logger=LOGGER,
        )  # fmt: skip
        return attack

    return build


def _apgd_targeted(model: nn.Module, s: Package, seed: int, classes: int, device: torch.device) -> Perturb:
    from pyautoattack.autopgd_base import APGDAttack_targeted

    attack: Perturb = APGDAttack_targeted(
        model, n_iter=s.steps, norm=PACKAGE_NORMS[s.norm], n_restarts=1, eps=s.eps, seed=seed, eot_iter=s.eot,
        rho=0.75, n_target_classes=min(s.aims, classes - 1), verbose=False, device=device,
        use_largereps=s.norm == "l1", logger=LOGGER,
    )  # fmt: skip
    return attack


def _fab(targeted: bool) -> Callable[[nn.Module, Package, int, int, torch.device], Perturb]:
    def build(model: nn.Module, s: Package, seed: int, classes: int, device: torch.device) -> Perturb:
        from pyautoattack.fab_pt import FABAttack_PT

        attack: Perturb = FABAttack_PT(
            model, norm=PACKAGE_NORMS[s.norm], n_restarts=1 if targeted else s.runs, n_iter=s.steps, eps=s.eps,
            seed=seed, targeted=targeted, device=device, n_target_classes=min(s.aims, classes - 1), verbose=False,
        )  # fmt: skip
        return attack

    return build


def _square(model: nn.Module, s: Package, seed: int, classes: int, device: torch.device) -> Perturb:
    from pyautoattack.square import SquareAttack

    attack: Perturb = SquareAttack(
        model, norm=PACKAGE_NORMS[s.norm], n_queries=s.queries, eps=s.eps, p_init=0.8, n_restarts=1, seed=seed,
        verbose=False, device=device, resc_schedule=False,
    )  # fmt: skip
    return attack


PARTS: dict[str, Part] = {
    "apgd-ce": Part(_apgd("ce"), lambda s: s.steps * s.runs * s.eot),
    "apgd-dlr": Part(_apgd("dlr"), lambda s: s.steps * s.runs * s.eot, min_classes=3),
    "apgd-t": Part(_apgd_targeted, lambda s: s.steps * s.aims * s.eot, min_classes=4),
    "fab": Part(_fab(targeted=False), lambda s: 5 * s.steps * s.runs),  # a backward a class, about half a pass each
    "fab-t": Part(_fab(targeted=True), lambda s: s.steps * s.aims),
    "square": Part(_square, lambda s: s.queries // 2),  # forwards alone
}


@torch.no_grad()
def run_package(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    noise: Noise,
    settings: Package,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
) -> AttackResult:
    """Attack one block: each part takes on the samples that stand, and a sample that fell keeps what felled it.

    x: (N, C, H, W) in [0, 1]; y: (N,) labels; clean_logits: (N, K) logits of x where they are known. ``broken_by`` of
    the result names the part a sample fell to, "natural" where it never stood, "" where it stands.
    """
    logits = (model(x) if clean_logits is None else clean_logits.clone()).float()
    classes = logits.shape[1]
    x_adv, steps = x.clone(), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    forwards, backwards = steps + int(clean_logits is None), steps.clone()
    standing = logits.argmax(dim=1) == y
    broken_by = ["" if stands else "natural" for stands in standing.tolist()]
    for name in settings.parts:
        rows = standing.nonzero().squeeze(1)
        if not len(rows):
            break
        seed = key(noise.seed, name, noise.indices[0])
        with PassCounter(model) as counter, random_state(seed):
            candidates = PARTS[name].build(model, settings, seed, classes, x.device).perturb(x[rows], y[rows])
        candidate_logits = model(candidates).float()
        fell = candidate_logits.argmax(dim=1) != y[rows]
        hit = rows[fell]
        x_adv[hit], logits[hit], standing[hit] = candidates[fell], candidate_logits[fell], False
        for row in hit.tolist():
            broken_by[row] = name
        seen, returned = counter.per_sample(len(rows))
        forwards[rows] += seen + 1
        backwards[rows] += returned
        steps[rows] += max(seen, returned)  # the package does not tell its iterations; its passes stand for them
    return AttackResult(x_adv, steps, forwards, backwards, logits=logits, broken_by=tuple(broken_by))
