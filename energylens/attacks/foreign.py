"""Somebody else's attack in the place of one of ours: any callable ``f(model, x, y) -> x_adv``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from energylens.attacks.noise import Noise, key
from energylens.attacks.result import AttackResult, counts
from energylens.errors import InputError

ForeignAttack = Callable[[nn.Module, Tensor, Tensor], Tensor]
ROUNDING = 1e-5  # how far outside [0, 1] float32 arithmetic may leave a pixel


def run_foreign(attack: ForeignAttack, model: nn.Module, x: Tensor, y: Tensor, noise: Noise) -> AttackResult:
    """Call it under a random state keyed by the batch's first sample, and check what it gives back.

    Its passes are counted at the model. Raises InputError where it does not return images of x's shape in [0, 1].
    """
    name = foreign_name(attack)
    counter = PassCounter(model)
    with torch.enable_grad(), counter:
        torch.manual_seed(key(noise.seed, name, noise.indices[0]))
        x_adv = attack(model, x.clone(), y.clone())
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        came = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise InputError(f"attack {name} returned {came}; expected a tensor of images of shape {tuple(x.shape)}")
    x_adv = x_adv.detach().to(x)
    low, high = float(x_adv.min()), float(x_adv.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise InputError(
            f"attack {name} returned images in [{low:g}, {high:g}]; expected [0, 1]: clamp what it returns"
        )
    forwards, backwards = counter.per_sample(len(x))
    return AttackResult(
        x_adv.clamp(0, 1), steps=counts(backwards, x), forwards=counts(forwards, x), backwards=counts(backwards, x)
    )


def foreign_name(attack: ForeignAttack) -> str:
    """A function's own name, an object's class name."""
    return getattr(attack, "__name__", type(attack).__name__)


class PassCounter:
    """Counts the samples that go through a model, forwards and backwards, while it is entered."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._forwards, self._backwards = model, 0, 0

    def __enter__(self) -> PassCounter:
        self._handle = self._model.register_forward_hook(self._seen)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def per_sample(self, samples: int) -> tuple[int, int]:
        """Mean passes a sample, rounded: (forwards, backwards)."""
        return round(self._forwards / samples), round(self._backwards / samples)

    def _seen(self, module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        self._forwards += len(logits)
        if logits.requires_grad:
            logits.register_hook(self._returned)  # type: ignore[no-untyped-call]  # torch has not typed it

    def _returned(self, gradient: Tensor) -> None:
        self._backwards += len(gradient)
