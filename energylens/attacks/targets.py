"""Which class a targeted attack aims at, as a table of rules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from energylens.errors import InputError
from energylens.noise import Noise


def _others(logits: Tensor, y: Tensor, fill: float) -> Tensor:
    """The logits with the label's own taken out of the running."""
    return logits.scatter(1, y[:, None], fill)


def _random(logits: Tensor, y: Tensor, noise: Noise) -> Tensor:
    classes = logits.shape[1]
    return (y + 1 + noise.integers("target", classes - 1, y)) % classes


RULES: dict[str, Callable[[Tensor, Tensor, Noise], Tensor]] = {
    "random": _random,
    "least-likely": lambda logits, y, noise: _others(logits, y, torch.inf).argmin(dim=1),
    "second-best": lambda logits, y, noise: _others(logits, y, -torch.inf).argmax(dim=1),
}


def check_target(target: str, classes: int | None = None) -> None:
    """Refuse what is neither a rule's name nor the number of a class.

    Args:
        target: the text.
        classes: how many there are, None where that is not known.

    Raises:
        InputError: for anything else.
    """
    if target not in RULES and not target.isdecimal():
        raise InputError(f"unknown target {target!r}: give one of {', '.join(RULES)} or a class number such as 3")
    if target not in RULES and classes is not None and int(target) >= classes:
        raise InputError(f"target class {target} does not exist: the model has classes 0 to {classes - 1}")


def choose_targets(target: str, clean_logits: Tensor, y: Tensor, noise: Noise) -> Tensor:
    """The classes that the samples are to be taken for, never the label itself.

    Args:
        target: a row of RULES or a class number; a sample that is of that class already aims at the next one.
        clean_logits: (N, K).
        y: (N,) labels.
        noise: of these samples, for a random choice.

    Returns:
        The target classes, (N,) int64.

    Raises:
        InputError: for another target.
    """
    classes = clean_logits.shape[1]
    check_target(target, classes)
    if target in RULES:
        return RULES[target](clean_logits, y, noise)
    given = torch.full_like(y, int(target))
    return torch.where(given == y, (given + 1) % classes, given)
