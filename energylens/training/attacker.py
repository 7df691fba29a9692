"""The attack inside a training step: ``attacks.ascent`` on whole batches, or free training's carried perturbation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.losses import LOSSES
from energylens.attacks.norms import NORMS
from energylens.attacks.radius import parse_radius
from energylens.noise import BatchNoise, NoiseSource
from energylens.training.methods import METHODS
from energylens.training.settings import TrainSettings


@dataclass(frozen=True)
class Adversarial:
    """What an attack made of a batch.

    Attributes:
        x_start: where the attack began (the images themselves, the same tensor, where it begins there).
        x_adv: where it ended.
        first_logits: those of x_start as the attack saw them, (N, K) float32, None where it made no pass.
    """

    x_start: Tensor
    x_adv: Tensor
    first_logits: Tensor | None


class _Watched(nn.Module):
    """The model, remembering its first input and output. precise: outside of mixed precision."""

    def __init__(self, model: nn.Module, precise: bool) -> None:
        super().__init__()
        self.model, self.precise = model, precise
        self.first: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        # accelerate puts autocast into the network's own forward, its class's is without
        logits: Tensor = type(self.model).forward(self.model, x) if self.precise else self.model(x)
        if self.first is None:
            self.first = x.detach(), logits.detach().float()
        return logits


class Attacker(Protocol):
    """Makes the images of a step adversarial."""

    def __call__(self, x: Tensor, y: Tensor, eps: float) -> Adversarial:
        """x: (N, C, H, W) in [0, 1], y: (N,), eps in units of [0, 1]."""

    def after_backward(self, eps: float) -> None:
        """Called when the step's gradients are there."""

    def state_dict(self) -> dict[str, Any]:
        """What the next epoch needs of this one."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` left."""


def training_ascent(settings: TrainSettings) -> Ascent:
    """The method's attack with the run's radius, steps and step size."""
    row = METHODS[settings.method].attack
    if not METHODS[settings.method].adversarial:
        return row
    step_size = parse_radius(settings.step_size or "nan", "step-size")
    return replace(row, eps=settings.radius, norm=settings.norm, steps=settings.steps or row.steps, step_size=step_size)


@dataclass
class AscentAttacker:
    """One run of the ascent loop a step, in the batch norm mode of the settings; input gradients only.

    Losses that compare with the clean logits are ascended in float32 under mixed precision too: at x + .001 N(0, I)
    rounding to bfloat16 is most of what they would see (57 % of the first step's signs agree with float32's).
    """

    network: nn.Module
    settings: TrainSettings
    noise: NoiseSource

    def __post_init__(self) -> None:
        self._full = training_ascent(self.settings)
        self._precise = self.settings.amp != "no" and LOSSES[self._full.loss].needs_reference

    def __call__(self, x: Tensor, y: Tensor, eps: float) -> Adversarial:
        """Attack a batch at radius eps; the step grows with the radius."""
        full = self._full
        if not full.steps:
            return Adversarial(x, x, None)
        # the step grows with the radius where that is still growing
        ascent = replace(full, eps=eps, step_size=full.step * (eps / full.eps))
        watched = _Watched(self.network, self._precise)
        with _mode(self.network, self.settings.attack_mode == "train"), _weights_held(self.network, self.settings):
            x_adv = ascend(watched, x, y, noise=self.noise, settings=ascent).x_adv
        assert watched.first is not None
        start, logits = (x, watched.first[1]) if full.begins_at_x else watched.first
        return Adversarial(start, x_adv, logits)

    def after_backward(self, eps: float) -> None:
        """Nothing is carried over."""

    def state_dict(self) -> dict[str, Any]:
        """Empty: nothing is carried over."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing was carried over."""


@dataclass
class FreeAttacker:
    """Free adversarial training (arXiv 1904.12843): one backward gives both gradients, of weights and perturbation.

    The perturbation is carried from batch to batch,

        delta <- P(delta + eps sign(grad L)).
    """

    network: nn.Module
    settings: TrainSettings
    noise: NoiseSource

    def __post_init__(self) -> None:
        self._delta: Tensor | None = None
        self._x_adv: Tensor | None = None

    def __call__(self, x: Tensor, y: Tensor, eps: float) -> Adversarial:
        """The batch with the carried perturbation, whose gradient the next backward gives."""
        if self._delta is None:
            self._delta = torch.zeros_like(x)
        self._x_adv = (x + self._delta.clamp(-eps, eps)).clamp(0, 1).requires_grad_(True)
        return Adversarial(x, self._x_adv, None)

    def after_backward(self, eps: float) -> None:
        """Move the perturbation along the gradient that the weights' backward has left."""
        assert self._delta is not None and self._x_adv is not None and self._x_adv.grad is not None
        norm = NORMS[self.settings.norm]
        self._delta = norm.project(self._delta + eps * norm.steepest(self._x_adv.grad), eps)

    def state_dict(self) -> dict[str, Any]:
        """The carried perturbation; empty before the first batch."""
        return {} if self._delta is None else {"delta": self._delta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Carry on from a perturbation that ``state_dict`` gave."""
        delta = state.get("delta")
        self._delta = None if delta is None else delta.to(next(self.network.parameters()).device)


def make_attacker(settings: TrainSettings, network: nn.Module, noise: BatchNoise) -> Attacker:
    """The attacker of the settings' method."""
    kind = AscentAttacker if METHODS[settings.method].replays is None else FreeAttacker
    return kind(network, settings, noise)


@contextmanager
def _mode(network: nn.Module, training: bool) -> Iterator[None]:
    """The network in train or eval mode inside, in train mode afterwards."""
    network.train(training)
    try:
        yield
    finally:
        network.train()


@contextmanager
def _weights_held(network: nn.Module, settings: TrainSettings) -> Iterator[None]:
    """Inside, a compiled network computes no gradients of its weights, which its backward graph would do unasked."""
    held = [weight for weight in network.parameters() if weight.requires_grad] if settings.compile else []
    for weight in held:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in held:
            weight.requires_grad_(True)
