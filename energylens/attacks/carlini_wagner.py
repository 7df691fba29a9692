"""Carlini & Wagner's minimum-norm attacks (arXiv 1608.04644), in L2 (section V.B) and in Linf (section VI.C).

In w-space, with x' = (tanh(w) + 1) / 2, Adam minimises for each sample

    d(x' - x) + c * max(f_y(x') - max_{k != y} f_k(x'), -kappa)                     (signs turned for a target)

    L2      d = ||x' - x||_2^2
    Linf    d = sum_i max(|x'_i - x_i| - tau, 0)

and the smallest perturbation that succeeded is kept. A sample on which none did comes back as it was, and so does one
that needs none.

**L2**, both ways it is used. Each sample stops by itself once its objective no longer falls and leaves the batch.

``cw``         a fixed c (1, 50 steps, lr 0.01: the energy papers' setting, that of torchattacks);
``cw-search``  c by binary search, the smallest that still succeeds. First c, searches, rate and early stop are those of
               Carlini's code (l2_attack.py); 1,000 steps are ours [R], his are 10,000.

**Linf**. As soon as a sample succeeds with a smaller perturbation than before, its tau falls to ``shrink`` times that
size; when it has not for ``patience`` steps, its c grows tenfold. Either way it goes on from where it is, and leaves
once c has passed LARGEST_C. The paper runs each (tau, c) to its end and the whole batch abreast; a tau and a c that
move on at once, a sample each, need a fraction of the passes for perturbations of the same size.

``cw-linf``         50 steps from c = 1, which stays for that long: the Linf form of the energy papers' ``cw``;
``cw-linf-search``  as far as it goes from a small c.

The largest c, 20, and the shrink of ``cw-linf``, .9, are those of Carlini's code (li_attack.py, which begins at c 1e-5,
has a rate of 5e-3 and doubles c). The first c (1 and 1e-3), the rate .01, c times 10, the shrink of
``cw-linf-search``, .97, and a patience of 50 are ours [R], for fewer passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from energylens.attacks.losses import Aim
from energylens.attacks.minimum_norm import Descent, Smallest, smallest_perturbation
from energylens.attacks.norms import l2_size, linf_size
from energylens.attacks.result import counts
from energylens.attacks.settings import BROKEN, Settings, until
from energylens.errors import InputError
from energylens.settings import setting

CHECKS = 10  # how often in a run a sample asks whether its objective still falls
# Carlini's, as in adv-lib and ART: within tau pixels are free, and a small c moves them as well as a large one
LARGEST_C = 20.0


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
        until: the ``end``, or the first perturbation that succeeds, ``broken``.
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
    until: str = until()

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
        rows = smallest.waiting if settings.until == BROKEN else torch.arange(len(x), device=x.device)
        succeeded, used = _minimise(model, x, aim, c, smallest, settings, rows)
        steps += used
        upper = torch.where(succeeded, c, upper)
        lower = torch.where(succeeded, lower, c)
        c = torch.where(upper.isfinite(), (lower + upper) / 2, c * 10)
    return steps


#: the attack on a batch, called as ``smallest_perturbation`` is
carlini_wagner = partial(smallest_perturbation, _search)


def _minimise(
    model: nn.Module, x: Tensor, aim: Aim, c: Tensor, smallest: Smallest, settings: CarliniWagner, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Adam on the w of these rows for one c a sample; improves ``smallest``.

    Returns who succeeded and the steps each used, both (N,).
    """
    descent, c = Descent(x[rows], aim.take(rows)), c[rows]
    last = torch.full((len(rows),), torch.inf, device=x.device)
    succeeded = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    steps = counts(0, x)
    for step in range(settings.steps if len(rows) else 0):
        seen = descent.look(model, _squared, c, settings.kappa)
        steps[rows] += 1
        success = seen.lead < -settings.kappa
        succeeded[rows] |= success
        smallest.keep(rows, seen.x_adv, l2_size(seen.x_adv - descent.x), seen.logits, success)
        descent.step(seen.gradient, settings.lr)
        stays = ~success if settings.until == BROKEN else torch.ones_like(success)
        if step % max(settings.steps // CHECKS, 1) == 0:
            stays &= seen.objective <= last * settings.stop_ratio
            last = seen.objective
        if not stays.all():
            rows, last, c = rows[stays], last[stays], c[stays]
            descent.take(stays)
            if not len(rows):
                break
    return succeeded, steps


def _squared(delta: Tensor) -> Tensor:
    return delta.square().flatten(1).sum(dim=1)


@dataclass(frozen=True)
class CarliniWagnerLinf(Settings):
    """Settings of Carlini and Wagner's Linf attack (arXiv 1608.04644).

    Attributes:
        c: weight of the margin, the first one tried.
        kappa: the margin to reach, in logits.
        steps: in all.
        lr: of Adam, in w-space.
        patience: steps without a smaller success after which c grows tenfold.
        shrink: tau after a success as a share of its size, below 1.
        norm: always linf.
        until: the ``end``, or the first perturbation that succeeds, ``broken``.
    """

    c: float = setting(1.0, "weight of the margin, the first one tried", above=0)
    kappa: float = setting(0.0, "margin to reach, in logits")
    steps: int = setting(50, "Adam iterations at most", above=0, amount=True)
    lr: float = setting(0.01, "Adam's learning rate", above=0)
    patience: int = setting(50, "iterations without a smaller success after which c grows", above=0)
    shrink: float = setting(0.9, "tau after a success as a share of its size, below 1", above=0)
    norm: str = "linf"
    until: str = until()

    targetable = True

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""
        return self.steps

    def check(self) -> None:
        """Refuse settings that cannot be run.

        Raises:
            InputError: for the first of them.
        """
        super().check()
        if self.shrink >= 1:
            raise InputError(f"shrink={self.shrink:g} never lowers tau: give a share below 1, such as 0.9")


def _shrink(model: nn.Module, x: Tensor, aim: Aim, smallest: Smallest, settings: CarliniWagnerLinf) -> Tensor:
    """Lower tau while that succeeds and raise c where it does not.

    Improves ``smallest``. Returns the steps each sample took, (N,).
    """
    descent, rows = Descent(x, aim), torch.arange(len(x), device=x.device)
    tau, c = torch.ones(len(x), device=x.device), torch.full((len(x),), settings.c, device=x.device)
    waited, steps = counts(0, x), counts(0, x)
    for _ in range(settings.steps):
        seen = descent.look(model, partial(_beyond, tau=tau), c, settings.kappa)
        steps[rows] += 1
        size, success = linf_size(seen.x_adv - descent.x), seen.lead < -settings.kappa
        smaller = smallest.keep(rows, seen.x_adv, size, seen.logits, success)
        waited = torch.where(smaller, 0, waited + 1)
        stuck = waited == settings.patience
        tau, c = torch.where(smaller, settings.shrink * size, tau), torch.where(stuck, c * 10, c)
        waited = torch.where(stuck, 0, waited)
        descent.forget(smaller | stuck)
        descent.step(seen.gradient, settings.lr)
        stays = c <= LARGEST_C
        if settings.until == BROKEN:
            stays &= ~success
        if not stays.all():
            rows, tau, c, waited = rows[stays], tau[stays], c[stays], waited[stays]
            descent.take(stays)
            if not len(rows):
                break
    return steps


#: the attack on a batch, called as ``smallest_perturbation`` is
carlini_wagner_linf = partial(smallest_perturbation, _shrink)


def _beyond(delta: Tensor, tau: Tensor) -> Tensor:
    """``sum_i max(|delta_i| - tau, 0)``, (N,)."""
    return (delta.abs().flatten(1) - tau[:, None]).clamp_min(0).sum(dim=1)
