"""Images and logits as people's code lays them out, under every attack: the numbers of plain ones."""

import pytest
import torch
from torch import nn

import energylens as el
from energylens.attacks.registry import ATTACKS, find_row

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
EPS = {"linf": 0.05, "l2": 0.5, "l1": 3.0}


@pytest.fixture(scope="module", autouse=True)
def trained():
    """Weights of a fixed seed, the same whatever ran before."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in NET.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)


@pytest.fixture(scope="module")
def batch(trained):
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, NET(x).argmax(dim=1)


class Typed(nn.Module):
    """The network with logits of another type."""

    def __init__(self, kind):
        super().__init__()
        self.net, self.kind = NET, kind

    def forward(self, x):
        return self.net(x).to(self.kind)


def quick(row):
    """The attack in a few iterations."""
    few = {"steps": 3, "queries": 20, "search_steps": 2, "ddim_steps": None}
    return ",".join([row.name, *(f"{name}={n}" for name, n in few.items() if n and name in row.free_settings())])


def ball(spec, norm):
    """The threat model: a radius where the attack has one."""
    bounded = find_row(spec.partition(",")[0]).defaults.bounded
    return {"norm": norm, "eps": EPS[norm] if bounded else None}


CASES = [
    pytest.param(quick(row), norm, id=f"{row.name} {norm}")
    for row in ATTACKS
    if not row.keeps_images  # Diff-PGD takes digits alone, ensembles are made of the others
    for norm in row.norms
]


@pytest.mark.parametrize(("spec", "norm"), CASES)
def test_images_give_the_same_whatever_their_layout(spec, norm, batch):
    x, y = batch
    plain = el.attack(spec, NET, x, y, **ball(spec, norm))
    layouts = {
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "every other": torch.stack([x, x], dim=1).flatten(0, 1)[::2],
    }
    for layout, images in layouts.items():
        assert torch.equal(images, x)
        assert torch.equal(el.attack(spec, NET, images, y, **ball(spec, norm)), plain), layout
    # labels of any integer type, images that somebody differentiates
    assert torch.equal(el.attack(spec, NET, x.clone().requires_grad_(), y.int(), **ball(spec, norm)), plain)


@pytest.mark.parametrize("kind", [torch.half, torch.bfloat16, torch.double])
@pytest.mark.parametrize(("spec", "norm"), CASES)
def test_logits_of_any_precision_bear_every_attack(spec, norm, kind, batch):
    x, y = batch
    x_adv = el.attack(spec, Typed(kind), x, y, **ball(spec, norm))
    assert x_adv.dtype == torch.float32 and 0 <= x_adv.min() <= x_adv.max() <= 1
    if kind is torch.double:  # the same float32 network
        plain = el.attack(spec, NET, x, y, **ball(spec, norm))
        torch.testing.assert_close(x_adv, plain, atol=1e-4, rtol=0)


def test_a_profile_takes_them_too(batch):
    x, y = batch
    last = x.contiguous(memory_format=torch.channels_last)
    for model, images in ((Typed(torch.bfloat16), x), (NET, last)):
        record = el.profile(model, (images, y), ["apgd-t,steps=2", "square,queries=5"], eps=0.05, ladder=False)
        assert len(record) == len(x)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 4), (18, 18), (24, 24), (28, 20), (3, 28)])
def test_square_runs_on_any_height_and_width(size, norm):
    x = torch.rand(5, 2, *size, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * size[0] * size[1], 3))
    with torch.no_grad():
        y = model(x).argmax(dim=1)
    x_adv = el.attack("square,queries=30", model, x, y, eps=EPS[norm], norm=norm)
    delta = (x_adv - x).flatten(1)
    sizes = delta.norm(dim=1) if norm == "l2" else delta.abs().sum(dim=1)
    assert sizes.max() <= EPS[norm] * (1 + 1e-4) and 0 <= x_adv.min() <= x_adv.max() <= 1


@pytest.mark.parametrize("norm", ["L2", "L1"])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (10, 20)])
def test_square_is_the_packages_where_that_runs(size, norm):
    from pyautoattack.square import SquareAttack

    from energylens.attacks.square import AnySizeSquare

    generator = torch.Generator().manual_seed(0)
    x, weights = (
        torch.rand(6, 3, *size, generator=generator),
        torch.randn(3 * size[0] * size[1], 4, generator=generator),
    )
    y = (x.flatten(1) @ weights).argmax(dim=1)
    found = []
    for kind in (AnySizeSquare, SquareAttack):
        search = kind(lambda x: x.flatten(1) @ weights, norm=norm, eps=2.0, n_queries=30, resc_schedule=False)
        search.init_hyperparam(x)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            found.append(search.attack_single_run(x, y)[1])
    assert (found[1] != x).flatten(1).any(dim=1).all()
    assert torch.equal(*found)
