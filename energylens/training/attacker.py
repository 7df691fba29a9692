"""The attack inside a training step: ``attacks.ascent`` on whole batches, or free training's carried perturbation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.losses import LOSSES
from energylens.attacks.norms import NORMS
from energylens.noise import NoiseSource


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


class Attacker:
    """Makes the images of a step adversarial; carries nothing from step to step unless a subclass says so."""

    def __call__(self, x: Tensor, y: Tensor, eps: float) -> Adversarial:
        """Attack a batch.

        Args:
            x: natural images in [0, 1], (N, C, H, W).
            y: labels, (N,).
            eps: radius in units of [0, 1].
        """
        raise NotImplementedError

    def after_backward(self, eps: float) -> None:
        """Called when the step's gradients are there.

        Args:
            eps: the step's radius in units of [0, 1].
        """

    def state_dict(self) -> dict[str, Any]:
        """What the next epoch needs of this one.

        Returns:
            The state by name; empty where nothing is carried.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` left.

        Args:
            state: as ``state_dict`` gave it.
        """


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


@dataclass
class AscentAttacker(Attacker):
    """One run of the ascent loop a step; input gradients only.

    Losses that compare with the clean logits are ascended in float32 under mixed precision too: at x + .001 N(0, I)
    rounding to bfloat16 is most of what they would see (57 % of the first step's signs agree with float32's).

    Attributes:
        network: what is attacked.
        noise: what the attack draws from.
        attack: at the whole radius.
        attack_mode: of batch norm inside the attack, "train" or "eval".
        amp: the training's precision.
        compile: whether the network is compiled.
    """

    network: nn.Module
    noise: NoiseSource
    attack: Ascent
    attack_mode: str
    amp: str
    compile: bool

    def __call__(self, x: Tensor, y: Tensor, eps: float) -> Adversarial:
        """Attack a batch at radius eps; the step grows with the radius."""
        full = self.attack
        if not full.steps:
            return Adversarial(x, x, None)
        ascent = replace(full, eps=eps, step_size=full.step * (eps / full.eps))
        watched = _Watched(self.network, self.amp != "no" and LOSSES[full.loss].needs_reference)
        with _mode(self.network, self.attack_mode == "train"), _weights_held(self.network, self.compile):
            x_adv = ascend(watched, x, y, noise=self.noise, settings=ascent, cycles=False).x_adv
        assert watched.first is not None
        start, logits = (x, watched.first[1]) if full.begins_at_x else watched.first
        return Adversarial(start, x_adv, logits)


class FreeAttacker(Attacker):
    """Free adversarial training (arXiv 1904.12843): one backward gives both gradients, of weights and perturbation.

    The perturbation is carried from batch to batch,

        delta <- P(delta + eps sign(grad L)).
    """

    def __init__(self, network: nn.Module, norm: str) -> None:
        self.network, self._norm = network, NORMS[norm]
        self._delta: Tensor | None = None
        self._x_adv: Tensor | None = None

    def __call__(self, x: Tensor, y: Tensor, eps: float) -> Adversarial:
        """The batch with the carried perturbation, whose gradient the next backward gives."""
        if self._delta is None:
            self._delta = torch.zeros_like(x)
        self._x_adv = (x + self._delta.clamp(-eps, eps)).clamp(0, 1).requires_grad_(True)
        return Adversarial(x, self._x_adv, None)

    def after_backward(self, eps: float) -> None:
        """Move the perturbation along the gradient that the weights' backward has left.

        Args:
            eps: length of the move and the radius kept to, in units of [0, 1].
        """
        assert self._delta is not None and self._x_adv is not None and self._x_adv.grad is not None
        self._delta = self._norm.project(self._delta + eps * self._norm.steepest(self._x_adv.grad), eps)

    def state_dict(self) -> dict[str, Any]:
        """The carried perturbation.

        Returns:
            ``delta``, of the shape of a batch, (N, C, H, W); empty before the first batch.
        """
        return {} if self._delta is None else {"delta": self._delta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Carry on from a perturbation that ``state_dict`` gave.

        Args:
            state: as ``state_dict`` gave it; without ``delta`` the next batch begins at zero.
        """
        delta = state.get("delta")
        self._delta = None if delta is None else delta.to(next(self.network.parameters()).device)


@contextmanager
def _mode(network: nn.Module, training: bool) -> Iterator[None]:
    """The network in train or eval mode inside, in train mode afterwards."""
    network.train(training)
    try:
        yield
    finally:
        network.train()


@contextmanager
def _weights_held(network: nn.Module, compiled: bool) -> Iterator[None]:
    """Inside, a compiled network computes no gradients of its weights, which its backward graph would do unasked."""
    held = [weight for weight in network.parameters() if weight.requires_grad] if compiled else []
    for weight in held:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in held:
            weight.requires_grad_(True)
