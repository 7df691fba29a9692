"""APGD of our own beside the package's, from the same starts, and its losses beside their formulas."""

from dataclasses import replace

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

import energylens as el
from energylens.attacks.auto_pgd import AutoPGD, auto_pgd, checkpoints
from energylens.attacks.losses import logit_ratio, probability_margin, targeted_logit_ratio
from energylens.attacks.norms import NORMS
from energylens.data import load_data
from energylens.errors import InputError
from energylens.isolation import frozen
from energylens.models import load_model
from energylens.noise import Noise

N, EPS = 60, {"linf": 0.2, "l2": 1.0}
NOISE = Noise(7, tuple(range(N)))


@pytest.fixture(scope="module")
def digits():
    samples = load_data("digits", n=N)
    return samples.images, samples.labels


@pytest.fixture(scope="module")
def robust():
    return load_model("digits-pgd")


def ours(model, digits, **own):
    own = {"norm": "linf"} | own
    with frozen(model):
        return auto_pgd(model, *digits, noise=NOISE, settings=AutoPGD(EPS[own["norm"]], **own))


def packages(kind, model, x, norm, steps, first, **own):
    """The package's attack. first: the loss at the start, (N,), beside which the paper counts the first rise.

    The package reads that place before it is filled, as 0: it only matters to losses that are negative.
    """
    attack = kind(
        model, n_iter=steps, norm={"linf": "Linf", "l2": "L2"}[norm], n_restarts=1, eps=EPS[norm], seed=0, rho=0.75,
        device="cpu", verbose=False, **own,
    )  # fmt: skip
    attack.init_hyperparam(x)
    count = attack.check_oscillation

    def counted(losses, step, window, *more, **named):
        if step == window - 1:
            losses[-1] = first
        return count(losses, step, window, *more, **named)

    attack.check_oscillation = counted
    return attack


def start(norm, x, purpose="start/0"):
    return (x + EPS[norm] * NORMS[norm].uniform(NOISE, purpose, x)).clamp(0, 1)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_run_ends_where_the_packages_does(norm, loss, robust, digits):
    x, y = digits
    objective = {"ce": el.cross_entropy, "dlr": logit_ratio}[loss]
    with frozen(robust), torch.no_grad():
        begun = start(norm, x)
        package = packages(APGDAttack, robust, x, norm, 30, objective(robust(begun), y), loss=loss)
        theirs, right, best_loss, _ = package.attack_single_run(x, y, x_init=begun)
        found = ours(robust, digits, norm=norm, loss=loss, steps=30)
        standing = robust(found.x_adv).argmax(dim=1) == y
        # of a broken sample we keep the highest loss among those that broke it
        torch.testing.assert_close(objective(found.logits, y)[right], best_loss[right], atol=1e-4, rtol=1e-4)
    assert torch.equal(standing, right)
    same = (theirs - found.x_adv).abs().flatten(1).amax(dim=1) < 1e-5
    assert same[right].float().mean() > 0.95


def test_towards_one_class_a_run_ends_where_the_packages_does(robust, digits):
    x, y = digits
    with frozen(robust), torch.no_grad():
        likeliest = robust(x).scatter(1, y[:, None], -torch.inf).argmax(dim=1)
        begun = start("linf", x, "start/0/0")
        first = targeted_logit_ratio(robust(begun), y, likeliest)
        package = packages(APGDAttack_targeted, robust, x, "linf", 30, first, n_target_classes=1)
        package.loss, package.y_target = "dlr-targeted", likeliest
        _, right, best_loss, _ = package.attack_single_run(x, y, x_init=begun)
        found = ours(robust, digits, loss="dlr-targeted", targets=1, steps=30)
    got = targeted_logit_ratio(found.logits, y, likeliest)
    torch.testing.assert_close(got[right], best_loss[right], atol=1e-4, rtol=1e-4)
    assert torch.equal(found.logits.argmax(dim=1) == y, right)


@pytest.mark.parametrize(("own", "package"), [
    ({"loss": "ce"}, "apgd-ce"), ({"loss": "dlr"}, "apgd-dlr"), ({"loss": "dlr-targeted"}, "apgd-t"),
])  # fmt: skip
def test_it_breaks_as_many_as_the_package(own, package, robust):
    data = load_data("digits", n=100)
    broken = [
        int(el.attack(spec, robust, data, eps=0.2, steps=20, full=True, **more).success.sum())
        for spec, more in (("apgd", own), (package, {}))
    ]
    assert abs(broken[0] - broken[1]) <= 3


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 100, 1000])
def test_checkpoints_are_the_papers(steps):
    """p_1 = .22 and p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06), in whole steps of at least 1."""
    found = checkpoints(steps)
    assert found[0] == max(int(0.22 * steps), 1) and found == sorted(set(found)) and found[-1] <= steps
    widths = [after - before for before, after in zip([0, *found], found, strict=False)]
    assert all(width >= max(int(0.06 * steps), 1) for width in widths)
    if steps == 1000:
        assert found == [220, 410, 570, 700, 800, 870, 930, 990]


def test_losses_are_their_formulas():
    torch.manual_seed(0)
    logits, y = torch.randn(5, 6, dtype=torch.float64) * 3, torch.tensor([0, 1, 2, 3, 4])
    for row in range(5):
        f, label, aimed = logits[row].tolist(), int(y[row]), (int(y[row]) + 2) % 6
        p = logits[row].softmax(dim=0).tolist()
        above = sorted(f, reverse=True)
        others = [value for k, value in enumerate(p) if k != label]
        assert probability_margin(logits, y)[row].item() == pytest.approx(p[label] - max(others))
        towards = -(f[label] - f[aimed]) / (above[0] - (above[2] + above[3]) / 2)
        assert targeted_logit_ratio(logits, y, (y + 2) % 6)[row].item() == pytest.approx(towards)


@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted", "margin", "pma"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_stay_in_the_ball_and_logits_are_theirs(norm, loss, robust, digits):
    found = ours(robust, digits, norm=norm, loss=loss, steps=12, targets=2)
    size = (found.x_adv - digits[0]).flatten(1).norm(dim=1, p={"linf": torch.inf, "l2": 2}[norm])
    assert size.max() <= EPS[norm] + 1e-5 and found.x_adv.min() >= 0 and found.x_adv.max() <= 1
    with torch.no_grad():
        torch.testing.assert_close(found.logits, robust(found.x_adv), atol=1e-4, rtol=1e-4)
    natural = (found.logits.argmax(dim=1) == digits[1]).float().mean()
    assert natural < 0.9  # of which it breaks some


def test_rows_are_keyed_by_sample(robust, digits):
    x, y = digits
    together = ours(robust, digits, steps=15, restarts=2)
    noise, settings = Noise(7, tuple(range(20, 25))), AutoPGD(0.2, steps=15, restarts=2)
    with frozen(robust):
        alone = auto_pgd(robust, x[20:25], y[20:25], noise=noise, settings=settings)
    torch.testing.assert_close(alone.x_adv, together.x_adv[20:25], atol=1e-5, rtol=0)
    assert torch.equal(alone.backwards, together.backwards[20:25])


def test_until_broken_breaks_as_many_with_fewer_passes(robust, digits):
    end, broken = (ours(robust, digits, steps=25, restarts=2, until=word) for word in ("end", "broken"))
    standing = [found.logits.argmax(dim=1) == digits[1] for found in (end, broken)]
    assert torch.equal(*standing)
    assert broken.backwards.sum() < end.backwards.sum()
    assert torch.equal(broken.x_adv[standing[0]], end.x_adv[standing[0]])


def test_it_aims_at_a_class(robust, digits):
    x, y = digits
    target = (y + 1) % 10
    found = el.attack("apgd", robust, x, y, eps=0.3, steps=20, target=target, full=True)
    missed = el.attack("apgd", robust, x, y, eps=0.3, steps=20, full=True)
    assert torch.equal(found.success, found.logits_adv.argmax(dim=1) == target)
    assert 0 < found.success.sum() < missed.success.sum()


def test_bad_settings_are_told():
    for text, told in (("apgd,loss=kl", "ce, dlr, dlr-targeted, margin, pma"), ("apgd,norm=l1", "linf"),
                       ("pma,loss=ce", "loss"), ("apgd,steps=0", "steps")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            el.Attack(text)
    settings = replace(AutoPGD(0.1, loss="dlr-targeted"))
    assert settings.min_classes == 4 and settings.passes == 909
