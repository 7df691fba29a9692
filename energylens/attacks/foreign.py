"""Somebody else's attack in the place of one of ours: any callable ``f(model, x, y) -> x_adv``.

An attack that is made for a model, or takes a radius, goes into a function of these three arguments; see
examples/foreign_attacks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from energylens.attacks.backends import PLAIN
from energylens.attacks.registry import AttackRow
from energylens.attacks.result import AttackResult, PassCounter, counts
from energylens.attacks.settings import Settings
from energylens.errors import InputError, RunError
from energylens.imports import current_directory_importable, object_at
from energylens.isolation import random_state
from energylens.models import weights_digest
from energylens.noise import Noise, key

ForeignAttack = Callable[[nn.Module, Tensor, Tensor], Tensor]
EXPECTED = "f(model, x, y) -> x_adv"
ROUNDING = 1e-5  # how far outside [0, 1] float32 arithmetic may leave a pixel


@dataclass(frozen=True)
class Foreign(Settings):
    """A foreign attack's settings are its own business.

    It may look at the whole batch and draw from the global random state, so it runs in fixed blocks.

    Attributes:
        kind: where it is defined, ``module:name``.
        block: samples attacked together.
        norm: what its perturbations are measured in.
    """

    kind: str
    block: int = 50
    norm: str = "linf"

    reusable: ClassVar[bool] = False  # nobody knows its settings
    quickest = PLAIN
    passes = 20  # nobody knows


def attack_at(address: str) -> ForeignAttack:
    """The callable at an address, under that name, as the command line takes it.

    Args:
        address: ``package.module:function``.

    Returns:
        A function (model, x, y) -> x_adv. Whatever the user's code raises in it is an InputError with its message.

    Raises:
        InputError: where there is no callable.
    """
    attack = object_at(address, f"an attack {EXPECTED}")
    if not callable(attack):
        raise InputError(f"{address} is a {type(attack).__name__}; expected a callable {EXPECTED}")

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        try:
            with current_directory_importable():
                x_adv: Tensor = attack(model, x, y)
        except (InputError, RunError, torch.OutOfMemoryError):  # they say in one line what is wrong
            raise
        except Exception as error:  # the user's own code: whatever it raises
            message = " ".join(str(error).split())
            raise InputError(f"attack {address} raised {type(error).__name__}: {message}") from error
        return x_adv

    run.__module__, run.__qualname__ = address.split(":", maxsplit=1)
    run.__name__ = address
    return run


def foreign_row(attack: ForeignAttack) -> AttackRow:
    """A callable as a row of its own, under a function's name or an object's class name.

    Args:
        attack: ``f(model, x, y) -> x_adv``, images (N, C, H, W) in [0, 1] and labels (N,).

    Returns:
        The row, with default settings; it is not among the table's.

    Raises:
        InputError: for anything else.
    """
    if not callable(attack):
        raise InputError(f"an attack is a name or a callable {EXPECTED}, not a {type(attack).__name__}")
    name = getattr(attack, "__name__", type(attack).__name__)
    where = attack if hasattr(attack, "__qualname__") else type(attack)
    settings = Foreign(f"{where.__module__}:{where.__qualname__}")
    return AttackRow(name, name, partial(_run, name, attack), settings, "a foreign attack", settings.kind)


def _run(
    name: str, attack: ForeignAttack, model: nn.Module, x: Tensor, y: Tensor, *, noise: Noise, **_: Any
) -> AttackResult:
    """Call it under random states keyed by the block's first sample, and check what it gives back.

    Its passes are counted at the model. Raises InputError where it does not return images of x's shape in [0, 1], or
    changes the model.
    """
    before = weights_digest(model)
    with torch.enable_grad(), PassCounter(model) as counter, random_state(key(noise.seed, name, noise.indices[0])):
        x_adv = attack(model, x.clone(), y.clone())
    model.eval()  # some leave it in train mode
    if weights_digest(model) != before:
        raise InputError(f"attack {name} changed the model's weights: give it a copy, copy.deepcopy(model)")
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        came = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise InputError(f"attack {name} returned {came}; expected a tensor of images of shape {tuple(x.shape)}")
    x_adv = x_adv.detach().to(x)
    low, high = float(x_adv.min()), float(x_adv.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise InputError(f"attack {name} returned images in [{low:.9g}, {high:.9g}]; expected finite ones in [0, 1]")
    forwards, backwards = counter.per_sample(len(x))
    steps = counts(backwards, x)
    return AttackResult(x_adv.clamp(0, 1), steps, forwards=counts(forwards, x), backwards=steps)
