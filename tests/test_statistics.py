"""AUROC and detector where the answer is known, and on the attacks that do and do not leave a trace."""

import math

import numpy as np
import pytest
from scipy.stats import norm

import energylens as el
from energylens.statistics import separability


def gaussians(n, shift):
    """n natural energies N(0, 1) and as many adversarial ones N(shift, 1)."""
    draw = np.random.default_rng(0)
    return draw.normal(0, 1, n), draw.normal(shift, 1, n)


@pytest.mark.parametrize("shift", [-2.0, -0.5, 1.0])
def test_two_gaussians(shift):
    """AUROC = Phi(d / sqrt(2 sigma^2)); the best threshold lies half way, TPR = Phi(|d| / 2) and FPR = 1 - TPR."""
    found = separability(*gaussians(20_000, shift))
    assert found.auroc == pytest.approx(norm.cdf(-shift / math.sqrt(2)), abs=0.01)
    assert found.detector_side == ("lower" if shift < 0 else "higher")
    assert found.detector_threshold == pytest.approx(shift / 2, abs=0.15)
    assert found.tpr - found.fpr == pytest.approx(2 * norm.cdf(abs(shift) / 2) - 1, abs=0.02)


@pytest.mark.parametrize(("shift", "auroc", "side"), [(-100, 1, "lower"), (100, 0, "higher")])
def test_wholly_apart(shift, auroc, side):
    natural, adversarial = gaussians(40, shift)
    found = separability(natural, adversarial)
    assert (found.auroc, found.detector_side, found.tpr, found.fpr) == (auroc, side, 1, 0)
    assert min(0, shift) < found.detector_threshold < max(0, shift)


def test_no_trace():
    natural, _ = gaussians(40, 0)
    assert separability(natural, natural).auroc == pytest.approx(0.5)
    found = separability(np.zeros(40), np.zeros(40))
    assert found.auroc == 0.5 and found.tpr == found.fpr and math.isfinite(found.detector_threshold)


def test_ties_count_half():
    """Adversarial 0 or -1 by turns, natural 0: of the pairs half are won and half tied, AUROC 3/4."""
    found = separability(np.zeros(40), np.tile([0.0, 0.0, -1.0, -1.0], 10))
    assert found.auroc == 0.75
    assert (found.detector_threshold, found.tpr, found.fpr) == (-0.5, 0.5, 0)


def test_the_other_half_judges():
    """The halves disagree on the side: the detector of the first half is worse than guessing on the second."""
    natural, adversarial = np.zeros(40), np.tile([-1.0, 1.0], 20)
    found = separability(natural, adversarial)
    assert (found.detector_side, found.tpr, found.fpr) == ("lower", 0, 0)


def test_a_few_samples_have_no_auroc():
    assert separability(*gaussians(19, 1)) is None
    assert el.profile("digits-pgd", attacks="fgsm", n=19).as_numbers()[1]["auroc"] is None


def test_the_summary_tells_the_trace_of_each_attack():
    """PGD leaves hardly a trace on digits-standard; HE-PGD, which climbs E(x') with the loss, one far on the right."""
    record = el.profile("digits-standard", attacks=["pgd", "he-pgd"], ladder=False)
    natural, pgd, he_pgd = record.as_numbers()
    assert natural["auroc"] is natural["detector_side"] is natural["tpr"] is None
    assert 0.35 < pgd["auroc"] < 0.5
    assert he_pgd["auroc"] < 0.1 and he_pgd["detector_side"] == "higher" and he_pgd["tpr"] > 0.7 > 0.2 > he_pgd["fpr"]
    columns = (record["pgd"].rows[name].to_numpy() for name in ("marginal_clean", "marginal_adv"))
    assert pgd["detector_threshold"] == separability(*columns).detector_threshold
