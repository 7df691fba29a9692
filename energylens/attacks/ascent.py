"""THE ascent loop, of FGSM, RS-FGSM, N-FGSM, PGD, TRADES-KL and HE-PGD.

They differ in start, loss, step and projection:

    x_0     = clamp(x + start, 0, 1)
    x_{t+1} = clamp(x + P(x_t + step_size * steepest(grad_x L(x_t)) - x), 0, 1),     t = 0 .. steps - 1

with ``P`` the projection on the eps-ball (the identity where ``clip`` is off) and ``steepest`` the steepest direction
of the norm (the sign for Linf). The rows that fill in these four words stand in ``registry.py``; Diff-PGD puts a
purifier in front of the model, and its fast form clamps to [0, 1] at the end alone (``diff_pgd.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from energylens.attacks.backends import BF16, FUSED
from energylens.attacks.losses import LOSSES, Aim
from energylens.attacks.norms import NORMS
from energylens.attacks.result import AttackResult, Told, counts
from energylens.attacks.settings import BROKEN, Length, NormName, Settings, norm_of, radius, until
from energylens.attacks.shortcuts import Fate, Shortcuts
from energylens.energy import joint_energy, marginal_energy
from energylens.errors import InputError
from energylens.noise import NoiseSource
from energylens.settings import setting

Model = Callable[[Tensor], Tensor]  # from images (N, C, H, W) in [0, 1] to logits (N, K)
CROSSING = 2  # radii: where all steps together do not cross the ball, one step as long as the radius may do better


class Narrowing(ABC):
    """A model that knows which samples it is given, as one does that draws noise of their own."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The logits, (N, K), of images of these N samples, (N, C, H, W)."""

    @abstractmethod
    def take(self, rows: Tensor) -> Model:
        """The model for some of the samples.

        Args:
            rows: their positions in the batch, (M,) int64.

        Returns:
            From images (M, C, H, W) to logits (M, K).
        """


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
        until: the ``end`` of its steps, or the first iterate that reaches the goal, ``broken``.
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
    until: str = until()

    traceable: ClassVar[bool] = True
    reports_progress: ClassVar[bool] = True

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
            "until": one_step,
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
    cycles: bool

    def take(self, rows: Tensor) -> _Problem:
        reference = None if self.reference is None else self.reference[rows]
        x, y, aim, noise = self.x[rows], self.y[rows], self.aim.take(rows), self.noise.take(rows)
        model = self.model.take(rows) if isinstance(self.model, Narrowing) else self.model
        judge = model if self.judge is self.model else self.judge
        return replace(self, model=model, judge=judge, x=x, y=y, aim=aim, reference=reference, noise=noise)

    def objective(self, logits: Tensor) -> Tensor:
        return LOSSES[self.settings.loss].of(logits.float(), self.aim, self.reference, self.settings.gamma)

    def step(self, x_adv: Tensor, seen: Callable[[Tensor], None]) -> Tensor:
        """The next iterates; ``seen`` hears the logits of these."""

        def objective(logits: Tensor) -> Tensor:
            seen(logits.detach().float())
            return self.objective(logits)

        norm = NORMS[self.settings.norm]
        gradient = input_gradient(self.model, x_adv, objective)
        delta = x_adv + self.settings.step * norm.steepest(gradient) - self.x
        if self.settings.clip:
            delta = norm.project(delta, self.settings.eps)
        return self.in_box(self.x + delta)

    def in_box(self, images: Tensor) -> Tensor:
        return images.clamp(0, 1) if self.boxed else images

    def reached(self, x_adv: Tensor, logits: Tensor) -> Tensor:
        """Who has reached the goal, by the judge where the model's logits are rounded ones."""
        reached = self.aim.reached(logits)
        if self.judge is not self.model and (rows := reached.nonzero().squeeze(1)).numel():
            reached[rows] = self.aim.take(rows).reached(self.judge(self.in_box(x_adv[rows])).float())
        return reached

    def repeats(self, image: Tensor) -> bool:
        """Whether the model gives the same answer twice."""
        return torch.equal(self.model(image.clone()), self.model(image.clone()))


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
    cycles: bool = True,
    told: Told | None = None,
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
        judge: whose logits tell who has reached the goal, where the model is a rounded stand-in for it.
        boxed: keep to [0, 1] at every step, not at the end alone.
        cycles: a sample whose iterate comes back leaves the batch, its last iterate read off the cycle
            (``shortcuts.py``); to be off where a step depends on more than the iterate, as on who else is in the batch.
        told: hears which share of the passes is made or known to be needless.

    Returns:
        The last iterates, in [0, 1]; with restarts, of each sample those of the first run that broke it, else of the
        highest loss, with their logits.

    Raises:
        InputError: for a model without an input gradient.
    """
    asks = LOSSES[settings.loss].needs_reference and clean_logits is None
    reference = model(x).float() if asks else clean_logits
    judge = model if judge is None else judge
    problem = _Problem(model, x, y, Aim.of(y, target), reference, noise, settings, trace, judge, boxed, cycles)
    heard = _Heard(told, len(x), settings)
    if settings.restarts > 1:
        result = _with_restarts(problem, heard)
    else:
        fate, paths = _run(problem, "start/0", heard)
        cycled = _told_cycles(problem, fate.cycled)
        result = AttackResult(fate.x_adv, fate.steps, fate.passes, fate.passes, trajectory=paths, cycled=cycled)
    return replace(result, forwards=result.forwards + int(asks))


class _Heard:
    """Tells which share of the passes of all runs is made or known to be needless."""

    def __init__(self, told: Told | None, samples: int, settings: Ascent) -> None:
        self._told, self._whole = told, max(samples * settings.passes, 1)
        self.later = 0  # passes of the runs to come

    def __call__(self, waiting: int) -> None:
        """So many passes of this run are still to be made, at most."""
        if self._told:
            self._told(1 - (waiting + self.later) / self._whole, True)


def _told_cycles(problem: _Problem, cycled: Tensor) -> Tensor | None:
    """The steps at which samples cycled, where several steps were looked at."""
    return cycled if problem.cycles and problem.settings.steps > 1 else None


def _run(problem: _Problem, purpose: str, heard: _Heard) -> tuple[Fate, Tensor | None]:
    """One run of the loop from one start: what became of each sample and, where traced, the energies on its way."""
    settings, x = problem.settings, problem.x
    x_adv = problem.in_box(x + STARTS[settings.start].draw(problem.noise, purpose, x, settings))
    until_broken = settings.until == BROKEN
    shortcuts = None
    if settings.steps > 1 and (problem.cycles or until_broken):
        shortcuts = Shortcuts(x_adv, settings.steps, problem.repeats if problem.cycles else None)
    paths = x.new_full((len(x), settings.steps, 2), torch.nan, dtype=torch.float32) if problem.trace else None
    logits: list[Tensor] = []
    for step in range(settings.steps):
        logits.clear()
        moved = problem.step(x_adv, logits.append)
        if paths is not None:
            seen = torch.stack([marginal_energy(logits[0]), joint_energy(logits[0], problem.y)], dim=1)
            paths[slice(None) if shortcuts is None else shortcuts.rows, step] = seen
        if shortcuts is None:
            x_adv = moved
        else:
            if until_broken:
                shortcuts.stop(problem.reached(x_adv, logits[0]), step)
            x_adv = shortcuts.move(x_adv, moved, step + 1)
            stay = shortcuts.staying(x_adv, step + 1)
            if stay is not None:
                x_adv, problem = x_adv[stay], problem.take(stay)
        heard(len(x_adv) * (settings.steps - step - 1))
        if not len(x_adv):
            break
    if shortcuts is None:
        return Fate.of_full_run(x_adv.clamp(0, 1), settings.steps), paths
    fate = shortcuts.finish(x_adv)
    fate.x_adv.clamp_(0, 1)
    return fate, None if paths is None else fate.completed(paths)


def _with_restarts(problem: _Problem, heard: _Heard) -> AttackResult:
    """Runs from fresh starts.

    A broken sample rests with the images that broke it, the others keep those of their highest loss.
    """
    settings = problem.settings
    heard.later = len(problem.x) * (settings.restarts - 1) * settings.steps
    best, best_paths = _run(problem, "start/0", heard)
    best_logits = problem.judge(best.x_adv).float()
    best_loss = problem.objective(best_logits)
    steps, passes, runs = best.steps.clone(), best.passes.clone(), counts(1, problem.x)
    rows = (~problem.aim.reached(best_logits)).nonzero().squeeze(1)
    for restart in range(1, settings.restarts):
        heard.later = len(rows) * (settings.restarts - restart - 1) * settings.steps
        if not len(rows):
            heard(0)
            break
        robust = problem.take(rows)
        found, paths = _run(robust, f"start/{restart}", heard)
        logits = problem.judge(found.x_adv).float()
        broken, loss = robust.aim.reached(logits), robust.objective(logits)
        better = broken | (loss > best_loss[rows])
        kept = rows[better]
        best.x_adv[kept], best.cycled[kept] = found.x_adv[better], found.cycled[better]
        best_logits[kept], best_loss[kept] = logits[better], loss[better]
        if best_paths is not None and paths is not None:
            best_paths[kept] = paths[better]
        steps[rows] += found.steps
        passes[rows] += found.passes
        runs[rows] += 1
        rows = rows[~broken]
    return AttackResult(
        best.x_adv, steps, passes + runs, passes,
        logits=best_logits, trajectory=best_paths, cycled=_told_cycles(problem, best.cycled),
    )  # fmt: skip


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
