"""The model under examination, its images, and what several checks ask of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import input_gradient
from energylens.attacks.battery import configure
from energylens.attacks.losses import margin
from energylens.attacks.noise import Noise
from energylens.data import Samples
from energylens.doctor.readings import READINGS, Reading
from energylens.models import ModelCard

BATCH = 64  # images at once
LogitLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Patient:
    """A model held in eval mode (see ``frozen``) and n labelled images on its device.

    x: (n, C, H, W) in [0, 1]; y: (n,). in_train: names of the submodules that were handed over in train mode. eps: Linf
    radius of the attacks.
    """

    model: nn.Module
    card: ModelCard
    samples: Samples
    x: Tensor
    y: Tensor
    in_train: tuple[str, ...]
    eps: float
    noise: Noise

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """The logits (n, K) of images x, as the model gives them."""
        return torch.cat([self.model(part) for part in torch.split(x, BATCH)])

    @cached_property
    def logits(self) -> Tensor:
        """The logits (n, K) of its own images, as the model gives them."""
        return self.answer(self.x)

    @cached_property
    def predicted(self) -> Tensor:
        """The classes (n,) that it predicts: what the gradient checks take for labels, so that wrong labels are none of
        their business."""
        return self.logits.argmax(dim=1)

    @cached_property
    def margin_gradient(self) -> Tensor:
        """``grad_x`` of the predicted class's margin, (n, C, H, W)."""
        return self.gradient(margin)

    @cached_property
    def plainly_correct(self) -> Tensor:
        """Mask (n,) of its own images that it gives their label."""
        return self.predicted == self.y

    @cached_property
    def correct_on(self) -> dict[Reading, Tensor]:
        """The same mask under every other reading of the images."""
        return {reading: self.answer(reading.of(self.x)).argmax(dim=1) == self.y for reading in READINGS}

    def gradient(self, loss: LogitLoss) -> Tensor:
        """``grad_x loss(f(x), predicted)``, (n, C, H, W)."""
        parts = zip(torch.split(self.x, BATCH), torch.split(self.predicted, BATCH), strict=True)
        return torch.cat([_gradient(self.model, x, labels, loss) for x, labels in parts])

    def moved_by(self, spec: str) -> Tensor:
        """Mask (n,) of the images whose prediction an attack within eps changes."""
        attack = configure(spec, eps=self.eps)
        moved = []
        for rows in torch.split(torch.arange(len(self.x), device=self.x.device), BATCH):
            x, labels, logits = self.x[rows], self.predicted[rows], self.logits[rows].float()
            result = attack(self.model, x, labels, noise=self.noise.take(rows), clean_logits=logits)
            moved.append(self.answer(result.x_adv).argmax(dim=1) != labels)
        return torch.cat(moved)


def _gradient(model: nn.Module, x: Tensor, labels: Tensor, loss: LogitLoss) -> Tensor:
    return input_gradient(model, x, lambda logits: loss(logits.float(), labels))
