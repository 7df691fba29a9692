"""THE ascent loop. FGSM, RS-FGSM, N-FGSM, PGD, TRADES-KL and HE-PGD differ in start, loss, step and projection:

    x_0     = clamp(x + start, 0, 1)
    x_{t+1} = clamp(x + P(x_t + step_size * steepest(grad_x L(x_t)) - x), 0, 1),     t = 0 .. steps - 1

with ``P`` the projection on the eps-ball (the identity where ``clip`` is off) and ``steepest`` the steepest direction
of the norm (the sign for Linf). The rows that fill in these four words stand in ``registry.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from energylens.attacks.noise import Noise
from energylens.attacks.norms import NORMS
from energylens.attacks.result import AttackResult, counts
from energylens.energy import cross_entropy, kl_divergence, marginal_energy


@dataclass(frozen=True)
class Ascent:
    """Settings of the loop. eps and step_size are in units of [0, 1]; ``step_size`` None means relative_step * eps.

    start: a row of STARTS, scaled by start_scale. loss: a row of LOSSES. clip: project on the eps-ball after a step.
    restarts: runs from fresh noise; a sample that fell rests, the others keep their highest loss. gamma: weight of
    the energy in the HE loss.
    """

    eps: float
    norm: str = "linf"
    steps: int = 1
    relative_step: float = 1.0
    step_size: float | None = None
    start: str = "zero"
    start_scale: float = 1.0
    loss: str = "cross-entropy"
    clip: bool = True
    restarts: int = 1
    gamma: float = 1.5

    @property
    def step(self) -> float:
        """The step in units of [0, 1]."""
        return self.relative_step * self.eps if self.step_size is None else self.step_size

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""
        return self.steps * self.restarts


def _zero(noise: Noise, purpose: str, x: Tensor, s: Ascent) -> Tensor:
    return torch.zeros_like(x)


def _uniform(noise: Noise, purpose: str, x: Tensor, s: Ascent) -> Tensor:
    return NORMS[s.norm].uniform(noise, purpose, x) * (s.start_scale * s.eps)


def _gaussian(noise: Noise, purpose: str, x: Tensor, s: Ascent) -> Tensor:
    return noise.normal(purpose, x) * s.start_scale


STARTS: dict[str, Callable[[Noise, str, Tensor, Ascent], Tensor]] = {
    "zero": _zero,
    "uniform": _uniform,  # uniform in the ball of radius start_scale * eps
    "gaussian": _gaussian,  # N(0, start_scale^2), whatever eps is
}


@dataclass(frozen=True)
class Aim:
    """Where the labelled part of a loss pulls: away from ``labels`` (sign +1) or, targeted, towards them (sign -1)."""

    labels: Tensor
    sign: int

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """The cross-entropy to ascend, (N,)."""
        return self.sign * cross_entropy(logits, self.labels)

    def reached(self, logits: Tensor) -> Tensor:
        """Mask of the samples for which the attack has succeeded, (N,)."""
        hit = logits.argmax(dim=1) == self.labels
        return hit if self.sign < 0 else ~hit


@dataclass(frozen=True)
class Loss:
    """A per-sample loss ``of(logits, aim, reference, settings) -> (N,)`` to ascend.

    ``reference`` are the clean logits, computed only where ``needs_reference``; losses without ``targeted`` look at
    no label and cannot be turned towards a target.
    """

    of: Callable[[Tensor, Aim, Tensor | None, Ascent], Tensor]
    targeted: bool = True
    needs_reference: bool = False


def _cross_entropy(logits: Tensor, aim: Aim, reference: Tensor | None, s: Ascent) -> Tensor:
    return aim.cross_entropy(logits)


def _kl(logits: Tensor, aim: Aim, reference: Tensor | None, s: Ascent) -> Tensor:
    assert reference is not None
    return kl_divergence(reference, logits)


def _high_energy(logits: Tensor, aim: Aim, reference: Tensor | None, s: Ascent) -> Tensor:
    return aim.cross_entropy(logits) + s.gamma * marginal_energy(logits)


LOSSES: dict[str, Loss] = {
    "cross-entropy": Loss(_cross_entropy),
    "kl": Loss(_kl, targeted=False, needs_reference=True),  # KL(p(.|x) || p(.|x'))
    "high-energy": Loss(_high_energy),  # CE + gamma E(x'), arXiv 2304.04033
}


@dataclass(frozen=True)
class _Problem:
    """One batch to attack: everything a run of the loop needs, and how to narrow it to some of its samples."""

    model: nn.Module
    x: Tensor
    aim: Aim
    reference: Tensor | None
    noise: Noise
    settings: Ascent

    def take(self, rows: Tensor) -> _Problem:
        return replace(
            self,
            x=self.x[rows],
            aim=Aim(self.aim.labels[rows], self.aim.sign),
            reference=None if self.reference is None else self.reference[rows],
            noise=self.noise.take(rows),
        )

    def objective(self, logits: Tensor) -> Tensor:
        return LOSSES[self.settings.loss].of(logits, self.aim, self.reference, self.settings)


@torch.no_grad()
def ascend(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    noise: Noise,
    settings: Ascent,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
) -> AttackResult:
    """Run the loop on a batch.

    x: (N, C, H, W) in [0, 1]; y: (N,) labels; target: (N,) labels to move towards, or None; clean_logits: (N, K)
    logits of x where they are known (saves a forward to the losses that compare with them).
    """
    asks = LOSSES[settings.loss].needs_reference and clean_logits is None
    aim = Aim(y, +1) if target is None else Aim(target, -1)
    problem = _Problem(model, x, aim, model(x) if asks else clean_logits, noise, settings)
    if settings.restarts > 1:
        result = _with_restarts(problem)
    else:
        passes = counts(settings.steps, x)
        result = AttackResult(_climb(problem, "start/0"), steps=passes, forwards=passes, backwards=passes)
    return replace(result, forwards=result.forwards + int(asks))


def _climb(problem: _Problem, purpose: str) -> Tensor:
    """One run of the loop from one start; its last iterate."""
    settings, x = problem.settings, problem.x
    norm = NORMS[settings.norm]
    x_adv = (x + STARTS[settings.start](problem.noise, purpose, x, settings)).clamp(0, 1)
    for _ in range(settings.steps):
        gradient = input_gradient(problem.model, x_adv, problem.objective)
        delta = x_adv + settings.step * norm.steepest(gradient) - x
        if settings.clip:
            delta = norm.project(delta, settings.eps)
        x_adv = (x + delta).clamp(0, 1)
    return x_adv


def _with_restarts(problem: _Problem) -> AttackResult:
    """Runs from fresh starts: a sample that fell rests with the images that felled it, the others keep those of
    their highest loss."""
    x = problem.x
    best, best_loss = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
    best_logits = torch.empty(0)
    runs, rows = counts(0, x), torch.arange(len(x), device=x.device)
    for restart in range(problem.settings.restarts):
        standing = problem.take(rows)
        x_adv = _climb(standing, f"start/{restart}")
        logits = problem.model(x_adv)
        if restart == 0:
            best_logits = torch.empty_like(logits)
        fell, loss = standing.aim.reached(logits), standing.objective(logits)
        better = fell | (loss > best_loss[rows])
        kept = rows[better]
        best[kept], best_logits[kept], best_loss[kept] = x_adv[better], logits[better], loss[better]
        runs[rows] += 1
        rows = rows[~fell]
        if not len(rows):
            break
    steps = runs * problem.settings.steps
    return AttackResult(best, steps=steps, forwards=steps + runs, backwards=steps, logits=best_logits)


def input_gradient(model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """``grad_x sum_i loss(f(x))_i``; only the input's gradient is computed, the model's own are left alone."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(model(x)).sum(), x)
    return gradient
