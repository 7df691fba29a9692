"""Which n of a split's samples: three rules, one table. Each answers sorted positions among them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from energylens.errors import InputError


@dataclass(frozen=True)
class Wish:
    """n of the samples with these labels. labels: (N,) int64 in [0, num_classes); 1 <= n <= N."""

    labels: Tensor
    num_classes: int
    n: int
    seed: int


def first(wish: Wish) -> Tensor:
    """The first n."""
    return torch.arange(wish.n)


def random(wish: Wish) -> Tensor:
    """The first n of a permutation keyed by the seed, so that a larger n under the same seed only adds samples."""
    generator = torch.Generator().manual_seed(wish.seed)
    return torch.randperm(len(wish.labels), generator=generator)[: wish.n].sort().values


def balanced(wish: Wish) -> Tensor:
    """The first ones of each class, counts differing by at most 1 (the lower classes have the more).

    Raises InputError if a class has too few.
    """
    share, rest = divmod(wish.n, wish.num_classes)
    chosen = []
    for label in range(wish.num_classes):
        wanted = share + (label < rest)
        members = (wish.labels == label).nonzero().flatten()
        if len(members) < wanted:
            raise InputError(
                f"a balanced choice of n={wish.n} takes {wanted} samples of class {label}, which has {len(members)}; "
                "take a smaller n, or choose 'first' or 'random'."
            )
        chosen.append(members[:wanted])
    return torch.cat(chosen).sort().values


CHOICES: Mapping[str, Callable[[Wish], Tensor]] = {"first": first, "random": random, "balanced": balanced}


def choose_indices(labels: Tensor, num_classes: int, n: int | None, choose: str, seed: int) -> Tensor:
    """(n,) int64 positions, ascending; n=None means all. InputError for an unknown rule or an n outside [1, N]."""
    if choose not in CHOICES:
        raise InputError(f"choose={choose!r} is unknown; expected one of {', '.join(CHOICES)}.")
    size = len(labels)
    n = size if n is None else n
    if not 1 <= n <= size:
        raise InputError(f"n={n} samples asked for; expected 1 to {size}, as many as there are.")
    return CHOICES[choose](Wish(labels, num_classes, n, seed))
