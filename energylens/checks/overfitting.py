"""Catastrophic (CO) and robust overfitting (RO), told from which samples are robust: nothing here asks a model.

    CO    q = P(robust to one step, broken by many steps of the same radius | right without an attack)
    RO    g = P(robust | training image) - P(robust | test image)

A model trained with a single-step attack may become robust to that step alone (CO; arXiv 2001.03994, 2007.02617): q is
then more than half. A natural model is broken by one step as well, and a robust one is robust to many. A model that
learnt its training images by heart is robust on them and on no others (RO; arXiv 2002.11569): g is large. Both limits
are ours [R]: ``analyses/doctor_thresholds.py`` chose them on some models and judged them on others, see
``docs/results/doctor.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from energylens.statistics import LEVEL, accuracy_interval, binomial_tail

ONE_STEP_ONLY = 0.35  # q of natural and robust models: at most 0.22; of collapsed ones above chance: 0.85 and more
LEARNT_BY_HEART = 0.20  # g of natural and robust models: at most 0.16; at the end of robust overfitting: 0.54 and more


@dataclass(frozen=True)
class Failure:
    """What a failure of training, or of an attack, is called, what it means and what to do about it."""

    name: str
    meaning: str
    remedy: str


CATASTROPHIC = Failure(
    "catastrophic overfitting",
    "the model is robust to the single-step attack that it was trained with and broken by several small steps: its "
    "accuracy under FGSM or RS-FGSM says nothing about its robustness",
    "judge it by pgd or autoattack; train it again with --reg der or --reg gradalign, or by --method pgd, and let "
    "--on-alarm stop or rollback end a training that collapses",
)
ROBUST = Failure(
    "robust overfitting",
    "the model has learnt its training images by heart: it is robust on them and much less on new ones, where an "
    "earlier epoch or a regularised training does better",
    "take the weights of the best epoch on held-out images (best.safetensors), or train it again with --reg der, --awp "
    "or fewer epochs",
)


@dataclass(frozen=True)
class OneStep:
    """How many of n samples are robust to this single-step attack and broken by many steps.

    ``p`` is how likely so many are where q, the true share, is ONE_STEP_ONLY.
    """

    attack: str
    count: int
    n: int

    @property
    def share(self) -> float:
        """The estimate of q, 0 where there is no sample."""
        return self.count / self.n if self.n else 0.0

    @property
    def p(self) -> float:
        """How likely so many, or more, are where q is ONE_STEP_ONLY."""
        return binomial_tail(self.count, self.n, ONE_STEP_ONLY)

    @property
    def found(self) -> bool:
        """Whether q is above its limit by more than chance."""
        return self.p < LEVEL

    def __str__(self) -> str:
        low, high = accuracy_interval(self.count, self.n) if self.n else (0.0, 1.0)
        return (
            f"{100 * self.share:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f}) of {self.n} right images are robust "
            f"to {self.attack} and broken by many steps"
        )


def one_step_only(single: Mapping[str, Tensor], many: Tensor) -> OneStep:
    """The evidence for CO under the single-step attack that tells most, of n samples that are right without an attack.

    Args:
        single: by name of a single-step attack, a mask (n,) of the samples that are robust to it.
        many: the same under many steps of the same radius, (n,).

    Returns:
        The count of the attack that has the most.

    Example:
        >>> import torch
        >>> stands, falls = torch.ones(20, dtype=torch.bool), torch.zeros(20, dtype=torch.bool)
        >>> found = one_step_only({"fgsm": stands, "rs-fgsm": falls}, falls)
        >>> found.attack, found.count, found.found
        ('fgsm', 20, True)
    """
    counted = [OneStep(name, int((robust & ~many).sum()), len(many)) for name, robust in single.items()]
    return max(counted, key=lambda one: one.count)


@dataclass(frozen=True)
class Gap:
    """How many of so many training and test images are right under an attack, and the mean dE(x) of both in nats."""

    train: tuple[int, int]
    test: tuple[int, int]
    delta_train: float
    delta_test: float

    @property
    def value(self) -> float:
        """g, in [-1, 1]."""
        return self.train[0] / self.train[1] - self.test[0] / self.test[1]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Newcombe's interval of a difference of two independent shares, by squaring and adding.

        Newcombe's is method 10 of Statistics in Medicine 17, 1998. It stands here on Clopper and Pearson's limits
        instead of Wilson's, which are narrower.

        Args:
            level: how sure the interval is, in (0, 1).

        Returns:
            Both ends of the difference of accuracies, training minus test, in [-1, 1].
        """
        (train, (low, high)), (test, (bottom, top)) = (
            (right / n, accuracy_interval(right, n, level)) for right, n in (self.train, self.test)
        )
        return self.value - math.hypot(train - low, top - test), self.value + math.hypot(high - train, test - bottom)

    @property
    def found(self) -> bool:
        """Whether g is above its limit: so is all of its interval at the level of the tests."""
        return self.interval(1 - 2 * LEVEL)[0] > LEARNT_BY_HEART

    def __str__(self) -> str:
        low, high = self.interval()
        train, test = (f"{100 * right / n:.1f} %" for right, n in (self.train, self.test))
        return (
            f"robust accuracy {train} on training and {test} on test images, {100 * self.value:+.1f} points (95 %: "
            f"{100 * low:+.1f} to {100 * high:+.1f}); dE(x) {self.delta_train:+.2f} and {self.delta_test:+.2f} nats"
        )
