"""C&W Linf on a linear model, where the smallest perturbation is known: |margin| / ||w_y - w_k||_1."""

import pytest
import torch

from energylens.attacks.battery import configure
from energylens.attacks.carlini_wagner import CarliniWagnerLinf
from energylens.attacks.losses import margin
from energylens.errors import InputError


def distance(linear, images):
    """|w.x + b| / ||w||_1, the Linf distance to the other class."""
    w, b = linear[1].weight[0].detach(), linear[1].bias[0].detach()
    return (images.flatten(1) @ w + b).abs() / w.abs().sum()


def size(result, images):
    return (result.x_adv - images).flatten(1).abs().amax(dim=1)


def attack(spec, model, x, y, noise, target=None):
    return configure(spec, eps=1)(model, x, y, noise=noise, target=target)


@pytest.mark.parametrize(("spec", "median"), [("cw-linf", 1.1), ("cw-linf-search", 1.06)])
def test_finds_the_smallest_perturbation(spec, median, linear, images, labels, noise):
    result = attack(spec, linear, images, labels, noise)
    with torch.no_grad():
        assert (linear(result.x_adv).argmax(dim=1) != labels).all()
    torch.testing.assert_close(result.logits, linear(result.x_adv).detach())
    ratio = size(result, images) / distance(linear, images)
    assert ratio.min() > 0.999 and ratio.median() < median
    assert ratio[distance(linear, images) > 0.005].max() < 1.3  # nearer ones lie within one step of Adam


def test_the_search_finds_smaller_ones_and_goes_on_for_longer(linear, images, labels, noise):
    quick, search = (attack(spec, linear, images, labels, noise) for spec in ("cw-linf", "cw-linf-search"))
    assert size(search, images).mean() < size(quick, images).mean()
    assert (quick.steps == 50).all() and (search.steps > 50).all() and (search.steps < 1000).all()


def test_a_closer_shrink_finds_smaller_ones(linear, images, labels, noise):
    """With tau no lower than half of what succeeded the search stops where the next half is out of reach."""
    coarse, fine = (attack(f"cw-linf-search,shrink={s}", linear, images, labels, noise) for s in (0.5, 0.97))
    assert size(fine, images).mean() < size(coarse, images).mean()


def test_kappa_is_reached(linear, images, labels, noise):
    result = attack("cw-linf-search,kappa=0.2", linear, images, labels, noise)
    assert (margin(linear(result.x_adv).detach(), labels) < -0.2).all()


def test_targeted_reaches_its_class(linear, images, labels, noise):
    result = attack("cw-linf", linear, images, labels, noise, target=1 - labels)
    assert torch.equal(result.logits.argmax(dim=1), 1 - labels)


def test_a_sample_leaves_when_its_c_has_grown_too_large(linear, images, labels, noise):
    """``patience`` steps after its last success, where the next c, 190, is beyond the largest."""
    slow, hasty = (attack(f"cw-linf,c=19,patience={p}", linear, images, labels, noise) for p in (50, 5))
    assert (slow.steps == 50).all()
    assert hasty.steps.min() == 5 and 5 < hasty.steps.max() < 50


def test_samples_that_need_no_perturbation_get_none(linear, images, labels, noise):
    wrong = labels.clone()
    wrong[::2] = 1 - wrong[::2]
    result = attack("cw-linf", linear, images, wrong, noise)
    assert torch.equal(result.x_adv[::2], images[::2])
    assert (result.steps[::2] == 0).all() and (result.forwards[::2] == 1).all() and (result.steps[1::2] == 50).all()


def test_a_samples_result_is_the_same_alone(linear, images, labels, noise):
    together = attack("cw-linf-search", linear, images, labels, noise)
    for i in (0, 13):
        alone = attack("cw-linf-search", linear, images[i : i + 1], labels[i : i + 1], noise)
        torch.testing.assert_close(alone.x_adv[0], together.x_adv[i])
        assert alone.steps[0] == together.steps[i]


def test_what_cannot_be_run_is_refused():
    with pytest.raises(InputError, match="shrink=1 never lowers tau: give a share below 1"):
        CarliniWagnerLinf(shrink=1.0).check()
    with pytest.raises(InputError, match="cw-linf: patience=0"):
        configure("cw-linf,patience=0", eps=1)
