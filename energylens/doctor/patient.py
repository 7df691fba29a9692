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

    @cached_property
    def floated(self) -> nn.Module:
        """The model with float32 logits: what all but the check of the precision ask."""
        return _Floated(self.model)

    @cached_property
    def logit_type(self) -> torch.dtype | None:
        """The type of the logits as the model gives them; None for a model that gives none, which is another check's
        business."""
        try:
            with torch.no_grad():
                dtype: torch.dtype = self.model(self.x[:1]).dtype
        except Exception:  # whatever a user's network raises, or a thing without a dtype
            return None
        return dtype

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """The logits (n, K) of images x, in float32."""
        return torch.cat([self.floated(part) for part in torch.split(x, BATCH)])

    @cached_property
    def logits(self) -> Tensor:
        """The logits (n, K) of its own images, in float32."""
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
        return torch.cat([_gradient(self.floated, x, labels, loss) for x, labels in parts])

    def moved_by(self, spec: str) -> Tensor:
        """Mask (n,) of the images whose prediction an attack within eps changes."""
        attack = configure(spec, eps=self.eps)
        moved = []
        for rows in torch.split(torch.arange(len(self.x), device=self.x.device), BATCH):
            x, labels, logits = self.x[rows], self.predicted[rows], self.logits[rows]
            result = attack(self.floated, x, labels, noise=self.noise.take(rows), clean_logits=logits)
            moved.append(self.answer(result.x_adv).argmax(dim=1) != labels)
        return torch.cat(moved)


def _gradient(model: nn.Module, x: Tensor, labels: Tensor, loss: LogitLoss) -> Tensor:
    return input_gradient(model, x, lambda logits: loss(logits, labels))


class _Floated(nn.Module):
    """A model whose logits are float32, whatever it computes in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of images x."""
        logits: Tensor = self._model(x)
        return logits.float()
