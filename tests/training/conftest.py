"""The trainer beside a transcription: a tiny network with batch norm, everything in float64, every draw on a tape."""

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from beside import Trainee
from torch import Tensor, nn

from energylens.data import embedded
from energylens.data.catalog import Request, data_set
from energylens.data.embedded import load_digits
from energylens.models.architectures import ARCHITECTURES, Architecture
from energylens.noise import BatchNoise
from energylens.training import loop
from energylens.training.folder import Plan
from energylens.training.recipes import settings_of
from energylens.training.run import open_run
from energylens.training.step import Step


def tiny_net(num_classes: int, in_channels: int, width: int) -> nn.Module:
    """Two convolutions with batch norm and smooth activations: no kink on which rounding could decide, and no bias
    before batch norm, whose gradient is rounding alone and is blown up by Adam."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.Tanh(),
        nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )


@pytest.fixture
def tape(monkeypatch) -> list[tuple[str, Tensor]]:
    """What the training's noise source gives from now on, in order: pairs (kind, values)."""
    drawn: list[tuple[str, Tensor]] = []
    for kind in ("uniform", "normal"):
        draw = getattr(BatchNoise, kind)

        def recorded(self, purpose, like, draw=draw, kind=kind):
            values = draw(self, purpose, like)
            drawn.append((kind, values.clone()))
            return values

        monkeypatch.setattr(BatchNoise, kind, recorded)
    return drawn


@pytest.fixture
def float64(monkeypatch) -> None:
    """Where the trainer asks for float32 it gets float64: signs of small gradients do not hang on rounding."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


@cache
def digits(split: str):
    """scikit-learn reads its file anew each time."""
    return load_digits(Request(data_set("digits"), split, Path(), "none"))


@pytest.fixture
def tiny(monkeypatch) -> None:
    """The tiny network among the architectures, and digits that are read once."""
    monkeypatch.setattr(embedded, "load_digits", lambda request: digits(request.split))
    monkeypatch.setitem(ARCHITECTURES, "tiny", Architecture(tiny_net, "0.weight", "7.weight", width=3))


@pytest.fixture
def trainee(monkeypatch, tmp_path, tiny, float64):
    """``trainee(**settings)``: a run on some digits, 5 batches of 16 an epoch, with the tiny network. Its weights are
    so large that attacks go wrong now and then."""

    def made(**own) -> Trainee:
        usual = {"arch": "tiny", "per_class": 8, "batch_size": 16, "val_fraction": 0.0, "epochs": 2, "eps_ramp": 0.0}
        settings = settings_of("digits", **{**usual, **own})
        run = open_run(Plan(settings, tmp_path, device="cpu", overwrite=True))
        run.network.double()
        with torch.no_grad():
            for weight in run.network.parameters():
                weight.mul_(6 if weight.dim() > 1 else 1)
        run.twin.double()
        if run.average is not None:
            run.average.double()
        run.generator.manual_seed(0)
        pupil = Trainee(run, copy.deepcopy(run.network), settings)

        def kept(*args, **words):
            pupil.steps.append(Step(*args, **words))
            return pupil.steps[-1]

        monkeypatch.setattr(loop, "Step", kept)
        return pupil

    return made
