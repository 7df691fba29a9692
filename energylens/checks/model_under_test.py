"""The model under examination, its images, and what several checks ask of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from energylens.attacks.ascent import input_gradient
from energylens.attacks.battery import configure
from energylens.attacks.losses import margin
from energylens.checks.readings import READINGS, Reading
from energylens.data import Samples
from energylens.models import ModelCard
from energylens.models.usable import FloatLogits
from energylens.noise import Noise

BATCH = 64  # images at once
ROUNDING = 1e-4  # of the largest logit; batches of other sizes differ by 4e-7 at most on six real models
NO_TRAINING = "no training images at hand"
FALLBACK_EPS = 8 / 255  # for images of which no usual radius is known
LogitLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ModelUnderTest:
    """A model held in eval mode (see ``frozen``) and n labelled images on its device.

    x: (n, C, H, W) in [0, 1]; y: (n,). in_train: names of the submodules that were handed over in train mode. eps: Linf
    radius of the attacks. training: the same model with as many images of the training split, or why there are none.
    """

    model: nn.Module
    card: ModelCard
    samples: Samples
    x: Tensor
    y: Tensor
    noise: Noise
    in_train: tuple[str, ...] = ()
    eps: float = FALLBACK_EPS
    training: ModelUnderTest | str = NO_TRAINING
    _attacked: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def floated(self) -> nn.Module:
        """The model with float32 logits: all checks but that of the precision use it."""
        return FloatLogits(self.model)

    @cached_property
    def logit_type(self) -> torch.dtype | None:
        """The type of the logits as the model gives them; None where it gives none, which another check reports."""
        try:
            with torch.no_grad():
                dtype: torch.dtype = self.model(self.x[:1]).dtype
        except Exception:  # whatever a user's network raises, or a thing without a dtype
            return None
        return dtype

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """The logits (n, K) of images x, in float32.

        Args:
            x: images, (n, C, H, W) in [0, 1].

        Returns:
            The logits, (n, K) float32.
        """
        return torch.cat([self.floated(part) for part in torch.split(x, BATCH)])

    @cached_property
    def in_double(self) -> Callable[[Tensor], Tensor] | None:
        """Images -> the logits (n, K) that the model gives in float64; None where it gives none.

        A model may not support float64 (it casts, or keeps weights where nobody sees them), or answer something else
        there.
        """
        tensors = (*self.model.named_parameters(), *self.model.named_buffers())
        state = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in tensors}

        @torch.no_grad()
        def answer(x: Tensor) -> Tensor:
            return torch.cat([functional_call(self.model, state, (part,)) for part in torch.split(x.double(), BATCH)])

        try:
            logits = answer(self.x)
        except Exception:  # whatever a user's network, or a device without float64, raises
            return None
        return answer if logits.dtype == torch.float64 and apart(logits, self.logits) <= ROUNDING else None

    @cached_property
    def logits(self) -> Tensor:
        """The logits (n, K) of its own images, in float32."""
        return self.answer(self.x)

    @cached_property
    def predicted(self) -> Tensor:
        """The classes (n,) that it predicts.

        The gradient checks take these for labels, so that wrong labels do not matter to them.
        """
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
        """The same mask (n,) under every other reading of the images."""
        return {reading: self.answer(reading.of(self.x)).argmax(dim=1) == self.y for reading in READINGS}

    def gradient(self, loss: LogitLoss) -> Tensor:
        """``grad_x loss(f(x), predicted)``, (n, C, H, W).

        Args:
            loss: (logits (n, K), labels (n,)) -> (n,).

        Returns:
            The gradient of each image's own loss, (n, C, H, W).
        """
        parts = zip(torch.split(self.x, BATCH), torch.split(self.predicted, BATCH), strict=True)
        return torch.cat([_gradient(self.floated, x, labels, loss) for x, labels in parts])

    def moved_by(self, spec: str) -> Tensor:
        """Mask (n,) of the images whose prediction an attack within eps changes.

        Args:
            spec: the attack with its settings, as ``pgd,steps=20``.

        Returns:
            The mask, (n,) bool.
        """
        return self.attacked(spec).argmax(dim=1) != self.predicted

    def attacked(self, spec: str) -> Tensor:
        """The logits (n, K) of the images that an attack on the predictions makes within eps; it runs once.

        Args:
            spec: the attack with its settings, as ``pgd,steps=20``.

        Returns:
            The logits, (n, K) float32, kept for the next that asks.
        """
        if spec not in self._attacked:
            attack = configure(spec, eps=self.eps)
            logits = []
            for rows in torch.split(torch.arange(len(self.x), device=self.x.device), BATCH):
                x, labels, clean = self.x[rows], self.predicted[rows], self.logits[rows]
                result = attack(self.floated, x, labels, noise=self.noise.take(rows), clean_logits=clean)
                logits.append(self.answer(result.x_adv))
            self._attacked[spec] = torch.cat(logits)
        return self._attacked[spec]


def _gradient(model: nn.Module, x: Tensor, labels: Tensor, loss: LogitLoss) -> Tensor:
    return input_gradient(model, x, lambda logits: loss(logits, labels))


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of two sets of logits (n, K), in units of the second's largest.

    Args:
        one: logits, (n, K).
        other: logits, (n, K), to whose largest the difference is compared.

    Returns:
        The difference as a share, 0 where they are equal.
    """
    return float((one - other).abs().max() / other.abs().max().clamp_min(torch.finfo(other.dtype).tiny))
