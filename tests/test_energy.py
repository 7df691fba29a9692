"""energylens.energy against torch's own functions and the papers' identities."""

import pytest
import torch
import torch.nn.functional as F

from energylens import energy


@pytest.fixture(params=[1.0, 30.0, 1e4], ids=["small", "large", "1e4"])
def batch(request):
    """Natural and adversarial logits of a size, and labels: (64, 10), (64, 10), (64,)."""
    generator = torch.Generator().manual_seed(0)
    logits, logits_adv = request.param * (2 * torch.rand(2, 64, 10, generator=generator) - 1)
    return logits, logits_adv, torch.randint(10, (64,), generator=generator)


def test_cross_entropy_is_torchs(batch):
    logits, _, y = batch
    torch.testing.assert_close(energy.cross_entropy(logits, y), F.cross_entropy(logits, y, reduction="none"))


def test_cross_entropy_is_the_difference_of_the_energies(batch):
    logits, _, y = (t.double() if t.is_floating_point() else t for t in batch)
    difference = energy.joint_energy(logits, y) - energy.marginal_energy(logits)
    torch.testing.assert_close(energy.cross_entropy(logits, y), difference)


def test_kl_and_its_terms_are_torchs(batch):
    logits, logits_adv, _ = (t.double() if t.is_floating_point() else t for t in batch)
    log_p, log_q = logits.log_softmax(1), logits_adv.log_softmax(1)
    expected = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
    conditional, marginal = energy.kl_terms(logits, logits_adv)
    torch.testing.assert_close(energy.kl_divergence(logits, logits_adv), expected)
    torch.testing.assert_close(conditional + marginal, expected)
    torch.testing.assert_close(
        marginal, energy.delta_energy(energy.marginal_energy(logits), energy.marginal_energy(logits_adv))
    )


def test_everything_stays_finite_with_its_gradient(batch):
    logits, logits_adv, y = batch
    for value in (
        lambda f: energy.joint_energy(f, y),
        energy.marginal_energy,
        lambda f: energy.cross_entropy(f, y),
        lambda f: energy.kl_divergence(logits, f),
        lambda f: sum(energy.kl_terms(logits, f)),
    ):
        leaf = logits_adv.clone().requires_grad_(True)
        out = value(leaf)
        (gradient,) = torch.autograd.grad(out.sum(), leaf)
        assert out.shape == (64,)
        assert out.isfinite().all() and gradient.isfinite().all()


def test_cross_entropy_is_never_negative_and_kl_never_below_rounding(batch):
    logits, logits_adv, y = batch
    assert (energy.cross_entropy(logits, y) >= 0).all()
    assert (energy.kl_divergence(logits, logits_adv) >= -1e-5).all()


def test_abnormal_means_the_joint_energy_fell_more_than_the_marginal(batch):
    logits, logits_adv, y = (t.double() if t.is_floating_point() else t for t in batch)
    delta_joint = energy.delta_energy(energy.joint_energy(logits, y), energy.joint_energy(logits_adv, y))
    delta_marginal = energy.delta_energy(energy.marginal_energy(logits), energy.marginal_energy(logits_adv))
    mask = energy.abnormal(logits, logits_adv, y)
    assert torch.equal(mask, delta_joint > delta_marginal)
    assert 0 < mask.sum() < 64
    assert not energy.abnormal(logits, logits, y).any()
