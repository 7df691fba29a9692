"""What an attack gives back, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AttackResult:
    """Adversarial images and what they cost.

    Attributes:
        x_adv: (N, C, H, W) in [0, 1].
        steps: (N,) int64, the iterations each sample took part in.
        forwards: (N,) int64, the forward passes.
        backwards: (N,) int64, the backward passes.
        logits: the float32 logits (N, K) of ``x_adv`` where the attack has computed them on its way, so that nobody
            runs that forward again; otherwise None.
        broken_by: of an ensemble, the part that broke each sample.
        purified: of Diff-PGD, R(x_adv), (N, C, H, W) in [0, 1].
        trajectory: (N, steps, 2), E(x') and E(x', y) in nats of every iterate before its step, where it was asked for;
            NaN after a sample had stopped.
        cycled: of the ascent loop, (N,) int64, the step at which the sample's iterate had been there before, so that
            the others were read off the cycle; 0 where none had. None where nobody looked.
    """

    x_adv: Tensor
    steps: Tensor
    forwards: Tensor
    backwards: Tensor
    logits: Tensor | None = None
    broken_by: tuple[str, ...] | None = None
    purified: Tensor | None = None
    trajectory: Tensor | None = None
    cycled: Tensor | None = None


@dataclass(frozen=True)
class AttackedBatch:
    """What ``el.attack(..., full=True)`` returns: N attacked images, and what the model makes of them before and after.

    Everything else follows from these: ``el.abnormal(r.logits_clean, r.logits_adv, y)``,
    ``el.delta_energy(r.marginal_clean, r.marginal_adv)``.

    Attributes:
        x_adv: (N, C, H, W) in [0, 1].
        success: (N,) bool, misclassified or, with a target, seen as that class.
        steps: (N,) int64, the iterations the attack spent on each sample.
        forwards: (N,) int64, the forward passes.
        backwards: (N,) int64, the backward passes.
        logits_clean: (N, K) float32.
        logits_adv: (N, K) float32.
        marginal_clean: E(x), (N,), nats.
        marginal_adv: E(x_adv), (N,), nats.
        joint_clean: E(x, y) at the true class, (N,), nats.
        joint_adv: E(x_adv, y) at the true class, (N,), nats.
        target: (N,) the classes aimed at, else None.
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
    """The same count for every sample.

    Args:
        value: the count.
        like: a batch (N, ...), on the device of the result.

    Returns:
        The counts, (N,) int64.
    """
    return torch.full((len(like),), value, dtype=torch.int64, device=like.device)


Heard = Callable[[float], None]
#: hears which share of a batch is done, and whether that is sure or the least it can be
Told = Callable[[float, bool], None]


class PassCounter:
    """Counts the samples that go through a model, forwards and backwards, while it is entered.

    Args:
        model: any module.
        told: called at every forward with the forward-backward passes so far, of all samples together, a forward that
            no gradient is taken of counting half.
    """

    def __init__(self, model: nn.Module, told: Heard | None = None) -> None:
        self._model, self._told, self._forwards, self._backwards, self.work = model, told, 0, 0, 0.0

    def __enter__(self) -> PassCounter:
        self._handle = self._model.register_forward_hook(self._seen)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def per_sample(self, samples: int) -> tuple[int, int]:
        """Mean passes a sample, rounded.

        Args:
            samples: over how many the passes are shared out, 1 or more.

        Returns:
            Forwards and backwards.
        """
        return round(self._forwards / samples), round(self._backwards / samples)

    def _seen(self, module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        self._forwards += len(logits)
        self.work += len(logits) * (1.0 if logits.requires_grad else 0.5)
        if self._told:
            self._told(self.work)
        if logits.requires_grad:
            logits.register_hook(self._returned)  # type: ignore[no-untyped-call]  # torch has not typed it

    def _returned(self, gradient: Tensor) -> None:
        self._backwards += len(gradient)
