"""The checks, as a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from energylens.checks import answers, gradients, images, overfitted
from energylens.checks.answers import SUM
from energylens.checks.finding import Finding
from energylens.checks.model_under_test import ModelUnderTest
from energylens.checks.overfitting import CATASTROPHIC, ROBUST
from energylens.statistics import LEVEL


@dataclass(frozen=True)
class Check:
    """One row.

    after: checks that must have a result first; without one, this check could only repeat their failure, and is
    skipped. explained_by: checks whose failure explains this one's; it is skipped then, too. noted: whether this check
    may fail, judging by what a profile has seen; the profile then makes it, and reports a failure in one line. None for
    a check that only the doctor makes.
    """

    name: str
    look: Callable[[ModelUnderTest], Finding]
    after: tuple[str, ...] = ()
    explained_by: tuple[str, ...] = ()
    noted: Callable[[Seen], bool] | None = None


@dataclass(frozen=True)
class Seen:
    """What a profile knows of its natural samples.

    Attributes:
        n: how many samples there are.
        right: how many of them the model gets right.
        lowest: the least E(x), in nats.
        highest: the largest E(x), in nats.
        classes: the number of classes.
    """

    n: int
    right: int
    lowest: float
    highest: float
    classes: int


LEAST_SAMPLES = 48  # digits normalised twice lose a fifth of their accuracy: at 32 the sign test is not sure of it
WON = math.ceil(-math.log2(LEVEL))  # samples that another reading must get right, at the least, for the sign test


def _may_be_probabilities(seen: Seen) -> bool:
    """Outputs in [0, 1] have E(x) from -log K - 1 to -log K, and their logarithms 0."""
    return seen.lowest >= -math.log(seen.classes) - 1 - SUM and seen.highest <= SUM


def _may_be_misread(seen: Seen) -> bool:
    return seen.n >= LEAST_SAMPLES and seen.n - seen.right >= WON


CHECKS = (
    Check("precision", answers.precision),
    Check("fit", answers.fit, after=("precision",)),
    Check("eval mode", answers.eval_mode),
    Check("finite", answers.finite, after=("fit",)),
    Check("deterministic", answers.deterministic, after=("finite", "eval mode")),
    Check("batch", answers.batch_invariant, after=("deterministic",)),
    Check("logits", answers.real_logits, after=("finite",), noted=_may_be_probabilities),
    Check("attached", gradients.attached, after=("finite",)),
    Check("gradient", gradients.nonzero, after=("attached", "batch", "logits")),
    Check("saturation", gradients.unsaturated, after=("gradient",)),
    Check("slope", gradients.true_gradient, after=("gradient",)),
    Check("attacks", gradients.attacks_in_order, after=("gradient", "saturation")),
    Check(CATASTROPHIC.name, overfitted.catastrophic, after=("slope", "attacks")),
    # a collapsed model is at its best on images like those of its attack, which are richer in contrast
    Check("range", images.right_range, ("batch",), (CATASTROPHIC.name,), _may_be_misread),
    Check("normalisation", images.right_normalisation, ("batch",), (CATASTROPHIC.name,), _may_be_misread),
    Check("labels", images.right_labels, ("range", "normalisation"), noted=_may_be_misread),
    Check(ROBUST.name, overfitted.robust, after=("labels", "slope", "attacks", CATASTROPHIC.name)),
)
