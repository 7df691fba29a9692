"""Counts and chance: whether a count is larger than chance would make it, and how sure a share of n samples is."""

from __future__ import annotations

LEVEL = 0.01  # below it a count is called more than chance; ours [R], not tuned


def binomial_tail(successes: int, n: int, q: float) -> float:
    """``P(X >= successes)``, X ~ Binomial(n, q).

    >>> binomial_tail(2, 2, 0.1), binomial_tail(0, 5, 0.3)
    (0.010000000000000002, 1.0)
    """
    from scipy.special import bdtrc

    return float(bdtrc(successes - 1, n, q))


def sign_test(for_it: int, against: int) -> float:
    """One-sided exact sign test of discordant pairs, McNemar's in its exact form (Psychometrika 12, 1947):

        p = P(X >= for_it),     X ~ Binomial(for_it + against, 1/2)

    for_it, against: how many pairs differ one way and the other; pairs that agree tell nothing.

    >>> sign_test(5, 0) == 1 / 32, sign_test(0, 0), sign_test(1, 1)
    (True, 1.0, 0.75)
    """
    return binomial_tail(for_it, for_it + against, 0.5)


def accuracy_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share of n samples, in [0, 1]; Biometrika 26 (1934).

    >>> low, high = accuracy_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.0362)
    """
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)
