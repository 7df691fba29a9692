"""APGD (arXiv 2003.01690, algorithm 1): PGD with momentum that halves its step where the loss no longer rises.

    z       = P(x_t + eta_t * steepest(grad L(x_t)))
    x_{t+1} = P(x_t + 0.75 (z - x_t) + 0.25 (x_t - x_{t-1})),          x_1 = P(x_0 + eta_0 * steepest(grad L(x_0)))

``P`` projects on the eps-ball and on [0, 1], and eta_0 is 2 eps. At each checkpoint eta is halved, and the sample goes
back to its highest loss, where the loss rose in no more than RHO of the steps since the last one, or where neither the
highest loss nor eta has changed since then. The checkpoints lie at shares .22, .41, .57 ... of the steps, ever closer.

It is keyed by sample: a row depends on the seed and its index alone, unlike those of the package (``autoattack.py``),
whose draws depend on who else is attacked. Of the package's losses it has the cross-entropy, DLR and the targeted DLR,
class after class; besides, the margin of the logits and, for PMA (arXiv 2411.15210), that of the probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from energylens.attacks.ascent import Model, input_gradient
from energylens.attacks.losses import LOSSES, Aim, margin, targeted_logit_ratio
from energylens.attacks.norms import NORMS
from energylens.attacks.result import AttackResult, Told, counts
from energylens.attacks.settings import BROKEN, Length, NormName, Settings, norm_of, radius, until
from energylens.noise import NoiseSource
from energylens.settings import setting

FIRST_STEP = 2.0  # in radii
MOMENTUM = 0.25  # the share of the step before
RHO = 0.75  # of the steps since the last checkpoint: where the loss rose in no more, the step is too long
FIRST_WINDOW, SHRINKS_BY, LAST_WINDOW = 0.22, 0.03, 0.06  # between checkpoints, as shares of the steps
TARGETED_DLR = "dlr-targeted"
OWN_LOSSES = ("ce", "dlr", TARGETED_DLR, "margin", "pma")


@dataclass(frozen=True)
class AutoPGD(Settings):
    """Settings of APGD (arXiv 2003.01690).

    Attributes:
        eps: radius, in units of [0, 1].
        norm: a row of NORMS.
        steps: of a run.
        loss: what is ascended, one of OWN_LOSSES.
        restarts: runs from fresh noise.
        targets: of ``dlr-targeted``, runs towards as many of the likeliest wrong classes.
        until: the ``end`` of its steps, or the first iterate that reaches the goal, ``broken``.
    """

    eps: Length = radius()
    norm: NormName = norm_of(NORMS)
    steps: int = setting(100, "steps of a run", above=0, amount=True)
    loss: str = setting("ce", "what is ascended", choices=OWN_LOSSES)
    restarts: int = setting(
        1, "runs from fresh noise: a broken sample rests, of the others the image nearest the goal is kept",
        above=0, amount=True,
    )  # fmt: skip
    targets: int = setting(
        9, "of loss=dlr-targeted: the likeliest wrong classes, a run towards each", above=0, amount=True
    )
    until: str = until()

    reports_progress: ClassVar[bool] = True
    targetable = True

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""
        runs = self.targets if self.loss == TARGETED_DLR else 1
        return (self.steps + 1) * self.restarts * runs

    @property
    def min_classes(self) -> int:
        """Classes that its loss needs."""
        return 4 if self.loss == TARGETED_DLR else LOSSES[self.loss].min_classes

    @property
    def fixed(self) -> frozenset[str]:
        """PMA is what its loss makes it."""
        return frozenset({"loss", "targets"}) if self.loss == "pma" else frozenset()

    @property
    def crosses_ball(self) -> bool:
        """Whether it takes several steps that together cross its ball and stay in it."""
        return self.steps > 1


def checkpoints(steps: int) -> list[int]:
    """The steps after which the length of the next ones is decided.

    Args:
        steps: of the run, 1 or more.

    Returns:
        Their numbers, rising, from 1 to ``steps``.

    Example:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    window = max(int(FIRST_WINDOW * steps), 1)
    found = [window]
    while True:
        window = max(window - max(int(SHRINKS_BY * steps), 1), max(int(LAST_WINDOW * steps), 1))
        if found[-1] + window > steps:
            return [step for step in found if step <= steps]
        found.append(found[-1] + window)


@dataclass(frozen=True)
class _Problem:
    """One batch to attack, and how to narrow it to some of its samples."""

    model: Model
    x: Tensor
    aim: Aim
    labels: Tensor
    towards: Tensor | None
    noise: NoiseSource
    settings: AutoPGD

    def take(self, rows: Tensor) -> _Problem:
        towards = None if self.towards is None else self.towards[rows]
        return replace(
            self, x=self.x[rows], aim=self.aim.take(rows), labels=self.labels[rows], towards=towards,
            noise=self.noise.take(rows),
        )  # fmt: skip

    def objective(self, logits: Tensor) -> Tensor:
        if self.towards is not None:
            return targeted_logit_ratio(logits.float(), self.labels, self.towards)
        return LOSSES[self.settings.loss].of(logits.float(), self.aim, None, 0.0)

    def look(self, x_adv: Tensor) -> tuple[_Place, Tensor]:
        """What is seen at these images, and the logits, (n, K)."""
        seen: list[Tensor] = []

        def objective(logits: Tensor) -> Tensor:
            loss = self.objective(logits)
            seen.extend([loss.detach(), logits.detach().float()])
            return loss

        gradient = input_gradient(self.model, x_adv, objective)
        return _Place(x_adv, gradient, seen[0]), seen[1]

    def project(self, x_adv: Tensor) -> Tensor:
        delta = NORMS[self.settings.norm].project(x_adv - self.x, self.settings.eps)
        return (self.x + delta).clamp(0, 1)


@dataclass
class _Best:
    """The best images of N samples so far: broken ones before others, then those of the higher score."""

    x_adv: Tensor
    logits: Tensor
    broken: Tensor
    score: Tensor

    @classmethod
    def none(cls, x: Tensor, classes: int) -> _Best:
        """Of N samples on which nothing was tried yet."""
        score, broken = x.new_full((len(x),), -torch.inf), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return cls(x.clone(), x.new_zeros(len(x), classes), broken, score)

    def keep(self, rows: Tensor, x_adv: Tensor, logits: Tensor, broken: Tensor, score: Tensor) -> None:
        """Take what is better than what is there, of the samples at these rows."""
        before = self.broken[rows]
        better = (broken & ~before) | ((broken == before) & (score > self.score[rows]))
        kept = rows[better]
        self.x_adv[kept], self.logits[kept] = x_adv[better], logits[better]
        self.broken[kept], self.score[kept] = broken[better], score[better]


@torch.no_grad()
def auto_pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    noise: NoiseSource,
    settings: AutoPGD,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
    told: Told | None = None,
) -> AttackResult:
    """Run APGD on a batch.

    Args:
        model: from images in [0, 1] to logits (N, K), held in eval mode.
        x: (N, C, H, W) in [0, 1].
        y: (N,) labels.
        noise: what the starts are drawn from.
        settings: of the attack.
        target: (N,) labels to move towards, or None.
        clean_logits: (N, K) logits of x where they are known (saves the forward that ranks the classes).
        told: hears which share of the passes is made or known to be needless.

    Returns:
        Of a broken sample the image of the highest loss among those that broke it, of another the one of the highest
        loss; of several runs the image nearest the goal. With their logits.

    Raises:
        InputError: for a model without an input gradient.
    """
    asks = clean_logits is None and settings.loss == TARGETED_DLR and target is None
    clean = model(x).float() if asks else clean_logits
    problem = _Problem(model, x, Aim.of(y, target), y, None, noise, settings)
    steps, passes = counts(0, x), counts(0, x)
    best: _Best | None = None
    rows, runs = torch.arange(len(x), device=x.device), list(_runs(settings, y, target, clean))
    for number, (purpose, towards) in enumerate(runs):
        run = replace(problem.take(rows), towards=None if towards is None else towards[rows])
        later = (len(runs) - number - 1) * (settings.steps + 1)

        def heard(waiting: int, samples: int = len(rows), later: int = later) -> None:
            if told:
                told(1 - (waiting + samples * later) / (len(x) * (settings.steps + 1) * len(runs)), True)

        found, its_steps, its_passes = _run(run, purpose, heard)
        best = best or _Best.none(x, found.logits.shape[1])
        best.keep(rows, found.x_adv, found.logits, found.broken, -run.aim.away(margin, found.logits))
        steps[rows] += its_steps
        passes[rows] += its_passes
        rows = rows[~found.broken]
        if not len(rows):
            break
    assert best is not None
    if told:
        told(1.0, True)
    return AttackResult(best.x_adv, steps, passes + int(asks), passes, logits=best.logits)


def _runs(
    settings: AutoPGD, y: Tensor, target: Tensor | None, clean: Tensor | None
) -> Iterator[tuple[str, Tensor | None]]:
    """Each run's name for its noise, and the classes (N,) that its targeted DLR looks at."""
    for restart in range(settings.restarts):
        if settings.loss != TARGETED_DLR:
            yield f"start/{restart}", None
        elif target is not None:
            yield f"start/{restart}", target
        else:
            assert clean is not None
            ranked = clean.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True)
            for place in range(min(settings.targets, clean.shape[1] - 1)):
                yield f"start/{restart}/{place}", ranked[:, place]


def _run(problem: _Problem, purpose: str, heard: Callable[[int], None]) -> tuple[_Best, Tensor, Tensor]:
    """One run: the best images, and the steps and passes of each sample, (N,)."""
    settings, x = problem.settings, problem.x
    norm = NORMS[settings.norm]
    steps, passes = counts(settings.steps, x), counts(settings.steps + 1, x)
    rows, stops = torch.arange(len(x), device=x.device), settings.until == BROKEN

    place, logits = problem.look((x + norm.uniform(problem.noise, purpose, x) * settings.eps).clamp(0, 1))
    best = _Best.none(x, logits.shape[1])
    state = _State.begun(place, FIRST_STEP * settings.eps)
    decided = checkpoints(settings.steps)
    for step in range(settings.steps + 1):
        broken = problem.aim.reached(logits)
        best.keep(rows, place.x_adv, logits, broken, place.loss)
        heard(len(rows) * (settings.steps - step))
        if stops and broken.any():
            steps[rows[broken]], passes[rows[broken]] = step, step + 1
            stay = (~broken).nonzero().squeeze(1)
            rows, problem, state = rows[stay], problem.take(stay), state.take(stay)
        if step == settings.steps or not len(rows):
            break
        at = state.at.x_adv
        moved = problem.project(at + state.length * norm.steepest(state.at.gradient))
        if step:
            moved = problem.project(at + (1 - MOMENTUM) * (moved - at) + MOMENTUM * (at - state.before))
        place, logits = problem.look(moved)
        state = state.after(place)
        if step + 1 in decided:
            state = state.decided()
    return best, steps, passes


@dataclass(frozen=True)
class _Place:
    """Images, (n, C, H, W), the gradient of the loss there, and the loss, (n,)."""

    x_adv: Tensor
    gradient: Tensor
    loss: Tensor

    def take(self, rows: Tensor) -> _Place:
        return _Place(self.x_adv[rows], self.gradient[rows], self.loss[rows])

    def where(self, mask: Tensor, other: _Place) -> _Place:
        """This one of the samples under the mask, (n,), the other of the rest."""
        x_adv, gradient = _chosen(mask, self.x_adv, other.x_adv), _chosen(mask, self.gradient, other.gradient)
        return _Place(x_adv, gradient, torch.where(mask, self.loss, other.loss))


@dataclass(frozen=True)
class _State:
    """Where the n samples of a run are.

    Attributes:
        at: the iterates; after a return to the highest loss its gradient and loss are of what was left.
        before: the iterates before those, (n, C, H, W).
        top: those of the highest loss so far.
        length: of a step, (n, 1, 1, 1).
        rises: (n,) how often the loss rose since the last checkpoint.
        made: the steps since then.
        top_then: (n,) the highest loss at the last checkpoint.
        halved_then: (n,) bool, whether the step was halved there.
    """

    at: _Place
    before: Tensor
    top: _Place
    length: Tensor
    rises: Tensor
    made: int
    top_then: Tensor
    halved_then: Tensor

    @classmethod
    def begun(cls, at: _Place, length: float) -> _State:
        lengths = at.x_adv.new_full((len(at.loss), *[1] * (at.x_adv.dim() - 1)), length)
        yes = torch.ones_like(at.loss, dtype=torch.bool)
        return cls(at, at.x_adv, at, lengths, counts(0, at.loss), 0, at.loss, yes)

    def take(self, rows: Tensor) -> _State:
        return _State(
            self.at.take(rows), self.before[rows], self.top.take(rows), self.length[rows], self.rises[rows], self.made,
            self.top_then[rows], self.halved_then[rows],
        )  # fmt: skip

    def after(self, place: _Place) -> _State:
        """After a step to this place."""
        rises = self.rises + (place.loss > self.at.loss)
        top = place.where(place.loss > self.top.loss, self.top)
        return replace(self, at=place, before=self.at.x_adv, top=top, rises=rises, made=self.made + 1)

    def decided(self) -> _State:
        """After a checkpoint: some halve their step and go back to their highest loss."""
        stuck = ~self.halved_then & (self.top_then >= self.top.loss)
        halve = (self.rises <= RHO * self.made) | stuck
        # the next rise is counted from the loss that was left, as the package does
        at = replace(self.top.where(halve, self.at), loss=self.at.loss)
        length = _chosen(halve, self.length / 2, self.length)
        return _State(at, self.before, self.top, length, torch.zeros_like(self.rises), 0, self.top.loss, halve)


def _chosen(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (one.dim() - 1)), one, other)
