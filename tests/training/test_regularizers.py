"""Regularisers, against numbers by hand, finite differences and their closed forms on linear models."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from energylens.attacks.noise import BatchNoise
from energylens.training.awp import perturbed_weights
from energylens.training.der import der
from energylens.training.recipes import settings_of
from energylens.training.regularizers import aaer, elle, gradalign
from energylens.training.step import Step


def step_of(model, x: Tensor, x_adv: Tensor, y: Tensor, first: Tensor | None = None, **own) -> Step:
    settings = settings_of("digits", method="fgsm", reg=("der",), **own)
    noise = BatchNoise(torch.Generator().manual_seed(0))
    return Step(model, x, x, x_adv, y, settings, noise, 0.1, 1.0, first)


# two classes: E(x) = -log(e^a + e^b); x = (0, 0) has E = -log 2, x* = (log 3, 0) has E = -log 4; y = 0
X, X_ADV = torch.zeros(1, 2, 1, 1), torch.tensor([math.log(3.0), 0.0]).view(1, 2, 1, 1)
FLAT = nn.Flatten()  # a model whose logits are its images
Y = torch.tensor([0])
MARGINAL, JOINT = math.log(2.0), math.log(3.0)  # dE(x) = -log 2 + log 4; dE(x, y) = 0 + log 3


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("marginal-l1", MARGINAL),
        ("marginal-l2", MARGINAL**2),
        ("joint-l2", JOINT**2),
        ("both", MARGINAL**2 + JOINT**2),
        ("hinge", MARGINAL**2),
        ("aae", JOINT - MARGINAL),
        ("path-joint", 0.0),  # the joint energy of logits that are the images is linear
    ],
)
def test_der_forms_by_hand(form, value):
    assert der(step_of(FLAT, X, X_ADV, Y, der_form=form)).item() == pytest.approx(value, abs=1e-6)


def test_der_hinge_ignores_adversarials_of_higher_energy():
    step = step_of(FLAT, X_ADV, X, Y, der_form="hinge")
    assert der(step).item() == 0


@pytest.mark.parametrize("form", ["path-joint", "path-marginal", "path-ce"])
def test_der_path_forms_measure_the_bend(form):
    """f(x) = (x^2, 0): at x = 0, x* = 2 and u the joint energy -4u^2 lies 4u - 4u^2 over its chord -4u."""
    x = torch.zeros(200, 1, 1, 1)

    def square(v: Tensor) -> Tensor:
        return torch.cat([v.flatten(1).square(), torch.zeros(len(v), 1)], dim=1)

    found = der(step_of(square, x, x + 2, torch.zeros(200).long(), der_form=form)).item()
    noise = BatchNoise(torch.Generator().manual_seed(0))
    u = (noise.uniform("path", x).flatten() + 1) / 2
    energies = {
        "path-joint": lambda f: -f,
        "path-marginal": lambda f: -torch.logaddexp(f, torch.zeros_like(f)),
        "path-ce": lambda f: F.softplus(-f),
    }[form]
    start, end, between = (energies(f) for f in (torch.zeros(200), torch.full((200,), 4.0), 4 * u * u))
    assert found == pytest.approx((between - (1 - u) * start - u * end).square().mean().item(), rel=1e-4)
    if form == "path-joint":
        assert found == pytest.approx(16 / 30, rel=0.15)  # integral of (4u - 4u^2)^2


def squared(x: Tensor) -> Tensor:
    """A model of one input whose joint energy at class 0 is -x^2."""
    return torch.cat([x.flatten(1).square(), torch.zeros(len(x), 1)], dim=1)


def test_der_in_the_ball_measures_the_bend_between_random_points():
    """E(x, 0) = -x^2 lies u (1 - u) (a - b)^2 over its chord: 1/30 * 16 eps^4 / 15 in the mean over u, a and b."""
    x = torch.full((40_000, 1, 1, 1), 0.5)
    step = step_of(squared, x, x, torch.zeros(len(x)).long(), der_form="ball-joint")
    assert der(step).item() == pytest.approx(16 * step.eps**4 / 450, rel=0.05)


def test_der_shifted_measures_how_the_difference_changes_over_the_ball():
    """E(x, 0) = -x^2: between a and a + d it falls by 2 a d more than between 0 and d; E[(2 a d)^2] = 4/3 eps^2 d^2."""
    x = torch.zeros(40_000, 1, 1, 1)
    step = step_of(squared, x, x + 0.3, torch.zeros(len(x)).long(), der_form="shift-joint")
    assert der(step).item() == pytest.approx(4 / 3 * step.eps**2 * 0.3**2, rel=0.05)


@pytest.mark.parametrize(("form", "flat"), [("ball-joint", True), ("shift-joint", True), ("ball-marginal", False)])
def test_der_in_the_ball_is_zero_where_the_energy_is_linear(form, flat):
    """With logits that are the images the joint energy is linear, the marginal one is not."""
    found = der(step_of(FLAT, X.repeat(50, 1, 1, 1), X_ADV.repeat(50, 1, 1, 1), Y.repeat(50), der_form=form)).item()
    assert (found < 1e-12) == flat


@pytest.mark.parametrize(("stop", "clean", "adv"), [("none", True, True), ("clean", False, True), ("adv", True, False)])
def test_der_stops_the_gradient_at_the_end_asked_for(stop, clean, adv):
    ends = torch.zeros(2, 2, requires_grad=True)
    step = step_of(FLAT, X, X_ADV, Y, der_form="joint-l2", der_stop_gradient=stop)
    step.__dict__["logits"], step.__dict__["logits_adv"] = ends[:1] + FLAT(X), ends[1:] + FLAT(X_ADV)
    (gradient,) = torch.autograd.grad(der(step), ends)
    assert (gradient[0].any().item(), gradient[1].any().item()) == (clean, adv)


def test_der_warms_up_and_can_start_at_the_noised_point():
    own = {"der_form": "joint-l2", "der_warmup": 4.0, "der_start": "start"}
    settings = settings_of("digits", method="rs-fgsm", reg=("der",), **own)
    start = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    step = Step(FLAT, X, start, X_ADV, Y, settings, BatchNoise(torch.Generator()), 0.1, 1.0, None)
    assert der(step).item() == pytest.approx((JOINT - 1) ** 2 / 4, rel=1e-5)
    assert der(replace(step, progress=9.0)).item() == pytest.approx((JOINT - 1) ** 2, rel=1e-5)


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
    before = torch.zeros(2, 2)
    after = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.5]])
    step = step_of(lambda v: v, before, after, torch.tensor([0, 0]), first=before)
    expected = 0.5 * (4.0 * math.log(1.5) + 1.5 * (math.log(3.0) ** 2 - 0.25))
    assert aaer(step).item() == pytest.approx(expected, rel=1e-5)
    calm = step_of(lambda v: v, before, before - torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), first=before)
    assert aaer(calm).item() == 0


def test_gradaligns_usual_weight_is_the_papers_rule():
    for eps, weight in (("8/255", 0.2), ("16/255", 2.0)):
        assert settings_of("digits", eps=eps, reg=("gradalign",)).reg_weight == pytest.approx((weight,))


def test_the_weight_of_der_in_the_ball_goes_with_the_square_of_the_pixels():
    for dataset, weight in (("cifar10", 4000.0), ("digits", 4000.0 * (64 / 3072) ** 2)):
        assert settings_of("digits", dataset=dataset, reg=("der",)).reg_weight == pytest.approx((weight,))
    assert settings_of("digits", reg=("der",), der_form="path-joint").reg_weight == (10.0,)


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
