"""FMN against the distance to a hyperplane, and step by step against its algorithm written down."""

import math

import pytest
import torch

import energylens as el
from energylens.attacks.battery import configure
from energylens.data import load_data
from energylens.errors import InputError
from energylens.isolation import frozen
from energylens.models import load_model

P = {"fmn": math.inf, "fmn-l2": 2}


def size(delta, p):
    return torch.linalg.vector_norm(delta.flatten(1), ord=p, dim=1)


@pytest.mark.parametrize("name", ["fmn", "fmn-l2"])
def test_the_distance_to_a_hyperplane_is_found(name, linear, images, labels, noise):
    """|w.x + b| / ||w||_q, where no image meets the border of [0, 1]."""
    found = configure(name + ",steps=200", eps=None)(linear, images, labels, noise=noise)
    w = linear[1].weight[0].detach()
    q = {"fmn": 1, "fmn-l2": 2}[name]
    distance = linear(images)[:, 0].abs() / torch.linalg.vector_norm(w, ord=q)
    inside = distance < 0.3
    torch.testing.assert_close(size(found.x_adv - images, P[name])[inside], distance[inside], rtol=0.01, atol=1e-4)
    assert (found.logits.argmax(dim=1) != labels).all() and inside.sum() > 20


def plain(model, x, y, p, steps):
    """The algorithm as adv-lib 0.2.8 writes it, with (1 + gamma) also before the first success."""
    q = {math.inf: 1, 2: 2}[p]
    column = lambda values: values.view(-1, 1, 1, 1)  # noqa: E731
    delta, radius = torch.zeros_like(x), torch.full((len(x),), math.inf)
    worst = size(torch.maximum(x, 1 - x), p)
    best, kept, found = worst.clone(), x.clone(), torch.zeros(len(x), dtype=torch.bool)
    for step in range(steps):
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        length, change = 0.01 + 0.99 * cosine, 0.001 + 0.049 * cosine
        leaf = (x + delta).requires_grad_(True)
        logits = model(leaf)
        own = logits.gather(1, y[:, None]).squeeze(1)
        lead = own - logits.scatter(1, y[:, None], -math.inf).amax(dim=1)
        (gradient,) = torch.autograd.grad(-lead.sum(), leaf)
        lead, now = lead.detach(), size(delta, p)
        fooled = lead < 0
        found |= fooled
        better = fooled & (now < best)
        best, kept = torch.where(better, now, best), torch.where(column(better), leaf.detach(), kept)
        ahead = (now + lead.abs() / size(gradient, q).clamp_min(1e-12)) * (1 + change)
        radius = torch.where(
            fooled, torch.minimum(radius * (1 - change), best), torch.where(found, radius * (1 + change), ahead)
        ).minimum(worst)
        delta = delta + length * gradient / column(size(gradient, 2).clamp_min(1e-12))
        if p == 2:
            delta = delta * column((radius / size(delta, 2).clamp_min(1e-12)).clamp_max(1))
        else:
            delta = torch.maximum(torch.minimum(delta, column(radius)), -column(radius))
        delta = (x + delta).clamp(0, 1) - x
    return kept, found


@pytest.mark.parametrize("name", ["fmn", "fmn-l2"])
@pytest.mark.parametrize("model", ["digits-pgd", "digits-standard"])
def test_it_is_its_algorithm(model, name):
    network, data = load_model(model), load_data("digits", n=50)
    with frozen(network):
        expected, fooled = plain(network, data.images, data.labels, P[name], 40)
        right = network(data.images).argmax(dim=1) == data.labels
    found = el.attack(name, network, data, steps=40, full=True)
    assert torch.equal(found.success, fooled)
    apart = size(found.x_adv - expected, math.inf)[right]
    assert (apart < 1e-4).float().mean() > 0.9  # float32 leads a few another way
    ours, theirs = (float(size(x - data.images, P[name])[right & fooled].mean()) for x in (found.x_adv, expected))
    assert ours == pytest.approx(theirs, rel=0.01)


@pytest.mark.parametrize("name", ["fmn", "fmn-l2"])
def test_it_needs_fewer_passes_than_a_search_over_c_and_finds_smaller(name):
    data = load_data("digits", n=40)
    model = load_model("digits-standard")
    fast = el.attack(name, model, data, full=True)
    search = {"fmn": "cw-linf-search,steps=300", "fmn-l2": "cw-search,steps=100"}[name]
    slow = el.attack(search, model, data, full=True)
    sizes = [size(found.x_adv - data.images, P[name])[fast.success & slow.success] for found in (fast, slow)]
    assert sizes[0].median() < sizes[1].median() and fast.backwards.sum() < slow.backwards.sum()
    assert fast.success.float().mean() > 0.9


def test_it_aims_stops_and_refuses():
    data, model = load_data("digits", n=30), load_model("digits-standard")
    target = (data.labels + 1) % 10
    aimed = el.attack("fmn", model, data, target=target, full=True)
    assert torch.equal(aimed.success, aimed.logits_adv.argmax(dim=1) == target) and aimed.success.sum() > 20
    first = el.attack("fmn,until=broken", model, data, full=True)
    assert first.success.all() and first.backwards.float().mean() < 20
    for text in ("fmn,gamma=2", "fmn,steps=0", "fmn,eps=0.1"):
        with pytest.raises(InputError):
            el.Attack(text)
