"""C&W on a linear model, where the smallest perturbation is the distance to a hyperplane."""

import torch
from torch import nn

from energylens.attacks.battery import configure
from energylens.attacks.losses import margin


def distance(linear, images):
    """|w.x + b| / ||w||, the L2 distance to the other class."""
    w, b = linear[1].weight[0].detach(), linear[1].bias[0].detach()
    return (images.flatten(1) @ w + b).abs() / w.norm()


def test_search_finds_the_nearest_point_of_the_other_class(linear, images, labels, noise):
    result = configure("cw-search,steps=200", eps=1)(linear, images, labels, noise=noise)
    with torch.no_grad():
        assert (linear(result.x_adv).argmax(dim=1) != labels).all()
    ratio = (result.x_adv - images).flatten(1).norm(dim=1) / distance(linear, images)
    assert ratio.min() > 0.999 and ratio.median() < 1.01
    assert ratio[distance(linear, images) > 0.02].max() < 1.05  # nearer ones lie within one step of Adam


def test_fixed_c_ends_beyond_the_boundary_or_where_it_began(linear, images, labels, noise):
    result = configure("cw,c=10", eps=1)(linear, images, labels, noise=noise)
    with torch.no_grad():
        fell = linear(result.x_adv).argmax(dim=1) != labels
    assert fell.float().mean() > 0.5
    torch.testing.assert_close(result.logits, linear(result.x_adv).detach())
    size = (result.x_adv - images).flatten(1).norm(dim=1)
    assert torch.equal(size > 0, fell)
    assert (size[fell] >= distance(linear, images)[fell] - 1e-4).all()


def test_search_halves_towards_the_smallest_c_that_succeeds(linear, images, labels, noise):
    """Tenfold steps alone overshoot c, and with it the perturbation."""
    few, many = (
        configure(f"cw-search,steps=100,search_steps={k}", eps=1)(linear, images, labels, noise=noise) for k in (4, 9)
    )
    large, small = ((r.x_adv - images).flatten(1).norm(dim=1) for r in (few, many))
    assert (small <= large + 1e-6).all() and small.mean() < large.mean()


def test_kappa_is_reached(linear, images, labels, noise):
    result = configure("cw-search,steps=200,kappa=0.2", eps=1)(linear, images, labels, noise=noise)
    lead = margin(linear(result.x_adv).detach(), labels)
    assert (lead < -0.2).all() and (lead > -0.3).all()


def test_targeted_reaches_its_class(linear, images, labels, noise):
    attack = configure("cw-search,steps=200", eps=1, target="second-best")
    result = attack(linear, images, labels, noise=noise, target=1 - labels)
    with torch.no_grad():
        assert torch.equal(linear(result.x_adv).argmax(dim=1), 1 - labels)


def test_pixels_at_the_border_can_move(noise):
    """torchattacks' tanh map sends exact zeros and ones to infinity, where they stay for good."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 1, -1, 1], [0, 0, 0, 0]]))
        model[1].bias.copy_(torch.tensor([-2.9, 0]))
    x = torch.tensor([[1.0, 1, 0, 1]]).view(1, 1, 2, 2)  # f = [0.1, 0]: the other class is 0.05 away
    result = configure("cw-search", eps=1)(model, x, torch.tensor([0]), noise=noise)
    assert model(result.x_adv).argmax() == 1
    torch.testing.assert_close((result.x_adv - x).norm().item(), 0.05, atol=0.0025, rtol=0)


def test_samples_that_need_no_perturbation_get_none(linear, images, labels, noise):
    wrong = labels.clone()
    wrong[::2] = 1 - wrong[::2]
    result = configure("cw,c=10", eps=1)(linear, images, wrong, noise=noise)
    assert torch.equal(result.x_adv[::2], images[::2])
    assert (result.steps[::2] == 0).all() and (result.forwards[::2] == 1).all() and (result.steps[1::2] > 0).all()


def test_margin_looks_only_at_the_other_classes():
    logits = torch.tensor([[-1.0, -3.0, -5.0]])
    assert margin(logits, torch.tensor([0])).item() == 2
    assert margin(logits, torch.tensor([2])).item() == -4


def test_samples_stop_by_themselves(linear, images, labels, noise):
    """A sample's result is the same alone as in a batch, and fewer steps are used than allowed."""
    attack = configure("cw,c=10", eps=1)
    together = attack(linear, images, labels, noise=noise)
    for i in (0, 13):
        alone = attack(linear, images[i : i + 1], labels[i : i + 1], noise=noise)
        torch.testing.assert_close(alone.x_adv[0], together.x_adv[i])
        assert alone.steps[0] == together.steps[i]
    assert together.steps.min() < 50
