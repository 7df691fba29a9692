"""Checks of how the model was trained: did adversarial training collapse, or learn its images by heart?"""

from __future__ import annotations

from torch import Tensor

from energylens.checks.finding import Finding, judged
from energylens.checks.gradients import PGD
from energylens.checks.model_under_test import ModelUnderTest
from energylens.checks.overfitting import CATASTROPHIC, ROBUST, Gap, OneStep, one_step_only
from energylens.energy import delta_energy, marginal_energy

SINGLE = ("fgsm", "rs-fgsm")
ATTACKS = (*SINGLE, PGD)


def catastrophic(tested: ModelUnderTest) -> Finding:
    """Is it robust to a single step and broken by many?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    evidence = one_step(tested)
    accuracies = ", ".join(f"{name} {100 * float(right_under(name, tested).float().mean()):.1f} %" for name in ATTACKS)
    measured = f"{evidence}; accuracy: {accuracies}"
    return judged(not evidence.found, measured, CATASTROPHIC.meaning, CATASTROPHIC.remedy)


def robust(tested: ModelUnderTest) -> Finding:
    """Is it as robust on the images that it was not trained on?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    training = tested.training
    if isinstance(training, str):
        return Finding("skipped", training)
    gap = gap_between(training, tested)
    return judged(not gap.found, str(gap), ROBUST.meaning, ROBUST.remedy)


def one_step(tested: ModelUnderTest) -> OneStep:
    """The evidence for catastrophic overfitting on the images that the model gets right.

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        How many images stand a single step and fall to many.
    """
    right = tested.plainly_correct
    single = {name: right_under(name, tested)[right] for name in SINGLE}
    return one_step_only(single, right_under(PGD, tested)[right])


def right_under(spec: str, tested: ModelUnderTest) -> Tensor:
    """Mask (n,) of the images that the model gets right, and still does under the attack.

    Args:
        spec: the attack with its settings.
        tested: the model beside its images.

    Returns:
        The mask, (n,) bool.
    """
    return tested.plainly_correct & ~tested.moved_by(spec)


def gap_between(training: ModelUnderTest, test: ModelUnderTest) -> Gap:
    """Robust accuracy and dE(x) under PGD on training and on test images.

    Args:
        training: the model beside training images.
        test: the model beside images that it was not trained on.

    Returns:
        Both counts and both dE(x), in nats.
    """
    (train_count, delta_train), (test_count, delta_test) = map(_robustness, (training, test))
    return Gap(train_count, test_count, delta_train, delta_test)


def _robustness(tested: ModelUnderTest) -> tuple[tuple[int, int], float]:
    """How many of its images the model gets right under PGD, how many there are, and the mean dE(x) in nats."""
    right = right_under(PGD, tested)
    energies = (marginal_energy(logits) for logits in (tested.logits, tested.attacked(PGD)))
    return (int(right.sum()), len(right)), float(delta_energy(*energies).mean())
