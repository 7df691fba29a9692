"""The losses of the training methods, against literal transcriptions and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from energylens.attacks.losses import probability_margin
from energylens.energy import kl_terms
from energylens.noise import BatchNoise
from energylens.training.methods import METHODS, rival_loss, weat_weight
from energylens.training.recipes import settings_of
from energylens.training.step import Step

N, K = 6, 4


def step_of(seed: int = 0, scale: float = 3.0, **own) -> Step:
    """A step whose logits are its images: x and x_adv are (N, K) logits themselves."""
    generator = torch.Generator().manual_seed(seed)
    x, x_adv = (scale * torch.randn(N, K, generator=generator) for _ in range(2))
    y = torch.randint(K, (N,), generator=generator)
    settings = settings_of("digits", **own)
    return Step(nn.Identity(), x, x, x_adv, y, settings.terms, BatchNoise(generator), settings.radius, 1.0, None)


def loss_of(method: str, **own) -> tuple[Tensor, Step]:
    step = step_of(method=method, **own)
    return METHODS[method].loss(step), step


def kl(step: Step) -> Tensor:
    p = F.softmax(step.x, dim=1)
    return F.kl_div(F.log_softmax(step.x_adv, dim=1), p, reduction="none").sum(dim=1)


def test_trades_is_cross_entropy_plus_beta_times_the_summed_energy_terms():
    loss, step = loss_of("trades", beta=6.0)
    conditional, marginal = kl_terms(step.x, step.x_adv)
    torch.testing.assert_close(loss, F.cross_entropy(step.x, step.y) + 6 * (conditional + marginal).mean())
    torch.testing.assert_close(loss, F.cross_entropy(step.x, step.y) + 6 * kl(step).mean())


@pytest.mark.parametrize("method", ["weat-nat", "weat-adv"])
def test_weat_with_weight_one_is_trades(method, monkeypatch):
    monkeypatch.setattr("energylens.training.methods.weat_weight", lambda logits: torch.ones(len(logits)))
    loss, step = loss_of(method, beta=6.0)
    seen = step.x if method == "weat-nat" else step.x_adv
    torch.testing.assert_close(loss, F.cross_entropy(seen, step.y) + 6 * kl(step).mean())


@pytest.mark.parametrize(("energy", "weight"), [(0.0, 1.4427), (-3.87, 0.257), (-11.47, 0.0872), (-1e4, 1e-4)])
def test_weat_weight_has_the_published_values(energy, weight):
    logits = torch.tensor([[-energy, -torch.inf]])
    assert weat_weight(logits).item() == pytest.approx(weight, rel=2e-3)


def test_mart_stays_finite_where_the_rival_is_certain():
    logits = torch.tensor([[0.0, 200.0, 1.0]], requires_grad=True)
    loss = rival_loss(logits, torch.tensor([0]))
    assert loss.item() == pytest.approx(199 - math.log1p(math.exp(-1)), rel=1e-5)
    assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()


def test_mail_weights_the_pull_by_the_margin():
    loss, step = loss_of("mail-trades", beta=5.0)
    w = torch.sigmoid(-2 * probability_margin(step.x_adv, step.y))
    torch.testing.assert_close(loss, F.cross_entropy(step.x, step.y) + 5 * (w / w.sum() * kl(step)).sum())
    assert probability_margin(torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([1])).item() == pytest.approx(0.5)
