"""Carlini & Wagner's minimum-norm L2 attack (arXiv 1608.04644, section V.B), both ways it is used.

In w-space, with x' = (tanh(w) + 1) / 2, Adam minimises for each sample

    ||x' - x||_2^2 + c * max(f_y(x') - max_{k != y} f_k(x'), -kappa)         (signs turned for a target)

``cw``         a fixed c (1, 50 steps, lr 0.01: the energy papers' setting, that of torchattacks);
``cw-search``  c by binary search, the smallest that still succeeds (Carlini's own setting).

Each sample stops by itself once its objective no longer falls and leaves the batch; the smallest perturbation that
succeeded is kept. A sample on which none did comes back as it was, and so does one that needs none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from energylens.attacks.losses import Aim, margin
from energylens.attacks.noise import Noise
from energylens.attacks.norms import l2_size
from energylens.attacks.result import AttackResult, counts
from energylens.attacks.settings import check_norm, check_numbers

INSIDE = 1 - 1e-6  # pixels of exactly 0 or 1 are drawn in, or their w would be infinite and never move
CHECKS = 10  # how often in a run a sample asks whether its objective still falls


@dataclass(frozen=True)
class CarliniWagner:
    """Settings. c: weight of the margin (the first one tried where ``search_steps`` > 0). kappa: the margin to reach,
    in logits. steps: Adam iterations a run. search_steps: binary search steps over c, 0 for a fixed c.
    stop_ratio: a sample stops when its objective exceeds this share of what it was a tenth of the run ago."""

    c: float = 1.0
    kappa: float = 0.0
    steps: int = 50
    lr: float = 0.01
    search_steps: int = 0
    stop_ratio: float = 1.0
    norm: str = "l2"

    recipe: ClassVar[frozenset[str]] = frozenset({"norm"})
    bounded: ClassVar[bool] = False
    targetable: ClassVar[bool] = True
    min_classes: ClassVar[int] = 2
    block: ClassVar[None] = None

    @property
    def passes(self) -> int:
        """Forward-backward passes a sample makes at most."""
        return self.steps * max(self.search_steps, 1)

    def check(self) -> None:
        """Refuse settings that cannot be run."""
        check_norm(self.norm, ["l2"])
        check_numbers(asdict(self), positive=("c", "steps", "lr", "stop_ratio"))


@torch.no_grad()
def carlini_wagner(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    noise: Noise,
    settings: CarliniWagner,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
) -> AttackResult:
    """Run the attack on a batch; it draws no noise.

    x: (N, C, H, W) in [0, 1]; y: (N,) labels; target: (N,) labels to move towards, or None; clean_logits: (N, K)
    logits of x where they are known (saves the forward that finds the samples which need no perturbation).
    """
    aim = Aim(y, +1) if target is None else Aim(target, -1)
    logits = (model(x) if clean_logits is None else clean_logits).float()
    rows = (aim.sign * margin(logits, aim.labels) >= -settings.kappa).nonzero().squeeze(1)
    best = _Best(x[rows], torch.full_like(rows, torch.inf, dtype=torch.float32), logits[rows])
    x_adv, logits, steps = x.clone(), logits.clone(), counts(0, x)
    if len(rows):
        steps[rows] = _search(model, x[rows], Aim(aim.labels[rows], aim.sign), best, settings)
    x_adv[rows], logits[rows] = best.x_adv, best.logits
    forwards = steps + int(clean_logits is None)
    return AttackResult(x_adv, steps=steps, forwards=forwards, backwards=steps, logits=logits)


def _search(model: nn.Module, x: Tensor, aim: Aim, best: _Best, settings: CarliniWagner) -> Tensor:
    """The runs for one c after another, by bisection once a c has succeeded, tenfold until then; improves ``best``.
    Returns the steps each sample took, (N,)."""
    steps = counts(0, x)
    c = torch.full((len(x),), settings.c, device=x.device)
    lower, upper = torch.zeros_like(c), torch.full_like(c, torch.inf)
    for _ in range(max(settings.search_steps, 1)):
        succeeded, used = _minimise(model, x, aim, c, best, settings)
        steps += used
        upper = torch.where(succeeded, c, upper)
        lower = torch.where(succeeded, lower, c)
        c = torch.where(upper.isfinite(), (lower + upper) / 2, c * 10)
    return steps


@dataclass
class _Best:
    """The smallest successful perturbation so far: its images (N, C, H, W), their L2 distance (N,) and the logits
    (N, K) that were seen on the way, so that nobody runs that forward again."""

    x_adv: Tensor
    size: Tensor
    logits: Tensor

    def keep(self, rows: Tensor, x_adv: Tensor, size: Tensor, logits: Tensor, success: Tensor) -> None:
        better = success & (size < self.size[rows])
        kept = rows[better]
        self.x_adv[kept], self.size[kept], self.logits[kept] = x_adv[better], size[better], logits[better]


def _minimise(
    model: nn.Module, x: Tensor, aim: Aim, c: Tensor, best: _Best, settings: CarliniWagner
) -> tuple[Tensor, Tensor]:
    """Adam on w for one c a sample; improves ``best``. Returns who succeeded and the steps each used, both (N,)."""
    rows = torch.arange(len(x), device=x.device)
    state = _Adam(torch.atanh((2 * x - 1) * INSIDE))
    labels, weight, origin = aim.labels, c, x
    last = torch.full((len(x),), torch.inf, device=x.device)
    succeeded = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    steps = counts(0, x)
    for step in range(settings.steps):
        w = state.w.requires_grad_(True)
        with torch.enable_grad():
            x_adv = (torch.tanh(w) + 1) / 2
            logits = model(x_adv).float()
            lead = aim.sign * margin(logits, labels)
            distance = (x_adv - origin).square().flatten(1).sum(dim=1)
            objective = distance + weight * lead.clamp_min(-settings.kappa)
            (gradient,) = torch.autograd.grad(objective.sum(), w)
        steps[rows] += 1
        objective, x_adv, success = objective.detach(), x_adv.detach(), lead.detach() < -settings.kappa
        succeeded[rows] |= success
        best.keep(rows, x_adv, l2_size(x_adv - origin), logits.detach(), success)
        state.step(gradient, settings.lr)
        if step % max(settings.steps // CHECKS, 1) == 0:
            falls = objective <= last * settings.stop_ratio
            rows, last, labels, weight, origin = (t[falls] for t in (rows, objective, labels, weight, origin))
            state.take(falls)
            if not len(rows):
                break
    return succeeded, steps


class _Adam:
    """Adam (arXiv 1412.6980, its default betas) whose samples can leave: torch.optim's state cannot be narrowed."""

    def __init__(self, w: Tensor) -> None:
        self.w, self.m, self.v, self.t = w, torch.zeros_like(w), torch.zeros_like(w), 0

    def step(self, gradient: Tensor, lr: float, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.t += 1
        self.m = self.m.lerp(gradient, 1 - beta1)
        self.v = self.v * beta2 + gradient.square() * (1 - beta2)
        scale = self.v.div(1 - beta2**self.t).sqrt_().add_(1e-8)
        self.w = self.w.detach() - lr / (1 - beta1**self.t) * self.m / scale

    def take(self, rows: Tensor) -> None:
        self.w, self.m, self.v = self.w[rows], self.m[rows], self.v[rows]
