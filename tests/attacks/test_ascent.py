"""The ascent loop against closed forms on a linear model."""

import pytest
import torch
from torch import nn

from energylens.attacks.ascent import Ascent, input_gradient
from energylens.attacks.battery import configure
from energylens.attacks.carlini_wagner import CarliniWagner
from energylens.attacks.losses import margin
from energylens.attacks.norms import NORMS
from energylens.attacks.registry import ATTACKS
from energylens.attacks.targets import choose_targets
from energylens.energy import cross_entropy, marginal_energy
from energylens.noise import Noise
from energylens.settings import GRADIENT_NORMS

EPS = 0.1


def attack(spec, model, x, y, noise, **options):
    target = options.pop("aims", None)
    return configure(spec, eps=EPS, **options)(model, x, y, noise=noise, target=target)


def steepest(linear, images, labels, norm):
    """The direction in which the label's logit falls fastest over the norm's unit ball, a sample each."""
    w = linear[1].weight[0].detach().view(images.shape[1:])
    away = torch.where(labels == 0, -1.0, 1.0).view(-1, 1, 1, 1)
    return away * (w.sign() if norm == "linf" else w / w.norm())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("spec", ["fgsm", "pgd", "pgd,restarts=3"])
def test_untargeted_attacks_reach_the_far_side_of_the_ball(spec, norm, linear, images, labels, noise):
    result = attack(spec, linear, images, labels, noise, norm=norm)
    optimum = images + EPS * steepest(linear, images, labels, norm)
    # PGD steps of eps/4 from a random start end on the L2 sphere close to its pole, FGSM and every Linf run at it
    torch.testing.assert_close(result.x_adv, optimum, atol=1e-6 if norm == "linf" or spec == "fgsm" else 2e-3, rtol=0)


def test_rs_fgsm_is_noise_plus_a_step_clipped(linear, images, labels, noise):
    eta = EPS * noise.uniform("start/0", images)
    expected = images + (eta + 1.25 * EPS * steepest(linear, images, labels, "linf")).clamp(-EPS, EPS)
    torch.testing.assert_close(attack("rs-fgsm", linear, images, labels, noise).x_adv, expected)


def test_n_fgsm_is_noise_of_twice_eps_plus_a_step_not_clipped(linear, images, labels, noise):
    eta = 2 * EPS * noise.uniform("start/0", images)
    expected = (images + eta + EPS * steepest(linear, images, labels, "linf")).clamp(0, 1)
    torch.testing.assert_close(attack("n-fgsm", linear, images, labels, noise).x_adv, expected)


def test_trades_moves_away_from_the_clean_prediction(linear, images, labels, noise):
    """On two classes the KL grows in both directions along w, and every sample ends at one of the two far corners."""
    x_adv = attack("trades", linear, images, labels, noise).x_adv
    corner = EPS * linear[1].weight[0].detach().sign().view(3, 2, 2)
    signs = ((x_adv - images) / corner).flatten(1)
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs), atol=1e-4, rtol=0)
    assert (signs.std(dim=1) < 1e-4).all()


def test_he_pgd_without_its_energy_is_pgd_and_with_it_ends_higher(noise):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 5)).eval()
    x = torch.rand(32, 3, 2, 2)
    with torch.no_grad():
        y = model(x).argmax(dim=1)
    pgd = attack("pgd", model, x, y, noise).x_adv
    assert torch.equal(attack("he-pgd,gamma=0", model, x, y, noise).x_adv, pgd)
    high = attack("he-pgd,gamma=5", model, x, y, noise).x_adv
    assert (marginal_energy(model(high)) >= marginal_energy(model(pgd)) - 1e-6).all()
    assert marginal_energy(model(high)).mean() > marginal_energy(model(pgd)).mean() + 1e-3


@pytest.mark.parametrize("spec", ["fgsm", "rs-fgsm", "pgd"])
def test_targeted_goes_the_other_way(spec, linear, images, labels, noise):
    """Aiming at the other of two classes is fleeing one's own."""
    away = attack(spec, linear, images, labels, noise).x_adv
    towards = attack(spec, linear, images, labels, noise, target="second-best", aims=1 - labels).x_adv
    torch.testing.assert_close(towards, away)


def test_every_restart_starts_elsewhere(linear, images, labels, noise):
    seen = []
    linear.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    configure("pgd,steps=1,restarts=3", eps=1e-6)(linear, images, labels, noise=noise)
    first, second, third = seen[0], seen[2], seen[4]  # each followed by where its run ended
    assert len(first) == len(second) == len(third) == 32, "no sample falls to so small a radius"
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_norms_are_those_that_settings_name():
    assert tuple(NORMS) == GRADIENT_NORMS


def test_l2_starts_fill_the_ball():
    """The radius of a uniform point of a d-ball has the distribution P(r < t) = t^d."""
    like = torch.empty(2000, 1, 1, 3)
    points = NORMS["l2"].uniform(Noise(0, tuple(range(2000))), "start/0", like)
    radius = points.flatten(1).norm(dim=1)
    assert radius.max() <= 1 + 1e-6
    for t in (0.4, 0.7, 0.9):
        assert (radius < t).float().mean().item() == pytest.approx(t**3, abs=0.03)


def test_defaults_are_the_sources():
    pgd, trades, he = (configure(name, eps="8/255").settings for name in ("pgd", "trades", "he-pgd"))
    assert [s.step for s in (pgd, trades, he)] == pytest.approx([2 / 255] * 3)
    assert (trades.start, trades.start_scale, trades.loss) == ("gaussian", 0.001, "kl")
    assert (he.gamma, he.loss) == (1.5, "high-energy")
    assert configure("n-fgsm", eps=0.1).settings.start_scale == 2
    assert configure("cw", eps=0.1).settings == CarliniWagner(c=1, kappa=0, steps=50, lr=0.01)


@pytest.mark.parametrize("loss", ["margin", "dlr"])
def test_pgd_on_other_losses_lowers_the_margin(loss, images, noise):
    """To the exact optimum of a linear model over the ball, for the margin loss."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()
    with torch.no_grad():
        logits, weight = model(images), model[1].weight
        y = logits.argmax(dim=1)
        x_adv = attack(f"pgd,loss={loss},steps=40", model, images, y, noise).x_adv
        after = margin(model(x_adv), y)
        gaps = logits.gather(1, y[:, None]) - logits - EPS * (weight[y][:, None, :] - weight[None]).abs().sum(dim=2)
        optimum = gaps.scatter(1, y[:, None], torch.inf).amin(dim=1)
    assert (after < margin(logits, y)).all()
    assert (after >= optimum - 1e-5).all()
    if loss == "margin":
        assert (after <= optimum + 1e-3).float().mean() > 0.9


def test_targets_follow_their_rules(noise):
    logits = torch.tensor([[5.0, 3.0, -1.0, 0.0]] * 32)
    y = torch.zeros(32, dtype=torch.int64)
    assert (choose_targets("second-best", logits, y, noise) == 1).all()
    assert (choose_targets("least-likely", logits, y, noise) == 2).all()
    assert (choose_targets("3", logits, y, noise) == 3).all()
    assert (choose_targets("0", logits, y, noise) == 1).all()  # never the label itself
    drawn = choose_targets("random", logits, y, noise)
    assert set(drawn.tolist()) == {1, 2, 3}
    assert torch.equal(drawn, choose_targets("random", logits, y, noise))


def test_restarts_fell_at_least_as_many_and_stop_with_the_fallen(noise):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 5)).eval()
    x = torch.rand(32, 3, 2, 2)
    with torch.no_grad():
        y = model(x).argmax(dim=1)
    once, often = (attack(spec, model, x, y, noise) for spec in ("pgd,steps=3", "pgd,steps=3,restarts=8"))
    fell_once, fell_often = ((model(r.x_adv).argmax(dim=1) != y) for r in (once, often))
    assert (fell_once <= fell_often).all() and 0 < fell_once.sum() < 32
    assert torch.equal(often.forwards[fell_once], torch.full_like(often.forwards[fell_once], 4))
    assert (often.forwards[~fell_often] == 32).all()
    torch.testing.assert_close(often.logits, model(often.x_adv).detach())
    standing = ~fell_often
    assert (cross_entropy(often.logits, y) >= cross_entropy(model(once.x_adv), y) - 1e-6)[standing].all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("row", [row for row in ATTACKS if isinstance(row.defaults, Ascent)], ids=lambda row: row.name)
def test_perturbations_stay_in_the_ball_and_in_the_box(row, norm, noise):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
    x = torch.rand(32, 3, 2, 2).round(decimals=1)  # some pixels at 0 and 1
    y = torch.randint(5, (32,))
    x_adv = attack(row.name, model, x, y, noise, norm=norm).x_adv
    delta = (x_adv - x).flatten(1)
    size = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert size.max() <= (EPS if row.defaults.clip else 3 * EPS) + 1e-6
    assert size.max() > 0.5 * EPS


def test_passes_are_what_the_model_saw(linear, images, labels, noise):
    calls = []
    linear.register_forward_hook(lambda module, args, out: calls.append(len(out)))
    for spec in ("fgsm", "rs-fgsm", "pgd,steps=7", "trades,steps=5", "pgd,steps=2,restarts=3", "cw,steps=12"):
        calls.clear()
        result = attack(spec, linear, images, labels, noise)
        assert sum(calls) == result.forwards.sum(), spec


def test_input_gradient_matches_finite_differences(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 5)).double()
    x, y = images[:2].double(), torch.tensor([0, 3])
    gradient = input_gradient(model, x, lambda logits: cross_entropy(logits, y))
    step = torch.zeros_like(x)
    step[:, 1, 0, 1] = 1e-6
    with torch.no_grad():
        numeric = (cross_entropy(model(x + step), y) - cross_entropy(model(x - step), y)) / 2e-6
    torch.testing.assert_close(gradient[:, 1, 0, 1], numeric, atol=1e-8, rtol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_noise_is_the_samples_own(images):
    together = Noise(3, (4, 9, 2)).uniform("start/0", images[:3])
    alone = Noise(3, (9,)).uniform("start/0", images[:1])
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together, Noise(4, (4, 9, 2)).uniform("start/0", images[:3]))
    assert not torch.equal(together, Noise(3, (4, 9, 2)).uniform("start/1", images[:3]))
    assert together.abs().max() <= 1
