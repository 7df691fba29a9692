"""One batch as a loss sees it: its images, and the training forwards that somebody asks for, each made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from energylens.noise import BatchNoise
from energylens.training.der import DerTerms


@dataclass(frozen=True)
class Terms:
    """What the losses and regularisers of a run depend on besides a step's images: settings of these names.

    Attributes:
        method: the name of the method.
        radius: eps of the whole run, in units of [0, 1].
        norm: "linf" or "l2".
        pixels: how many numbers an image has.
        attack_mode: of batch norm inside the attack, "train" or "eval".
        awp: gamma of the weight perturbation before the loss, 0 for none.
        beta: weight of the KL term, None where the method has none.
        der: the choices that DER leaves open.
    """

    method: str
    radius: float
    norm: str
    pixels: int
    attack_mode: str
    awp: float
    beta: float | None
    der: DerTerms


@dataclass
class Step:
    """A batch, and what its losses need.

    Attributes:
        model: the training forward, images (N, C, H, W) -> logits (N, K).
        x: natural images, (N, C, H, W) in [0, 1]; x_start: where the attack began; x_adv: where it ended.
        y: labels, (N,).
        terms: what is the same in every step of the run.
        noise: what regularisers draw from.
        eps: the radius in force, in units of [0, 1].
        progress: epochs done, with fractions.
        first_logits: those of x_start that the attack saw, (N, K), without a graph; None where it saw none.
    """

    model: Callable[[Tensor], Tensor]
    x: Tensor
    x_start: Tensor
    x_adv: Tensor
    y: Tensor
    terms: Terms
    noise: BatchNoise
    eps: float
    progress: float
    first_logits: Tensor | None
    _logits: Tensor | None = field(default=None, init=False)

    @property
    def logits(self) -> Tensor:
        """Of x, (N, K) float32, with a graph."""
        if self._logits is None:
            self._logits = self.model(self.x).float()
        return self._logits

    @cached_property
    def logits_start(self) -> Tensor:
        """Of x_start, (N, K) float32, with a graph; those of x where the attack began there."""
        return self.logits if self.x_start is self.x else self.model(self.x_start).float()

    @cached_property
    def logits_adv(self) -> Tensor:
        """Of x_adv, (N, K) float32, with a graph."""
        return self.logits if self.x_adv is self.x else self.model(self.x_adv).float()

    @property
    def start_seen(self) -> Tensor | None:
        """Logits (N, K) of x_start that the attack saw, without a graph, where those of x_adv compare with them.

        They cannot where batch norm was in another mode or the weights were others: that is another function.
        """
        same = self.terms.attack_mode == "train" and not self.terms.awp
        return self.first_logits if same else None

    @property
    def clean_seen(self) -> Tensor | None:
        """Logits (N, K) of x where this step has made them, for a loss or in its attack; without a graph."""
        if self._logits is not None:
            return self._logits.detach()
        return self.start_seen if self.x_start is self.x else None
