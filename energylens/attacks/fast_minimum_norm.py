"""FMN, the fast minimum-norm attack (arXiv 2102.12827, algorithm 1): small perturbations in few steps, in Linf or L2.

Each sample has a radius r of its own. A step goes up the gradient of the other classes' lead, by a length in L2 that a
cosine lets fall, and back into the ball of radius r and into [0, 1]; before it

    r <- min(r (1 - g), smallest so far)      where the iterate succeeds: it can be smaller
    r <- r (1 + g)                            where it does not, but one has
    r <- (||x' - x||_p + lead / ||grad||_q) (1 + g)      where none has: behind the boundary, if the lead were linear

with g falling from ``gamma`` to GAMMA_END on the same cosine, and q the dual of p. The last (1 + g) is ours [R]:
without it, as in the paper, iterates come to lie on the boundary itself and never cross it (on `digits-standard` in L2
with 42 of 100 digits). A sample on which nothing succeeded comes back as it was, as does one that needs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import input_gradient
from energylens.attacks.losses import Aim, margin
from energylens.attacks.minimum_norm import Smallest, smallest_perturbation
from energylens.attacks.result import counts
from energylens.attacks.settings import BROKEN, Length, Settings, until
from energylens.settings import setting

GAMMA_END = 1e-3
LAST_LENGTH = 0.01  # of the steps, as a share of the first's
TINY = 1e-12
#: p of the norm, and that of its dual
DUAL = {"linf": (math.inf, 1), "l2": (2, 2)}


@dataclass(frozen=True)
class FastMinimumNorm(Settings):
    """Settings of FMN (arXiv 2102.12827). steps: 100 are ours [R]; the paper has up to 1,000.

    Attributes:
        norm: linf or l2, part of the row.
        steps: in all.
        step_size: the length of the first step, in L2.
        gamma: the first change of a radius, as a share of it.
        until: the ``end``, or the first perturbation that succeeds, ``broken``.
    """

    norm: str = "linf"
    steps: int = setting(100, "steps in all", above=0, amount=True)
    step_size: Length = setting(1.0, "length of the first step, in L2", above=0)
    gamma: float = setting(0.05, "first change of the radius, as a share of it", above=0, most=1)
    until: str = until()

    targetable = True
    kappa = 0.0  # a perturbation succeeds where another class leads at all

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""
        return self.steps


def _search(model: nn.Module, x: Tensor, aim: Aim, smallest: Smallest, settings: FastMinimumNorm) -> Tensor:
    """All steps of these N samples.

    Improves ``smallest``. Returns the steps each took, (N,).
    """
    p, q = DUAL[settings.norm]
    rows, made = torch.arange(len(x), device=x.device), counts(0, x)
    farthest = _size(torch.maximum(x, 1 - x), p)  # nothing in [0, 1] lies farther
    x_adv, radius = x, torch.full_like(farthest, torch.inf)
    for step in range(settings.steps):
        seen: list[Tensor] = []

        def rivals_lead(logits: Tensor, aim: Aim = aim, seen: list[Tensor] = seen) -> Tensor:
            seen.append(logits.detach().float())
            return -aim.away(margin, logits.float())

        gradient = input_gradient(model, x_adv, rivals_lead)
        made[rows] += 1
        lead, size = aim.away(margin, seen[0]), _size(x_adv - x, p)
        success = lead < 0
        smallest.keep(rows, x_adv, size, seen[0], success)
        falling = (1 + math.cos(math.pi * step / settings.steps)) / 2
        change = GAMMA_END + (settings.gamma - GAMMA_END) * falling
        length = settings.step_size * (LAST_LENGTH + (1 - LAST_LENGTH) * falling)
        best = smallest.size[rows]
        reach = size + lead.abs() / _size(gradient, q).clamp_min(TINY)
        outside = torch.where(best.isfinite(), radius, reach) * (1 + change)
        radius = torch.where(success, torch.minimum(radius * (1 - change), best), outside).minimum(farthest)
        moved = x_adv - x + length * gradient / _wide(_size(gradient, 2).clamp_min(TINY), x)
        x_adv = (x + _into_ball(moved, radius, settings.norm)).clamp(0, 1)
        if settings.until == BROKEN and success.any():
            stay = (~success).nonzero().squeeze(1)
            rows, x, x_adv, aim = rows[stay], x[stay], x_adv[stay], aim.take(stay)
            radius, farthest = radius[stay], farthest[stay]
            if not len(rows):
                break
    return made


#: the attack on a batch, called as ``smallest_perturbation`` is
fast_minimum_norm = partial(smallest_perturbation, _search)


def _size(delta: Tensor, p: float) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(delta.flatten(1), ord=p, dim=1)
    return size


def _wide(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def _into_ball(delta: Tensor, radius: Tensor, norm: str) -> Tensor:
    """The nearest points of balls of a radius a sample, (N,)."""
    wide = _wide(radius, delta)
    if norm == "linf":
        return delta.clamp(-wide, wide)
    return delta * (wide / _wide(_size(delta, 2).clamp_min(TINY), delta)).clamp_max(1)
