"""How sure a mean over a few seeds is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of two values or more and half its 95 % interval, by Student's t (Biometrika 6, 1908):

        half = t_(n - 1) sd / sqrt(n),     t_(n - 1) the .975 quantile at n - 1 degrees of freedom

    >>> mean, half = mean_interval([1.0, 2.0, 3.0])
    >>> mean, round(half, 4)
    (2.0, 2.4841)
    """
    from scipy.stats import t

    return fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
