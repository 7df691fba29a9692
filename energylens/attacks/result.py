"""What an attack gives back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttackResult:
    """Adversarial images and what they cost.

    x_adv: (N, C, H, W) in [0, 1]. steps, forwards, backwards: (N,) int64, the iterations and the network passes each
    sample took part in. logits: the float32 logits of ``x_adv`` where the attack has computed them on its way, so
    that nobody runs that forward again; otherwise None. broken_by: of an ensemble, the part that broke each sample.
    purified: of Diff-PGD, R(x_adv), (N, C, H, W) in [0, 1]. trajectory: (N, steps, 2), E(x') and E(x', y) in nats of
    every iterate before its step, where it was asked for.
    """

    x_adv: Tensor
    steps: Tensor
    forwards: Tensor
    backwards: Tensor
    logits: Tensor | None = None
    broken_by: tuple[str, ...] | None = None
    purified: Tensor | None = None
    trajectory: Tensor | None = None


@dataclass(frozen=True)
class AttackedBatch:
    """What ``el.attack(..., full=True)`` returns: N attacked images, and what the model makes of them before and after.

    x_adv: (N, C, H, W) in [0, 1]. success: (N,) bool, misclassified or, with a target, seen as that class.
    steps, forwards, backwards: (N,) int64, the iterations and passes the attack spent on each sample.
    logits_clean, logits_adv: (N, K) float32. marginal_clean, marginal_adv: E(x), (N,), nats. joint_clean, joint_adv:
    E(x, y) at the true class. target: (N,) the classes aimed at, else None. Everything else follows from these:
    ``el.abnormal(r.logits_clean, r.logits_adv, y)``, ``el.delta_energy(r.marginal_clean, r.marginal_adv)``.
    """

    x_adv: Tensor
    success: Tensor
    steps: Tensor
    forwards: Tensor
    backwards: Tensor
    logits_clean: Tensor
    logits_adv: Tensor
    marginal_clean: Tensor
    marginal_adv: Tensor
    joint_clean: Tensor
    joint_adv: Tensor
    target: Tensor | None = None


def counts(value: int, like: Tensor) -> Tensor:
    """The same count for every sample of the batch ``like`` (N, ...)."""
    return torch.full((len(like),), value, dtype=torch.int64, device=like.device)
