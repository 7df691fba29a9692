"""Learning rates, against torch's own schedule and by hand; augmentation, against slices."""

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
