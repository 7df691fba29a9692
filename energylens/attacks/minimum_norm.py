"""What Carlini & Wagner's attacks share (arXiv 1608.04644).

That is Adam in w-space, ``x' = (tanh(w) + 1) / 2``, from which samples leave one by one, and the smallest perturbation
that succeeded on each.

A sample that needs no perturbation gets none, and one on which no perturbation succeeded comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from energylens.attacks.losses import Aim, margin
from energylens.attacks.result import AttackResult, counts
from energylens.isolation import widest_float
from energylens.noise import Noise

INSIDE = 1 - 1e-6  # pixels of exactly 0 or 1 are drawn in, or their w would be infinite and never move


@torch.no_grad()
def smallest_perturbation(
    search: Callable[[nn.Module, Tensor, Aim, Smallest, Any], Tensor],
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    noise: Noise,
    settings: Any,
    target: Tensor | None = None,
    clean_logits: Tensor | None = None,
) -> AttackResult:
    """Search where there is something to search for.

    Args:
        search: (model, x, aim, smallest, settings), of the samples that need a perturbation; it improves ``smallest``
            and returns the steps each took, (N,).
        model: from images in [0, 1] to logits (N, K), held in eval mode.
        x: (N, C, H, W) in [0, 1].
        y: (N,) labels.
        noise: not used: nothing is drawn.
        settings: of the attack; their ``kappa`` is the margin to reach, in logits.
        target: (N,) labels to move towards, or None.
        clean_logits: (N, K) logits of x where they are known (saves the forward that finds the samples which need no
            perturbation).

    Returns:
        The smallest perturbations found, with the logits that were seen there.
    """
    aim = Aim.of(y, target)
    logits = (model(x) if clean_logits is None else clean_logits).float()
    rows = (aim.away(margin, logits) >= -settings.kappa).nonzero().squeeze(1)
    smallest = Smallest(x[rows], torch.full_like(rows, torch.inf, dtype=torch.float32), logits[rows])
    x_adv, logits, steps = x.clone(), logits.clone(), counts(0, x)
    if len(rows):
        steps[rows] = search(model, x[rows], aim.take(rows), smallest, settings)
    x_adv[rows], logits[rows] = smallest.x_adv, smallest.logits
    forwards = steps + int(clean_logits is None)
    return AttackResult(x_adv, steps=steps, forwards=forwards, backwards=steps, logits=logits)


@dataclass
class Smallest:
    """The smallest successful perturbations of N samples so far.

    Attributes:
        x_adv: their images, (N, C, H, W) in [0, 1].
        size: their size in the attack's norm, (N,), infinite where there is none yet.
        logits: (N, K), seen on the way, so that nobody runs that forward again.
    """

    x_adv: Tensor
    size: Tensor
    logits: Tensor

    @property
    def waiting(self) -> Tensor:
        """(M,) int64, the samples on which none has succeeded yet."""
        return self.size.isinf().nonzero().squeeze(1)

    def keep(self, rows: Tensor, x_adv: Tensor, size: Tensor, logits: Tensor, success: Tensor) -> Tensor:
        """Take those that succeeded and are smaller than what is there.

        Args:
            rows: (M,) which samples these are of.
            x_adv: (M, C, H, W) in [0, 1].
            size: (M,) in the attack's norm.
            logits: (M, K).
            success: (M,) bool.

        Returns:
            Which were taken, (M,) bool.
        """
        better = success & (size < self.size[rows])
        kept = rows[better]
        self.x_adv[kept], self.size[kept], self.logits[kept] = x_adv[better], size[better], logits[better]
        return better


@dataclass(frozen=True)
class Seen:
    """What one forward and backward tell of N samples, all detached.

    Attributes:
        x_adv: where they are, (N, C, H, W) in [0, 1].
        logits: (N, K).
        lead: by how much the label leads, in logits, turned for a target, (N,).
        objective: (N,).
        gradient: of the objective with respect to w, (N, C, H, W).
    """

    x_adv: Tensor
    logits: Tensor
    lead: Tensor
    objective: Tensor
    gradient: Tensor


class Descent:
    """Adam (arXiv 1412.6980, its default betas) on the w of images, down ``distance + c * max(lead, -kappa)``.

    Samples can leave and begin afresh, which torch.optim does not know of.

    Args:
        x: (N, C, H, W) in [0, 1].
        aim: of these samples.
    """

    def __init__(self, x: Tensor, aim: Aim) -> None:
        self.x, self.aim = x, aim
        self.w = torch.atanh((2 * x - 1) * INSIDE)
        self.m, self.v = torch.zeros_like(x), torch.zeros_like(x)
        self.t = torch.zeros(len(x), *[1] * (x.dim() - 1), dtype=widest_float(x.device), device=x.device)

    def look(self, model: nn.Module, distance: Callable[[Tensor], Tensor], c: Tensor, kappa: float) -> Seen:
        """Where the samples are: a forward and a backward.

        Args:
            model: from images in [0, 1] to logits (N, K).
            distance: perturbations (N, C, H, W) -> (N,).
            c: weight of the lead, (N,).
            kappa: the margin to reach, in logits.

        Returns:
            What they tell, detached, at the w that the next step starts from.
        """
        w = self.w.requires_grad_(True)
        with torch.enable_grad():
            x_adv = (torch.tanh(w) + 1) / 2
            logits = model(x_adv).float()
            lead = self.aim.away(margin, logits)
            objective = distance(x_adv - self.x) + c * lead.clamp_min(-kappa)
            (gradient,) = torch.autograd.grad(objective.sum(), w)
        return Seen(x_adv.detach(), logits.detach(), lead.detach(), objective.detach(), gradient)

    def step(self, gradient: Tensor, lr: float, beta1: float = 0.9, beta2: float = 0.999) -> None:
        """One step of Adam.

        Args:
            gradient: of the objective with respect to w, (N, C, H, W).
            lr: the learning rate, above 0, in units of w.
            beta1: decay of the mean of the gradients, in [0, 1).
            beta2: decay of the mean of their squares, in [0, 1).
        """
        self.t += 1
        self.m = self.m.lerp(gradient, 1 - beta1)
        self.v = self.v * beta2 + gradient.square() * (1 - beta2)
        scale = self.v.div((1 - beta2**self.t).to(self.v)).sqrt_().add_(1e-8)
        self.w = self.w.detach() - (lr / (1 - beta1**self.t)).to(self.m) * self.m / scale

    def take(self, rows: Tensor) -> None:
        """Go on with these samples alone.

        Args:
            rows: their positions, (M,) int64, or a mask, (N,).
        """
        self.x, self.aim = self.x[rows], self.aim.take(rows)
        self.w, self.m, self.v, self.t = self.w[rows], self.m[rows], self.v[rows], self.t[rows]

    def forget(self, rows: Tensor) -> None:
        """Leave these samples where they are but drop their past gradients: their objective has changed.

        Args:
            rows: which of them, (N,) bool.
        """
        self.m[rows], self.v[rows], self.t[rows] = 0, 0, 0
