"""Which n of a split's samples: three rules, one table.

A rule takes labels (N,) int64 in [0, num_classes), num_classes, n in 1 to N and a seed, and answers sorted positions.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from energylens.errors import InputError, unknown


def first(labels: Tensor, num_classes: int, n: int, seed: int) -> Tensor:
    """The first n of N samples: positions (n,) int64.

    Args:
        labels: of all samples, (N,) int64.
        num_classes: how many classes there are.
        n: how many samples are wanted, 1 to N.
        seed: not used.

    Returns:
        Positions, (n,) int64, ascending.
    """
    return torch.arange(n)


def random(labels: Tensor, num_classes: int, n: int, seed: int) -> Tensor:
    """The first n of a permutation keyed by the seed: positions (n,) int64, to which a larger n only adds.

    Args:
        labels: of all samples, (N,) int64.
        num_classes: how many classes there are.
        n: how many samples are wanted, 1 to N.
        seed: of a random choice.

    Returns:
        Positions, (n,) int64, ascending.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(labels), generator=generator)[:n].sort().values


def balanced(labels: Tensor, num_classes: int, n: int, seed: int) -> Tensor:
    """The first ones of each class, counts differing by at most 1 (the lower classes have the more).

    Args:
        labels: of all samples, (N,) int64.
        num_classes: how many classes there are.
        n: how many samples are wanted, 1 to N.
        seed: not used.

    Returns:
        Positions, (n,) int64, ascending.

    Raises:
        InputError: if a class has too few.
    """
    share, rest = divmod(n, num_classes)
    chosen = []
    for label in range(num_classes):
        wanted = share + (label < rest)
        members = (labels == label).nonzero().flatten()
        if len(members) < wanted:
            raise InputError(
                f"a balanced choice of n={n} takes {wanted} samples of class {label}, which has {len(members)}; "
                "take a smaller n, or choose 'first' or 'random'."
            )
        chosen.append(members[:wanted])
    return torch.cat(chosen).sort().values


CHOICES: Mapping[str, Callable[[Tensor, int, int, int], Tensor]] = {
    "first": first,
    "random": random,
    "balanced": balanced,
}


def choose_indices(labels: Tensor, num_classes: int, n: int | None, choose: str, seed: int) -> Tensor:
    """Which samples a rule chooses.

    Args:
        labels: (N,) int64 in [0, num_classes).
        num_classes: K.
        n: how many, 1 to N; None for all.
        choose: a rule of CHOICES.
        seed: of a random choice.

    Returns:
        (n,) int64 positions in [0, N), ascending.

    Raises:
        InputError: for an unknown rule, an n outside its range, or a class that has too few.

    Example:
        >>> choose_indices(torch.tensor([0, 0, 0, 1]), 2, 2, "balanced", seed=0)
        tensor([0, 3])
    """
    if choose not in CHOICES:
        raise unknown("choose", choose, CHOICES)
    size = len(labels)
    n = size if n is None else n
    if not 1 <= n <= size:
        raise InputError(f"n={n} samples asked for; expected 1 to {size}, as many as there are.")
    return CHOICES[choose](labels, num_classes, n, seed)
