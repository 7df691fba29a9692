"""Regularisers, against numbers by hand, finite differences and their closed forms on linear models."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor, nn

import energylens as el
from energylens.cli import root
from energylens.errors import InputError
from energylens.noise import BatchNoise
from energylens.training.awp import perturbed_weights
from energylens.training.linearity import ErrorSwitch
from energylens.training.recipes import settings_of
from energylens.training.regularizers import aaer, delta_l2, elle, energy_linearity, gradalign
from energylens.training.settings import TrainSettings
from energylens.training.step import Step


def step_of(model, x: Tensor, x_adv: Tensor, y: Tensor, first: Tensor | None = None, **own) -> Step:
    settings = settings_of("digits", **{"method": "fgsm", "reg": ("der",), **own})
    noise = BatchNoise(torch.Generator().manual_seed(0))
    return Step(model, x, x, x_adv, y, settings.terms, noise, 0.1, 1.0, first)


FLAT = nn.Flatten()  # a model whose logits are its images


def some_logits(seed: int = 0, n: int = 12, k: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Random logits of x and of x*, and labels: about half of them abnormal."""
    generator = torch.Generator().manual_seed(seed)
    logits, logits_adv = (2 * torch.randn(n, k, generator=generator) for _ in range(2))
    return logits.requires_grad_(), logits_adv.requires_grad_(), torch.randint(k, (n,), generator=generator)


def literal_der(logits, logits_adv, y, gamma, on, mean):
    """The author's formula, sample by sample."""
    total, selected = 0.0, 0
    for f, g, label in zip(logits, logits_adv, y, strict=True):
        marginal = -torch.log(torch.exp(f).sum()) + torch.log(torch.exp(g).sum())
        joint = -f[label] + g[label]
        term = torch.clamp(torch.sqrt(marginal**2 + joint**2) - gamma, min=0)
        lowered = F.cross_entropy(g[None], label[None]) < F.cross_entropy(f[None], label[None])
        if on == "all" or lowered:
            total, selected = total + term, selected + 1
    return total / (len(y) if mean == "all" else max(selected, 1))


@pytest.mark.parametrize("gamma", [0.0, 0.7])
@pytest.mark.parametrize(("on", "mean"), [("all", "all"), ("abnormal", "all"), ("abnormal", "selected")])
def test_der_is_the_authors_formula_in_value_and_gradient(gamma, on, mean):
    logits, logits_adv, y = some_logits()
    found = el.delta_energy_regularizer(logits, logits_adv, y, gamma=gamma, on=on, mean=mean)
    expected = literal_der(logits, logits_adv, y, gamma, on, mean)
    torch.testing.assert_close(found, expected)
    ends = (logits, logits_adv)
    for ours, theirs in zip(torch.autograd.grad(found, ends), torch.autograd.grad(expected, ends), strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.any()


def test_der_on_both_is_the_masked_term_and_a_share_of_the_whole():
    logits, logits_adv, y = some_logits()
    masked, whole = (literal_der(logits, logits_adv, y, 0.2, on, "all") for on in ("abnormal", "all"))
    found = el.delta_energy_regularizer(logits, logits_adv, y, gamma=0.2, on="both")
    torch.testing.assert_close(found, masked + 0.003 * whole)


@pytest.mark.parametrize("on", ["all", "abnormal"])
def test_der_in_units_of_the_spread_does_not_see_the_scale_of_the_energies(on):
    logits, logits_adv, y = some_logits()
    spread = torch.stack([logits[:, k].var() for k in range(5)]).mean().sqrt()
    literal = literal_der(logits, logits_adv, y, 0.0, on, "all") / spread
    found = el.delta_energy_regularizer(logits, logits_adv, y, on=on, unit="spread")
    torch.testing.assert_close(found, literal)
    ends = (logits, logits_adv)
    for ours, theirs in zip(torch.autograd.grad(found, ends), torch.autograd.grad(literal, ends), strict=True):
        torch.testing.assert_close(ours, theirs)
    # dE(x, y) alone scales with the logits: far from uniform, a factor changes nothing
    far = 100 * F.one_hot(y, 5) + logits
    moved = 100 * F.one_hot(y, 5) + logits_adv
    one, half = (el.delta_energy_regularizer(c * far, c * moved, y, on="all", unit="spread") for c in (1.0, 0.5))
    torch.testing.assert_close(one, half)


def test_der_of_a_constant_network_is_no_refuge_and_no_nan():
    logits = torch.zeros(4, 3, requires_grad=True)
    found = el.delta_energy_regularizer(logits, logits + 0.01, torch.zeros(4).long(), on="all", unit="spread")
    (gradient,) = torch.autograd.grad(found, logits)
    assert found.item() == pytest.approx(0.01 * math.sqrt(2) / 1e-3, rel=1e-3) and gradient.isfinite().all()


@pytest.mark.parametrize("mean", ["all", "selected"])
def test_der_of_a_batch_without_abnormal_examples_is_zero(mean):
    logits = torch.zeros(3, 4, requires_grad=True)
    logits_adv = logits - 2 * F.one_hot(torch.tensor([0, 1, 2]), 4)  # the attack raised every loss
    found = el.delta_energy_regularizer(logits, logits_adv, torch.tensor([0, 1, 2]), mean=mean)
    (gradient,) = torch.autograd.grad(found, logits)
    assert found.item() == 0 and not gradient.any()
    assert el.delta_energy_regularizer(logits, logits_adv, torch.tensor([0, 1, 2]), on="all").item() > 1


@pytest.mark.parametrize("on", ["all", "both"])
def test_ders_gradient_where_nothing_moved_is_zero(on):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = el.delta_energy_regularizer(logits, 1 * logits, torch.zeros(4).long(), on=on)
    (gradient,) = torch.autograd.grad(found, logits)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"on": "every"}, "abnormal, all, both"),
        ({"mean": "n"}, "all, selected"),
        ({"unit": "bits"}, "nats, spread"),
    ],
)
def test_der_refuses_what_it_does_not_know(own, told):
    logits, logits_adv, y = some_logits()
    with pytest.raises(InputError, match=r"y is of shape \(12, 1\), expected \(12,\)"):
        el.delta_energy_regularizer(logits, logits_adv, y[:, None])
    with pytest.raises(InputError, match=r"logits_adv is of shape \(1, \d+\), expected that of logits, \(12, \d+\)"):
        el.delta_energy_regularizer(logits, logits_adv[:1], y)
    with pytest.raises(InputError, match="one image has no spread"):
        el.delta_energy_regularizer(logits[:1], logits_adv[:1], y[:1], unit="spread")
    with pytest.raises(InputError, match="linf"):
        el.energy_linearity(FLAT, logits[:, :, None, None], y, 0.1, norm="l7")
    with pytest.raises(InputError, match=told):
        el.delta_energy_regularizer(*some_logits(), **own)


@pytest.mark.parametrize(
    ("own", "on", "mean", "gamma", "beta"),
    [
        ({"method": "fgsm"}, "abnormal", "selected", 0.0, 3.0),
        ({"method": "fgsm", "der_mean": "all"}, "abnormal", "all", 0.0, 300.0),
        ({"method": "pgd", "steps": 1}, "abnormal", "selected", 0.0, 3.0),
        ({"method": "pgd", "steps": 7}, "all", "all", 0.1, 5.0),
        ({"method": "trades"}, "all", "all", 0.1, 5.0),
        ({"method": "fgsm", "der_on": "all", "der_gamma": 0.0}, "all", "all", 0.0, 5.0),
        ({"method": "pgd", "der_on": "both", "reg_weight": (7.0,)}, "both", "all", 0.0, 7.0),
        ({"method": "pgd", "der_on": "both", "der_mean": "selected"}, "both", "selected", 0.0, 100.0),
    ],
)
def test_ders_mask_and_mean_follow_the_methods_steps(own, on, mean, gamma, beta):
    settings = settings_of("digits", reg=("der",), **own)
    assert (settings.der_on, settings.der_mean, settings.der_gamma) == (on, mean, gamma)
    assert settings.reg_weight == (beta,) and settings.resolved() == settings


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"der_gamma": 0.0}, "--der-gamma means nothing without DER: add --reg der"),
        ({"der_on": "all"}, "--der-on means nothing without DER"),
        ({"der_unit": "spread"}, "--der-unit means nothing without DER"),
        ({"der_mean": "selected"}, "--der-mean means nothing without DER"),
        ({"der_start": "start", "reg": ("elle",)}, "--der-start means nothing without DER"),
        ({"der_warmup": 1.0}, "--der-warmup means nothing without DER"),
        ({"reg": ("der",), "der_gamma": -1.0}, "--der-gamma is -1.0: give a number from 0"),
        ({"reg": ("der",), "reg_weight": (-1.0,)}, "--reg-weight is .* at least 0"),
        ({"reg": ("der",), "der_on": "none"}, "unknown --der-on 'none': give one of auto, abnormal, all, both"),
        ({"reg": ("der",), "der_mean": "selected"}, "selects every sample"),
        ({"reg": ("der",), "method": "standard"}, "--reg means nothing to --method standard"),
        ({"reg": ("none", "der")}, "unknown --reg 'none'"),
        ({"reg": ("der", "elle", "der")}, "name each once"),
        ({"reg": ("der",), "method": "free"}, "--method free attacks with the gradient of its whole loss"),
    ],
)
def test_what_means_nothing_is_refused_in_a_line(own, told):
    with pytest.raises(InputError, match=told) as caught:
        settings_of("digits", **{"method": "pgd", **own})
    assert "\n" not in str(caught.value)


def test_no_regulariser_is_one_too():
    assert settings_of("digits", reg=("none",)) == settings_of("digits")


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("ball-joint", "write --reg energy-linearity"),
        ("marginal-l2", "write --reg delta-l2"),
        ("path-joint", "was dropped .* write --reg der"),
        ("nonsense", "is unknown: write --reg der"),
    ],
)
def test_a_former_name_is_told_what_to_write_instead(form, told):
    with pytest.raises(InputError, match=told):
        CliRunner().invoke(root, ["train", "--reg", "der", "--der-form", form], catch_exceptions=False)
    former = {**settings_of("digits", reg=("der",)).manifest(), "der_form": form}
    with pytest.raises(InputError, match=told):
        TrainSettings.from_manifest(former)


def test_a_former_run_without_der_is_only_of_another_version():
    former = {**settings_of("digits").manifest(), "der_form": "ball-joint"}
    with pytest.raises(InputError, match="of another version: it differs in 'der_form'"):
        TrainSettings.from_manifest(former)


def test_delta_l2_by_hand():
    """dE(x) = -log 2 + log 4 where x = (0, 0) and x* = (log 3, 0)."""
    x, x_adv = torch.zeros(1, 2, 1, 1), torch.tensor([math.log(3.0), 0.0]).view(1, 2, 1, 1)
    step = step_of(FLAT, x, x_adv, torch.tensor([0]), reg=("delta-l2",))
    assert delta_l2(step).item() == pytest.approx(math.log(2.0) ** 2, rel=1e-5)


def squared(x: Tensor) -> Tensor:
    """A model of one input whose joint energy at class 0 is -x^2."""
    return torch.cat([x.flatten(1).square(), torch.zeros(len(x), 1)], dim=1)


def test_energy_linearity_measures_the_bend_between_random_points():
    """E(x, 0) = -x^2 lies u (1 - u) (a - b)^2 over its chord: 1/30 * 16 eps^4 / 15 in the mean over u, a and b."""
    x, y = torch.full((40_000, 1, 1, 1), 0.5), torch.zeros(40_000).long()
    noise = BatchNoise(torch.Generator().manual_seed(0))
    found = el.energy_linearity(squared, x, y, 0.1, noise=noise).item()
    assert found == pytest.approx(16 * 0.1**4 / 450, rel=0.05)
    step = step_of(squared, x, x, y, reg=("energy-linearity",))
    assert energy_linearity(step).item() == pytest.approx(found, rel=1e-5)


def test_energy_linearity_is_zero_where_the_energy_is_linear():
    x, y = torch.rand(50, 2, 1, 1), torch.zeros(50).long()
    assert el.energy_linearity(FLAT, x, y, 0.1).item() < 1e-12


def test_what_draws_noise_can_use_torchs_own():
    net, (x, y) = smooth_net().float(), some_images()
    for penalty in (el.energy_linearity, el.elle, el.gradalign):
        values = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            values.append(penalty(net, x.float(), y, 0.1).item())
        assert values[0] == values[1] != values[2]


def test_elle_a_switches_on_at_outliers_and_decays():
    """Against the rule in numpy: more than two standard deviations over the mean of three or more errors before."""
    errors = torch.rand(60, generator=torch.Generator().manual_seed(0)).square().tolist()
    switch, share, shares = ErrorSwitch(), 0.0, []
    for number, error in enumerate(errors):
        past = np.array(errors[:number])
        share = 1.0 if number > 2 and error > past.mean() + 2 * past.std() else 0.99 * share
        switch.update(torch.tensor(error))
        shares.append(share)
        assert switch.share.item() == pytest.approx(share, rel=1e-9)
    assert 1.0 in shares and len(set(shares)) > 5
    again = ErrorSwitch()
    again.load_state_dict(switch.state_dict())
    assert again.share == switch.share


def smooth_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def some_images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 2, 2, 2, generator=generator).double(), torch.tensor([0, 1, 2, 0, 1])


def test_gradaligns_gradient_is_that_of_finite_differences(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # differences need the digits
    net, (x, y) = smooth_net(), some_images()
    weight = net[1].weight

    def value() -> Tensor:
        return gradalign(step_of(net, x, x, y))

    (gradient,) = torch.autograd.grad(value(), weight)
    for row, column in ((0, 0), (3, 5), (5, 7)):
        shift = torch.zeros_like(weight)
        shift[row, column] = 1e-5
        with torch.no_grad():
            sides = []
            for sign in (1, -1):
                weight.add_(sign * shift)
                with torch.enable_grad():
                    sides.append(value().item())
                weight.sub_(sign * shift)
        assert gradient[row, column].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("penalty", [gradalign, elle])
def test_a_loss_without_curvature_is_not_penalised(penalty):
    """Two classes whose logits saturate linearly: where the true class is far behind, CE is linear in x."""
    x = torch.rand(4, 1, 2, 2)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(linear[1].bias, 0)
    linear[1].bias.data[1] = 40.0
    assert penalty(step_of(linear, x, x, torch.zeros(4).long())).item() == pytest.approx(0, abs=1e-6)


def test_elle_measures_the_squared_bend_of_the_loss():
    net, (x, y) = smooth_net().float(), some_images()
    x = x.float()
    found = elle(step_of(net, x, x, y)).item()
    noise = BatchNoise(torch.Generator().manual_seed(0))
    a, b = x + 0.1 * noise.uniform("", x), x + 0.1 * noise.uniform("", x)
    share = (noise.uniform("", x[:, :1, :1, :1]) + 1) / 2
    u = share.flatten()
    one, other, between = (F.cross_entropy(net(v), y, reduction="none") for v in (a, b, (1 - share) * a + share * b))
    assert found == pytest.approx((between - (1 - u) * one - u * other).square().mean().item(), rel=1e-3)


def test_aaer_by_hand():
    """Sample 0 is abnormal (its loss fell by log 2 - log(4/3), its logits moved by log 3), sample 1 is normal."""
    before, y = torch.zeros(2, 2), torch.tensor([0, 0])
    after = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.5]])
    expected = 0.5 * (4.0 * math.log(1.5) + 2.0 * (math.log(3.0) ** 2 - 0.25))
    assert el.aaer(before, after, y, loss_weight=4.0, logit_weight=2.0).item() == pytest.approx(expected, rel=1e-5)
    assert el.aaer(before, before - torch.tensor([1.0, 0.0]), y).item() == 0
    step = step_of(lambda v: v, before, after, y, first=before, reg=("aaer",), eps="12/255")
    assert aaer(step).item() == pytest.approx(el.aaer(before, after, y, loss_weight=5.0, logit_weight=2.5).item())


def test_the_weight_of_energy_linearity_goes_with_the_square_of_the_pixels():
    for dataset, weight in (("cifar10", 16000.0), ("digits", 16000.0 * (64 / 3072) ** 2)):
        assert settings_of("digits", dataset=dataset, reg=("energy-linearity",)).reg_weight == pytest.approx((weight,))


def test_awp_climbs_by_gamma_of_each_layers_norm_and_restores_every_bit():
    net, (x, y) = smooth_net(), some_images()
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def loss() -> Tensor:
        return F.cross_entropy(net(x), y)

    calm = loss().item()
    with perturbed_weights(net, loss, 0.05):
        assert loss().item() > calm
        for name, weight in net.named_parameters():
            moved = (weight - before[name]).norm()
            expected = 0.05 * before[name].norm() if weight.dim() > 1 else torch.zeros(())
            torch.testing.assert_close(moved, expected.to(moved), check_dtype=False)
        loss().backward()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is not None for parameter in net.parameters())
