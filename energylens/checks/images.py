"""Checks of how the model reads images and labels, by the accuracy under other readings."""

from __future__ import annotations

import torch
from torch import Tensor

from energylens.checks.finding import Finding, fault, judged
from energylens.checks.model_under_test import ModelUnderTest
from energylens.statistics import LEVEL, accuracy_interval, paired_sign_test


def right_range(tested: ModelUnderTest) -> Finding:
    """Is it better at images of another range?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    return _best_reading(tested, "range")


def right_normalisation(tested: ModelUnderTest) -> Finding:
    """Is it better at images normalised once more or once less?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    return _best_reading(tested, "normalisation")


def _best_reading(tested: ModelUnderTest, check: str) -> Finding:
    """Fail where the reading that the model is best at is one of this check's.

    It must be better than by chance, and must explain more than another order of the classes would: of a model that is
    never right any change makes some answers right.
    """
    plain, masks = tested.plainly_correct, tested.correct_on
    told = [f"{_percent(mask)} on {row.name}" for row, mask in masks.items() if row.check == check]
    measured = f"accuracy {_percent(plain)} as given, {', '.join(told)}"
    best = max(masks, key=lambda row: int(masks[row].sum()))
    explained = int(masks[best].sum()) > int(_reordered_correct(tested).sum())
    sound = best.check != check or not explained or paired_sign_test(plain, masks[best]) >= LEVEL
    return judged(sound, measured, best.meaning, best.remedy)


def _percent(correct: Tensor) -> str:
    return f"{100 * float(correct.float().mean()):.1f} %"


def right_labels(tested: ModelUnderTest) -> Finding:
    """Is it better than guessing, and is the order of its classes that of the data?

    Args:
        tested: the model beside the images that it is asked about.

    Returns:
        Its verdict with what was measured; of a fault also what it means and what mends it.
    """
    plain, classes, reordered = tested.plainly_correct, len(tested.samples.classes), _reordered_correct(tested)
    measured = f"accuracy {_percent(plain)}, {_percent(reordered)} with its classes in the order that fits best"
    if paired_sign_test(plain, reordered) < LEVEL:
        return fault(measured, "its classes stand in another order than the data's", "reorder its last layer")
    better = accuracy_interval(int(plain.sum()), len(plain))[0] > 1 / classes
    remedy = "check that weights, architecture and data set belong together"
    return judged(better, measured, f"no better than guessing one of {classes}", remedy)


def _reordered_correct(tested: ModelUnderTest) -> Tensor:
    """Mask (n,) of the images that are right under the renaming of classes that fits best.

    Each half is renamed as the other half would have it: a renaming that learned its own samples by heart would mend
    any model.
    """
    predicted, y = tested.predicted, tested.y
    even = torch.arange(len(y), device=y.device) % 2 == 0
    correct = torch.empty_like(even)
    for half in (even, ~even):
        renamed = _renaming(predicted[~half], y[~half], len(tested.samples.classes))
        correct[half] = renamed[predicted[half]] == y[half]
    return correct


def _renaming(predicted: Tensor, y: Tensor, classes: int) -> Tensor:
    """The permutation (K,) of classes that makes most predictions right; a class stays where nothing is won."""
    from scipy.optimize import linear_sum_assignment

    counts = torch.zeros(classes, classes, device=y.device)
    counts.index_put_((predicted, y), torch.ones(len(y), device=y.device), accumulate=True)
    staying = 0.5 * torch.eye(classes, device=y.device)
    _, renamed = linear_sum_assignment((counts + staying).cpu().numpy(), maximize=True)
    return torch.as_tensor(renamed, device=y.device)
