"""What chance leaves open: detection, counts, shares and means, with their tests and intervals.

How well E(x) alone tells adversarial from natural images (the detector of arXiv 2304.04033), whether a count is larger
than chance makes it, how sure a share of n samples is, and how sure a mean over few seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    Mask = Tensor | NDArray[np.bool_]

SMALLEST = 20  # samples: ten a half, below which TPR and FPR come in steps of more than 10 %
SIDES = {"lower": -1.0, "higher": 1.0}  # where the adversarial lies, and the sign that makes it the higher score

Energies = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Separability:
    """What E(x) tells of an attack; adversarial is the positive class.

    auroc: area under the ROC of the score -E(x), in [0, 1]: 1 = adversarial wholly left of the natural, 0 = wholly
    right, .5 = no trace. detector_threshold, detector_side: an image is called adversarial where its E(x) is
    ``lower`` (or ``higher``) than the threshold, in nats; both chosen on one half of the samples. tpr, fpr: shares of
    the adversarial and of the natural images called adversarial, on the other half.
    """

    auroc: float
    detector_threshold: float
    detector_side: str
    tpr: float
    fpr: float


def separability(natural: Energies, adversarial: Energies) -> Separability | None:
    """How well E(x) separates adversarial from natural images.

    Threshold and side maximise TPR - FPR on the samples at even places; those at odd places judge.

    Args:
        natural: E(x) of the natural images, (n,), in nats, in order of the samples' index.
        adversarial: E(x) of the adversarial images of the same samples, (n,).

    Returns:
        What was found; None for fewer than SMALLEST samples.
    """
    from sklearn.metrics import roc_auc_score

    if len(natural) < SMALLEST:
        return None
    threshold, side = _detector(natural[::2], adversarial[::2])
    tpr, fpr = (float((SIDES[side] * (energies[1::2] - threshold) > 0).mean()) for energies in (adversarial, natural))
    labels, energies = _labelled(natural, adversarial)
    return Separability(float(roc_auc_score(labels, -energies)), threshold, side, tpr, fpr)


def _labelled(natural: Energies, adversarial: Energies) -> tuple[NDArray[np.bool_], Energies]:
    """Who is adversarial, (2n,), and their energies, (2n,)."""
    labels = np.repeat([False, True], [len(natural), len(adversarial)])
    return labels, np.concatenate([natural, adversarial]).astype("float64")


def _detector(natural: Energies, adversarial: Energies) -> tuple[float, str]:
    """The threshold and side of the largest TPR - FPR; of two sides as good, the lower."""
    candidates = [(*_best_cut(natural, adversarial, sign), side) for side, sign in SIDES.items()]
    _, threshold, side = max(candidates, key=lambda candidate: candidate[0])
    return threshold, side


def _best_cut(natural: Energies, adversarial: Energies, sign: float) -> tuple[float, float]:
    """The largest TPR - FPR on one side and its threshold, half way to the next energy that is not called."""
    from sklearn.metrics import roc_curve

    labels, energies = _labelled(natural, adversarial)
    fpr, tpr, scores = roc_curve(labels, sign * energies, drop_intermediate=False)
    scores = np.append(scores[1:], scores[-1] - 1)  # the first stands for nobody called, at infinity
    at = int(np.argmax((tpr - fpr)[1:]))
    return float((tpr - fpr)[1:][at]), float(sign * (scores[at] + scores[at + 1]) / 2)


LEVEL = 0.01  # below it a count is called more than chance; ours [R], not tuned


def binomial_tail(successes: int, n: int, q: float) -> float:
    """``P(X >= successes)``, X ~ Binomial(n, q).

    Args:
        successes: how many there were, 0 to n.
        n: how many draws.
        q: the chance of each, in [0, 1].

    Returns:
        The probability.

    Example:
        >>> binomial_tail(2, 2, 0.1), binomial_tail(0, 5, 0.3)
        (0.010000000000000002, 1.0)
    """
    from scipy.special import bdtrc

    return float(bdtrc(successes - 1, n, q))


def sign_test(for_it: int, against: int) -> float:
    """One-sided exact sign test of discordant pairs, McNemar's in its exact form (Psychometrika 12, 1947).

        p = P(X >= for_it),     X ~ Binomial(for_it + against, 1/2)

    Args:
        for_it: how many pairs differ one way; pairs that agree tell nothing.
        against: how many differ the other way.

    Returns:
        p.

    Example:
        >>> sign_test(5, 0) == 1 / 32, sign_test(0, 0), sign_test(1, 1)
        (True, 1.0, 0.75)
    """
    return binomial_tail(for_it, for_it + against, 0.5)


def paired_sign_test(before: Mask, after: Mask) -> float:
    """How likely chance alone makes one mask true so much oftener than another: the sign test of their pairs.

    Args:
        before: mask of n samples, (n,) bool.
        after: mask of the same samples, (n,) bool, which may be true oftener.

    Returns:
        p, see ``sign_test``.

    Example:
        >>> before, after = np.array([True, False, False]), np.array([True, True, True])
        >>> paired_sign_test(before, after), paired_sign_test(after, before)
        (0.25, 1.0)
    """
    return sign_test(int((after & ~before).sum()), int((before & ~after).sum()))


def accuracy_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share of samples; Biometrika 26 (1934).

    Args:
        correct: how many samples count, 0 to n.
        n: how many there are, 1 or more.
        level: how sure the interval is, in (0, 1).

    Returns:
        Both ends, in [0, 1].

    Example:
        >>> low, high = accuracy_interval(0, 100)
        >>> low, round(high, 4)
        (0.0, 0.0362)
    """
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two values or more and half its 95 % interval, by Student's t (Biometrika 6, 1908).

        half = t_(n - 1) sd / sqrt(n),     t_(n - 1) the .975 quantile at n - 1 degrees of freedom

    Args:
        values: two or more.

    Returns:
        The mean and half the interval.

    Example:
        >>> mean, half = mean_interval([1.0, 2.0, 3.0])
        >>> mean, round(half, 4)
        (2.0, 2.4841)
    """
    from scipy.stats import t

    return fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
