"""Our attacks against torchattacks', adv-lib's and AutoAttack's, recorded by benchmarks/peers/record_fixtures.py."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import energylens as el
from energylens.attacks.battery import configure
from energylens.models import weights_digest
from energylens.noise import Noise

FIXTURES = Path(__file__).with_name("peers.safetensors")
EPS = 0.2


@pytest.fixture(scope="module")
def model():
    return el.load_model("digits-pgd")


@pytest.fixture(scope="module")
def peers(model):
    with safe_open(FIXTURES, "pt") as file:
        assert file.metadata()["weights"] == weights_digest(model), "digits-pgd has changed: record the fixtures again"
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, safe_open has no iterator


class Start:
    """Noise that was recorded: the peer's own start."""

    def __init__(self, delta):
        self.delta = delta

    def take(self, rows):
        return Start(self.delta[rows])

    def uniform(self, purpose, like):
        return self.delta / EPS

    def normal(self, purpose, like):
        return self.delta / 0.001


def iterates(model, spec, x, y, start):
    """Every batch our attack gives the model."""
    seen = []
    hook = model.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach().clone()))
    result = configure(spec, eps=EPS)(model, x, y, noise=start, clean_logits=model(x).detach())
    hook.remove()
    return torch.stack(seen[1:]), result.x_adv


def test_fgsm_is_torchattacks(model, peers):
    x, y = peers["x"], peers["y"]
    result = configure("fgsm", eps=EPS)(model, x, y, noise=Noise(0, tuple(range(len(x)))))
    torch.testing.assert_close(result.x_adv, peers["torchattacks.FGSM"], atol=1e-6, rtol=0)


def test_pgd_is_torchattacks(model, peers):
    x, y = peers["x"], peers["y"]
    _, x_adv = iterates(model, "pgd,steps=10", x, y, Start(torch.zeros_like(x)))
    torch.testing.assert_close(x_adv, peers["torchattacks.PGD"], atol=1e-6, rtol=0)


def test_pgd_makes_adv_libs_iterates(model, peers):
    x, y = peers["x"], peers["y"]
    ours, _ = iterates(model, "pgd,steps=10", x, y, Start(torch.zeros_like(x)))
    torch.testing.assert_close(ours, peers["adv_lib.pgd_linf.iterates"], atol=1e-6, rtol=0)


def test_trades_makes_torchattacks_iterates(model, peers):
    """From each of theirs our step leads to their next: over many steps a flipped sign would spread."""
    x, y, theirs = peers["x"], peers["y"], peers["torchattacks.TPGD.iterates"]
    steps = [iterates(model, "trades,steps=1", x, y, Start(one - x))[1] for one in theirs[:-1]]
    apart = (torch.stack(steps) - theirs[1:]).abs().gt(1e-5).float().flatten(1).mean(dim=1)
    # right beside x, p and q all but agree, and their KL and ours round differently: a sign flips where there is none
    assert apart[0] < 0.01 and (apart[1:] < 0.001).all()


def test_carlini_wagner_is_torchattacks_on_a_batch_of_one(model, peers):
    """torchattacks stops a whole batch at once; alone, a sample stops there as it does here."""
    x, y = 0.05 + 0.9 * peers["x"], peers["y"]
    ours = configure("cw", eps=EPS)(model, x, y, noise=Noise(0, tuple(range(len(x))))).x_adv
    torch.testing.assert_close(ours, peers["torchattacks.CW"], atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("spec", "peer", "norm", "factor"),
    [
        ("cw-search", "adv_lib.carlini_wagner_l2", 2, 1.02),
        ("cw", "torchattacks.CW", 2, 1.05),
        ("cw-linf-search", "adv_lib.carlini_wagner_linf", torch.inf, 1.05),
    ],
)
def test_carlini_wagner_is_no_worse_than_theirs(spec, peer, norm, factor, model, peers):
    """At least as many samples fall, to perturbations of the same mean size or smaller."""
    x, y, theirs = 0.05 + 0.9 * peers["x"], peers["y"], peers[peer]
    ours = configure(spec, eps=EPS)(model, x, y, noise=Noise(0, tuple(range(len(x))))).x_adv
    with torch.no_grad():
        we_felled, they_felled = (model(images).argmax(dim=1) != y for images in (ours, theirs))
    assert they_felled.any() and we_felled.sum() >= they_felled.sum()
    both = we_felled & they_felled
    size, their_size = ((images - x)[both].flatten(1).norm(norm, dim=1).mean() for images in (ours, theirs))
    assert size < factor * their_size


def test_autoattack_leaves_as_many_standing_as_the_packages_own_run(model, peers):
    """The standard version at its full length; the package attacks all of them at once, we in blocks of 50."""
    theirs = peers["pyautoattack.standing"]
    record = el.profile(model, "digits", ["autoattack"], n=len(theirs), eps=EPS)
    ours = ~record["autoattack"].rows["success"]
    assert abs(ours.sum() - theirs.sum().item()) <= 1
    assert (ours.to_numpy() != theirs.numpy()).sum() <= 2  # and they are the same samples
