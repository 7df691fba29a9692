"""What tells overfitting: counts against exact tails, a gap against the literal interval."""

import math

import pytest
import torch
from scipy.stats import beta, binom

from energylens.checks.overfitting import LEARNT_BY_HEART, ONE_STEP_ONLY, Gap, OneStep, one_step_only


def mask(right, n):
    return torch.arange(n) < right


def gap(train, test, n=64):
    return Gap((train, n), (test, n), -1.0, -0.5)


@pytest.mark.parametrize("n", [8, 64, 1000])
def test_catastrophic_overfitting_is_more_than_the_limit_beyond_chance(n):
    """The smallest count that is called is that of the binomial's own 1 % tail."""
    called = [count for count in range(n + 1) if OneStep("fgsm", count, n).found]
    assert called == list(range(int(binom.isf(0.01, n, ONE_STEP_ONLY)) + 1, n + 1))


def test_the_attack_that_tells_most_is_told_and_a_robust_model_is_not_called():
    many, single = mask(5, 60), {"fgsm": mask(12, 60), "rs-fgsm": mask(55, 60)}
    found = one_step_only(single, many)
    assert (found.attack, found.count, found.n, found.found) == ("rs-fgsm", 50, 60, True)
    assert "83.3 % (95 %: 71.5 to 91.7) of 60 right images" in str(found) and "rs-fgsm" in str(found)
    assert not one_step_only(single, mask(50, 60)).found  # robust to many steps
    assert not one_step_only({"fgsm": mask(15, 60)}, mask(0, 60)).found  # natural: falls to one step too


def test_where_nothing_is_right_there_is_nothing_to_tell():
    nothing = mask(0, 0)
    found = one_step_only({"fgsm": nothing}, nothing)
    assert not found.found and found.p == 1 and "0.0 to 100.0" in str(found)


def limits(right, n, level):
    """Clopper and Pearson's, out of the beta distribution."""
    tail = (1 - level) / 2
    return beta.ppf(tail, right, n - right + 1), beta.ppf(1 - tail, right + 1, n - right)


@pytest.mark.parametrize(("train", "test"), [(60, 30), (33, 31), (10, 40)])
def test_the_interval_of_the_gap_squares_and_adds(train, test):
    (a, b), (c, d) = limits(train, 64, 0.95), limits(test, 64, 0.95)
    p, q = train / 64, test / 64
    expected = p - q - math.sqrt((p - a) ** 2 + (d - q) ** 2), p - q + math.sqrt((b - p) ** 2 + (q - c) ** 2)
    assert gap(train, test).interval() == pytest.approx(expected)
    turned = gap(test, train).interval()
    assert turned == pytest.approx((-expected[1], -expected[0]))


def test_the_interval_of_the_gap_covers():
    """Of 400 draws from known shares, at least 95 % of the intervals hold the true difference."""
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.rand(400, 2, 64, generator=generator) < torch.tensor([[0.7], [0.5]])).sum(dim=2).tolist()
    covered = [low <= 0.2 <= high for low, high in (gap(*pair).interval() for pair in drawn)]
    assert sum(covered) >= 0.95 * 400


def test_robust_overfitting_is_a_gap_beyond_chance():
    assert gap(60, 26).found and not gap(60, 50).found and not gap(26, 60).found
    limit = math.ceil(64 * LEARNT_BY_HEART)
    assert not gap(30 + limit + 1, 30).found  # above the limit, but not beyond chance
    assert gap(940, 600, n=1000).found and not gap(800, 640, n=1000).found
    assert "+53.1 points" in str(gap(60, 26)) and "dE(x) -1.00 and -0.50 nats" in str(gap(60, 26))
