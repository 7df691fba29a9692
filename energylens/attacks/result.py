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
    that nobody runs that forward again; otherwise None. broken_by: of an ensemble, the part each sample fell to.
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


def counts(value: int, like: Tensor) -> Tensor:
    """The same count for every sample of the batch ``like`` (N, ...)."""
    return torch.full((len(like),), value, dtype=torch.int64, device=like.device)
