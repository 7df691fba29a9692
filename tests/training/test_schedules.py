"""Learning rates, against torch's own schedule and by hand; augmentation, against slices."""

import numpy as np
import pytest
import torch

from energylens.training.augmentation import Augmentation
from energylens.training.optimizers import OPTIMIZERS, set_rate
from energylens.training.schedules import SCHEDULES, Position


@pytest.mark.parametrize(("optimizer", "peak", "total"), [("sgd", 0.25, 40), ("adamw", 0.3, 21)])
def test_onecycle_is_torchs(optimizer, peak, total):
    theirs, ours = (OPTIMIZERS[optimizer]([torch.nn.Parameter(torch.zeros(1))], 0.1, 0.9, 0.0) for _ in range(2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.1, total_steps=total, pct_start=peak)
    for step in range(total):
        rate = SCHEDULES["onecycle"](Position(step, total, peak, ()))
        set_rate(ours, 0.1 * rate.factor, rate.momentum)
        for name in ("lr", "momentum", "betas"):
            assert ours.param_groups[0].get(name) == pytest.approx(theirs.param_groups[0].get(name))
        theirs.step()
        schedule.step() if step + 1 < total else None


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("cyclic", [0.0, 0.5, 1.0, 0.5]),
        ("linear", [0.0, 0.5, 1.0, 0.5]),
        ("piecewise", [1.0, 1.0, 0.1, 0.01]),
        ("cosine", [1.0, 0.8535534, 0.5, 0.1464466]),
        ("constant", [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules_at_the_quarters(name, factors):
    found = [SCHEDULES[name](Position(step, 4, 0.5, (0.5, 0.75))).factor for step in range(4)]
    assert found == pytest.approx(factors)


def test_a_shift_is_a_crop_of_the_padded_image():
    x = torch.arange(2 * 3 * 5 * 5, dtype=torch.uint8).view(2, 3, 5, 5) + 1
    moved = Augmentation(shift=1)(x, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    crops = [padded[:, :, i : i + 5, j : j + 5] for i in range(3) for j in range(3)]
    assert all(any(torch.equal(moved[n], crop[n]) for crop in crops) for n in range(2))


def rates(name, total, peak=0.3, milestones=(), steps=None):
    return [SCHEDULES[name](Position(step, total, peak, milestones)).factor for step in steps or range(total)]


@pytest.mark.parametrize("name", ["cyclic", "linear"])
@pytest.mark.parametrize("peak", [0.2, 0.5, 0.75])
def test_cyclic_is_numpys_interpolation_of_three_points(name, peak):
    """arXiv 2001.03994's code: np.interp([t], [0, peak * epochs, epochs], [0, lr_max, 0])."""
    expected = np.interp(np.arange(20), [0, peak * 20, 20], [0, 1, 0])
    assert rates(name, 20, peak=peak) == pytest.approx(expected.tolist())


def test_piecewise_drops_to_a_tenth_at_each_milestone_from_that_step_on():
    assert rates("piecewise", 10, milestones=(0.3, 0.8)) == pytest.approx([1.0] * 3 + [0.1] * 5 + [0.01] * 2)
    assert rates("piecewise", 4) == [1.0] * 4
    assert rates("piecewise", 4, milestones=(0.0, 0.25, 0.5)) == pytest.approx([0.1, 0.01, 0.001, 0.001])


def test_cosine_is_torchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
    for found in rates("cosine", 7):
        assert found == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_the_momentum_moves_with_onecycle_alone():
    momenta = {name: SCHEDULES[name](Position(3, 10, 0.3, (0.5,))).momentum for name in SCHEDULES}
    assert {name for name, momentum in momenta.items() if momentum is not None} == {"onecycle"}
    assert {name for name, row in SCHEDULES.items() if not row.by_length} == {"constant"}
    assert rates("constant", 5, peak=0.1, milestones=(0.5,)) == [1.0] * 5


def test_a_run_of_one_step_has_a_rate():
    assert all(0 <= SCHEDULES[name](Position(0, 1, 0.3, (0.5,))).factor <= 1 for name in SCHEDULES)


OTHERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, weight_decay=0.03),
    "adam": lambda p: torch.optim.Adam(p, 0.1, betas=(0.8, 0.999), weight_decay=0.03),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, betas=(0.8, 0.999), weight_decay=0.03),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_is_torchs_with_momentum_and_weight_decay(name):
    ours, theirs = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    one, two = OPTIMIZERS[name]([ours], 0.1, 0.8, 0.03), OTHERS[name]([theirs])
    for _ in range(3):
        for weight, optimizer in ((ours, one), (theirs, two)):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
        assert torch.equal(ours, theirs)
    assert type(one) is type(two) and set(OTHERS) == set(OPTIMIZERS)


def test_a_rate_is_set_in_every_group_and_a_momentum_where_there_is_one():
    optimizer = OPTIMIZERS["adam"]([torch.nn.Parameter(torch.zeros(1))], 0.1, 0.8, 0.0)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    set_rate(optimizer, 0.5, None)
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [(0.5, (0.8, 0.999))] * 2
    set_rate(optimizer, 0.25, 0.7)
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [(0.25, (0.7, 0.999))] * 2
