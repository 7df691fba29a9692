"""One batch in the eyes of a loss: its images, and the training forwards that somebody asks for, each made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from energylens.noise import BatchNoise

if TYPE_CHECKING:
    from energylens.training.settings import TrainSettings


@dataclass
class Step:
    """model: the training forward, images (N, C, H, W) -> logits (N, K). x: natural, x_start: where the attack began,
    x_adv: where it ended; y: (N,). eps: the radius in force. progress: epochs done, with fractions. first_logits: those
    of x_start that the attack saw, without a graph."""

    model: Callable[[Tensor], Tensor]
    x: Tensor
    x_start: Tensor
    x_adv: Tensor
    y: Tensor
    settings: TrainSettings
    noise: BatchNoise
    eps: float
    progress: float
    first_logits: Tensor | None

    @cached_property
    def logits(self) -> Tensor:
        """Of x, (N, K) float32, with a graph."""
        return self.model(self.x).float()

    @cached_property
    def logits_start(self) -> Tensor:
        """Of x_start; those of x where the attack began there."""
        return self.logits if self.x_start is self.x else self.model(self.x_start).float()

    @cached_property
    def logits_adv(self) -> Tensor:
        """Of x_adv."""
        return self.logits if self.x_adv is self.x else self.model(self.x_adv).float()

    @property
    def start_seen(self) -> Tensor | None:
        """Logits of x_start that the attack saw, without a graph, where they can be compared with those of x_adv: batch
        norm in another mode, or other weights, are another function."""
        same = self.settings.attack_mode == "train" and not self.settings.awp
        return self.first_logits if same else None

    @property
    def clean_seen(self) -> Tensor | None:
        """Logits of x where this step has made them, for a loss or in its attack; without a graph."""
        if "logits" in self.__dict__:
            return self.logits.detach()
        return self.start_seen if self.x_start is self.x else None
