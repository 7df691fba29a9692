"""What a record's rows depend on: `module_digest` tells apart what computes otherwise, and nothing else."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from energylens.models import load_model, module_digest, weights_digest


class Net(nn.Module):
    """A network with state of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.act: nn.Module = nn.ReLU()
        self.squash: object = F.relu
        self.temperature: object = 1.0
        self.scales: object = (1, [0.5, None])
        self.shift = torch.zeros(2)
        self.register_buffer("offset", torch.zeros(2), persistent=False)


def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.offset.add_(1),
        lambda model: model.shift.add_(1),
        lambda model: setattr(model, "shift", torch.zeros(2).int()),
        lambda model: setattr(model, "shift", torch.zeros(2, 1)),
        lambda model: setattr(model, "temperature", 2.0),
        lambda model: setattr(model, "temperature", True),
        lambda model: setattr(model, "temperature", "1.0"),
        lambda model: setattr(model, "temperature", None),
        lambda model: setattr(model, "scales", (1, [0.5, 0.0])),
        lambda model: setattr(model, "scales", (1, 0.5, None)),
        lambda model: setattr(model, "act", nn.SiLU()),
        lambda model: setattr(model, "squash", F.silu),
        lambda model: setattr(model.norm, "eps", 1e-3),
        lambda model: setattr(model.conv, "stride", (2, 2)),
        lambda model: setattr(model.conv, "weight", nn.Parameter(model.conv.weight + 1)),
        lambda model: model.register_buffer("more", torch.zeros(1), persistent=False),
    ],
)
def test_what_computes_otherwise_differs(change: Callable[[Net], None]) -> None:
    model = net()
    with torch.no_grad():
        change(model)
    assert module_digest(model) != module_digest(net())


def test_what_computes_the_same_agrees() -> None:
    model = net()
    before = module_digest(model)
    assert module_digest(net()) == before
    model.train().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    model._seen = 3  # a module's private notes
    model.card = object()
    assert module_digest(model) == before


def test_a_layer_that_stands_at_two_places_counts_at_both() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    assert module_digest(nn.Sequential(one, two, one)) != module_digest(nn.Sequential(one, two, two))


def test_a_module_of_scalars_and_small_floats() -> None:
    module = nn.Module()
    module.register_buffer("none", None)
    module.register_buffer("empty", torch.zeros(0))
    module.register_buffer("scalar", torch.tensor(1.0, dtype=torch.bfloat16))
    assert len(module_digest(module)) == 64


def test_another_process_agrees() -> None:
    code = "from energylens.models import load_model, module_digest as d; print(d(load_model('digits-pgd')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    model = load_model("digits-pgd")
    assert out.strip() == module_digest(model) != weights_digest(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_another_device_agrees() -> None:
    model = net()
    before = module_digest(model)
    assert module_digest(model.cuda()) == before
