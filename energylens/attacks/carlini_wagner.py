"""Carlini & Wagner's minimum-norm L2 attack (arXiv 1608.04644, section V.B), both ways it is used.

In w-space, with x' = (tanh(w) + 1) / 2, Adam minimises for each sample

    ||x' - x||_2^2 + c * max(f_y(x') - max_{k != y} f_k(x'), -kappa)         (signs turned for a target)

``cw``         a fixed c (1, 50 steps, lr 0.01: the energy papers' setting, that of torchattacks);
``cw-search``  c by binary search, the smallest that still succeeds. First c, searches, rate and early stop are those of
               Carlini's code (l2_attack.py); 1,000 steps are ours [R], his are 10,000.

Each sample stops by itself once its objective no longer falls and leaves the batch; the smallest perturbation that
succeeded is kept. A sample on which none did comes back as it was, and so does one that needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from energylens.attacks.losses import Aim
from energylens.attacks.minimum_norm import Descent, Smallest, smallest_perturbation
from energylens.attacks.norms import l2_size
from energylens.attacks.result import counts
from energylens.attacks.settings import Settings
from energylens.settings import setting

CHECKS = 10  # how often in a run a sample asks whether its objective still falls


@dataclass(frozen=True)
class CarliniWagner(Settings):
    """Settings of Carlini and Wagner's L2 attack (arXiv 1608.04644).

    Attributes:
        c: weight of the margin.
        kappa: the margin to reach, in logits.
        steps: of a run.
        lr: of Adam, in w-space.
        search_steps: runs, each with another c; 0 for one run with c as it is.
        stop_ratio: a sample stops when its objective exceeds this share of what it was a tenth of the run ago.
        norm: always l2.
    """

    c: float = setting(1.0, "weight of the margin, the first one tried where c is searched", above=0)
    kappa: float = setting(0.0, "margin to reach, in logits")
    steps: int = setting(50, "Adam iterations of a run", above=0, amount=True)
    lr: float = setting(0.01, "Adam's learning rate", above=0)
    search_steps: int = setting(0, "binary search steps over c, 0 for a fixed c")
    stop_ratio: float = setting(
        1.0, "a sample stops when its objective exceeds this share of what it was a tenth of the run ago", above=0
    )
    norm: str = "l2"

    targetable = True

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""
        return self.steps * max(self.search_steps, 1)

    @property
    def fixed(self) -> frozenset[str]:
        """A fixed c is one attack, a search over c another."""
        return frozenset() if self.search_steps else frozenset({"search_steps"})


def _search(model: nn.Module, x: Tensor, aim: Aim, smallest: Smallest, settings: CarliniWagner) -> Tensor:
    """The runs for one c after another, by bisection once a c has succeeded, tenfold until then.

    Improves ``smallest``. Returns the steps each sample took, (N,).
    """
    steps = counts(0, x)
    c = torch.full((len(x),), settings.c, device=x.device)
    lower, upper = torch.zeros_like(c), torch.full_like(c, torch.inf)
    for _ in range(max(settings.search_steps, 1)):
        succeeded, used = _minimise(model, x, aim, c, smallest, settings)
        steps += used
        upper = torch.where(succeeded, c, upper)
        lower = torch.where(succeeded, lower, c)
        c = torch.where(upper.isfinite(), (lower + upper) / 2, c * 10)
    return steps


#: the attack on a batch, called as ``smallest_perturbation`` is
carlini_wagner = partial(smallest_perturbation, _search)


def _minimise(
    model: nn.Module, x: Tensor, aim: Aim, c: Tensor, smallest: Smallest, settings: CarliniWagner
) -> tuple[Tensor, Tensor]:
    """Adam on w for one c a sample; improves ``smallest``. Returns who succeeded and the steps each used, both (N,)."""
    descent, rows = Descent(x, aim), torch.arange(len(x), device=x.device)
    last = torch.full((len(x),), torch.inf, device=x.device)
    succeeded = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    steps = counts(0, x)
    for step in range(settings.steps):
        seen = descent.look(model, _squared, c, settings.kappa)
        steps[rows] += 1
        success = seen.lead < -settings.kappa
        succeeded[rows] |= success
        smallest.keep(rows, seen.x_adv, l2_size(seen.x_adv - descent.x), seen.logits, success)
        descent.step(seen.gradient, settings.lr)
        if step % max(settings.steps // CHECKS, 1) == 0:
            falls = seen.objective <= last * settings.stop_ratio
            rows, last, c = rows[falls], seen.objective[falls], c[falls]
            descent.take(falls)
            if not len(rows):
                break
    return succeeded, steps


def _squared(delta: Tensor) -> Tensor:
    return delta.square().flatten(1).sum(dim=1)
