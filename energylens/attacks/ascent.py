"""THE ascent loop, of FGSM, RS-FGSM, N-FGSM, PGD, TRADES-KL and HE-PGD.

They differ in start, loss, step and projection:

    x_0     = clamp(x + start, 0, 1)
    x_{t+1} = clamp(x + P(x_t + step_size * steepest(grad_x L(x_t)) - x), 0, 1),     t = 0 .. steps - 1

with ``P`` the projection on the eps-ball (the identity where ``clip`` is off) and ``steepest`` the steepest direction
of the norm (the sign for Linf). The rows that fill in these four words stand in ``registry.py``; Diff-PGD puts a
purifier in front of the model, and its fast form clamps to [0, 1] at the end alone (``diff_pgd.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from energylens.attacks.backends import BF16, FUSED
from energylens.attacks.losses import LOSSES, Aim
from energylens.attacks.norms import NORMS
from energylens.attacks.result import AttackResult, counts
from energylens.attacks.settings import Length, NormName, Settings, norm_of, radius
from energylens.energy import joint_energy, marginal_energy
from energylens.errors import InputError
from energylens.noise import NoiseSource
from energylens.settings import setting

Model = Callable[[Tensor], Tensor]  # from images (N, C, H, W) in [0, 1] to logits (N, K)
CROSSING = 2  # radii: where all steps together do not cross the ball, one step as long as the radius may do better


@dataclass(frozen=True)
class Ascent(Settings):
    """Settings of the loop.

    Attributes:
        eps: radius, in units of [0, 1].
        norm: a row of NORMS.
        steps: of a run.
        relative_step: the length of a step as a share of eps, where step_size is None.
        step_size: the length of a step, in units of [0, 1].
        start: a row of STARTS.
        start_scale: what it is scaled by.
        loss: a row of LOSSES.
        clip: project on the eps-ball after a step.
        restarts: runs from fresh noise.
        gamma: weight of the energy in the loss ``high-energy``; 1.5 is arXiv 2304.04033's on CIFAR-10; on other data
            it was not tuned [R].
    """

    eps: Length = radius()
    norm: NormName = norm_of(NORMS)
    steps: int = setting(1, "gradient steps of a run", above=0, amount=True)
    relative_step: float = 1.0
    step_size: Length | None = setting(None, "length of a step", above=0, standard="{relative_step:g} eps")
    start: str = "zero"
    start_scale: float = 1.0
    loss: str = setting("ce", "what a step ascends", choices=LOSSES)
    clip: bool = True
    restarts: int = setting(
        1, "runs from fresh noise: a broken sample rests, the others keep their highest loss", above=0, amount=True
    )
    gamma: float = setting(1.5, "weight of the energy in the high-energy loss")

    traceable: ClassVar[bool] = True

    @property
    def step(self) -> float:
        """The step in units of [0, 1]."""
        return self.relative_step * self.eps if self.step_size is None else self.step_size

    @property
    def begins_at_x(self) -> bool:
        """Whether the first forward is of x itself: it starts there, or its loss compares with the clean logits."""
        return not STARTS[self.start].random or LOSSES[self.loss].needs_reference

    @property
    def quickest(self) -> str:
        """bfloat16, but for losses that compare with the clean logits: near x, rounding is all they would see."""
        return FUSED if LOSSES[self.loss].needs_reference else BF16

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""
        return self.steps * self.restarts

    @property
    def targetable(self) -> bool:
        """Whether its loss can be turned towards a class."""
        return LOSSES[self.loss].targeted

    @property
    def min_classes(self) -> int:
        """Classes that its loss needs."""
        return LOSSES[self.loss].min_classes

    @property
    def fixed(self) -> frozenset[str]:
        """The settings that this attack has no use for.

        One step is of the cross-entropy, a loss that asks for more is what makes the attack, and a run from x itself
        is always the same.
        """
        one_step = self.steps == 1
        idle = {
            "steps": one_step,
            "loss": one_step or not self.seeks_error,
            "restarts": not STARTS[self.start].random,
            "gamma": not LOSSES[self.loss].weighted,
        }
        return frozenset(name for name, is_idle in idle.items() if is_idle)

    @property
    def amounts(self) -> dict[str, Any]:
        """Steps and restarts; steps promise nothing where the loss asks for more than a wrong label."""
        return {name: n for name, n in super().amounts.items() if name != "steps" or self.seeks_error}

    @property
    def seeks_error(self) -> bool:
        """Whether a wrong label is all that its loss asks for."""
        return LOSSES[self.loss].seeks_error

    @property
    def crosses_ball(self) -> bool:
        """Whether it takes several steps that together cross its ball and stay in it."""
        return self.clip and self.steps > 1 and self.steps * self.step >= CROSSING * self.eps

    @property
    def single_step(self) -> bool:
        """Whether it takes one step and stays in its ball."""
        return self.clip and self.steps == 1


@dataclass(frozen=True)
class Start:
    """One row.

    Attributes:
        draw: (noise, purpose, x, settings) -> the first perturbation, (N, C, H, W), of x: (N, C, H, W) in [0, 1].
        random: it takes noise.
    """

    draw: Callable[[NoiseSource, str, Tensor, Ascent], Tensor]
    random: bool = True


STARTS: dict[str, Start] = {
    "zero": Start(lambda noise, purpose, x, s: torch.zeros_like(x), random=False),
    # uniform in the ball of radius start_scale * eps
    "uniform": Start(lambda noise, purpose, x, s: NORMS[s.norm].uniform(noise, purpose, x) * (s.start_scale * s.eps)),
    # N(0, start_scale^2), whatever eps is
    "gaussian": Start(lambda noise, purpose, x, s: noise.normal(purpose, x) * s.start_scale),
}


@dataclass(frozen=True)
class _Problem:
    """One batch to attack: everything a run of the loop needs, and how to narrow it to some of its samples."""

    model: Model
    x: Tensor
    y: Tensor
    aim: Aim
    reference: Tensor | None
    noise: NoiseSource
    settings: Ascent
    trace: bool
    judge: Model
    boxed: bool

    def take(self, rows: Tensor) -> _Problem:
        reference = None if self.reference is None else self.reference[rows]
        x, y, aim, noise = self.x[rows], self.y[rows], self.aim.take(rows), self.noise.take(rows)
        return replace(self, x=x, y=y, aim=aim, reference=reference, noise=noise)

    def objective(self, logits: Tensor) -> Tensor:
        return LOSSES[self.settings.loss].of(logits.float(), self.aim, self.reference, self.settings.gamma)


@torch.no_grad()
def ascend(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    noise: NoiseSource,
    settings: Ascent,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
    trace: bool = False,
    judge: Model | None = None,
    boxed: bool = True,
) -> AttackResult:
    """Run the loop on a batch.

    Args:
        model: from images in [0, 1] to logits (N, K), held in eval mode.
        x: (N, C, H, W) in [0, 1].
        y: (N,) labels.
        noise: what the starts are drawn from.
        settings: of the loop.
        target: (N,) labels to move towards, or None.
        clean_logits: (N, K) logits of x where they are known (saves a forward to the losses that compare with them).
        trace: keep the energies of every iterate, from logits that are there anyway.
        judge: whose logits tell between restarts, where the model is a rounded stand-in for it.
        boxed: keep to [0, 1] at every step, not at the end alone.

    Returns:
        The last iterates, in [0, 1]; with restarts, of each sample those of the first run that broke it, else of the
        highest loss, with their logits.

    Raises:
        InputError: for a model without an input gradient.
    """
    asks = LOSSES[settings.loss].needs_reference and clean_logits is None
    reference = model(x).float() if asks else clean_logits
    judge = model if judge is None else judge
    problem = _Problem(model, x, y, Aim.of(y, target), reference, noise, settings, trace, judge, boxed)
    if settings.restarts > 1:
        result = _with_restarts(problem)
    else:
        passes = counts(settings.steps, x)
        x_adv, trajectory = _run(problem, "start/0")
        result = AttackResult(x_adv, steps=passes, forwards=passes, backwards=passes, trajectory=trajectory)
    return replace(result, forwards=result.forwards + int(asks))


def _run(problem: _Problem, purpose: str) -> tuple[Tensor, Tensor | None]:
    """One run of the loop from one start: its last iterate and, where traced, the energies of those before it."""
    settings, x = problem.settings, problem.x
    energies: list[Tensor] = []

    def objective(logits: Tensor) -> Tensor:
        if problem.trace:
            seen = logits.detach().float()
            energies.append(torch.stack([marginal_energy(seen), joint_energy(seen, problem.y)], dim=1))
        return problem.objective(logits)

    def boxed(images: Tensor) -> Tensor:
        return images.clamp(0, 1) if problem.boxed else images

    norm = NORMS[settings.norm]
    x_adv = boxed(x + STARTS[settings.start].draw(problem.noise, purpose, x, settings))
    for _ in range(settings.steps):
        gradient = input_gradient(problem.model, x_adv, objective)
        delta = x_adv + settings.step * norm.steepest(gradient) - x
        if settings.clip:
            delta = norm.project(delta, settings.eps)
        x_adv = boxed(x + delta)
    return x_adv.clamp(0, 1), torch.stack(energies, dim=1) if energies else None


def _with_restarts(problem: _Problem) -> AttackResult:
    """Runs from fresh starts.

    A broken sample rests with the images that broke it, the others keep those of their highest loss.
    """
    best, best_energies = _run(problem, "start/0")
    best_logits = problem.judge(best).float()
    best_loss = problem.objective(best_logits)
    runs = counts(1, best)
    rows = (~problem.aim.reached(best_logits)).nonzero().squeeze(1)
    for restart in range(1, problem.settings.restarts):
        if not len(rows):
            break
        robust = problem.take(rows)
        x_adv, energies = _run(robust, f"start/{restart}")
        logits = problem.judge(x_adv).float()
        broken, loss = robust.aim.reached(logits), robust.objective(logits)
        better = broken | (loss > best_loss[rows])
        kept = rows[better]
        best[kept], best_logits[kept], best_loss[kept] = x_adv[better], logits[better], loss[better]
        if best_energies is not None and energies is not None:
            best_energies[kept] = energies[better]
        runs[rows] += 1
        rows = rows[~broken]
    steps = runs * problem.settings.steps
    return AttackResult(best, steps, steps + runs, backwards=steps, logits=best_logits, trajectory=best_energies)


def input_gradient(model: Model, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """``grad_x sum_i loss(f(x))_i``; only the input's gradient is computed, the model's own are left alone.

    Args:
        model: from images in [0, 1] to logits (N, K).
        x: (N, C, H, W) in [0, 1].
        loss: logits (N, K) -> a loss a sample, (N,).

    Returns:
        The gradient, (N, C, H, W).

    Raises:
        InputError: for a model that has none, or that changes x in place.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        try:
            logits = model(x)
        except RuntimeError as error:
            if "leaf Variable" not in str(error):
                raise
            raise InputError("the model changes its input in place: give it a copy, as in x = x - mean") from error
        if not logits.requires_grad:
            raise InputError(
                "the model's logits carry no gradient (torch.no_grad or detach inside?): gradient attacks cannot run "
                "on it, square can"
            )
        (gradient,) = torch.autograd.grad(loss(logits).sum(), x)
    return gradient
