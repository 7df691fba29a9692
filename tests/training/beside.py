"""Steps of the trainer's own loop beside a literal transcription of them (``transcriptions.py``)."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
import transcriptions as plain
from torch import Tensor, nn

from energylens.training import loop
from energylens.training.history import MEASURES
from energylens.training.run import Run
from energylens.training.settings import TrainSettings
from energylens.training.step import Step

ADAMW = partial(plain.OPTIMIZERS["adamw"], momentum=0.9, weight_decay=1e-4)  # the trainer's defaults
ONECYCLE = partial(plain.rate, "onecycle", total=10, peak=0.3, milestones=())
CLOSE = {"rtol": 1e-7, "atol": 1e-9}  # of float64


@dataclass
class Trainee:
    """A run of the trainer and what its steps showed. twin: a copy of the network before the first of them."""

    run: Run
    twin: nn.Module
    settings: TrainSettings
    steps: list[Step] = field(default_factory=list)
    measures: list[dict[str, float]] = field(default_factory=list)

    def learn(self, x: Tensor, y: Tensor, number: int) -> float:
        """One step, from 0, as ``train`` makes it; returns the rate."""
        epoch, step = divmod(number, self.run.steps)
        lr = self.run.set_rate(epoch, step)
        vector = loop.learn(self.run, x, y, epoch, step)
        self.measures.append(dict(zip(MEASURES, vector.tolist(), strict=True)))
        return lr


@dataclass
class Case:
    """own: settings of the trainer; all else the same for the transcription, as functions and literal numbers.

    eps: a number, or a function of the step from 0. schedule: (factor, momentum) of the step. replays: steps that see
    the same batch.
    """

    own: dict[str, Any]
    attack: Any = plain.fgsm
    loss: Any = plain.adversarial_loss
    eps: Any = 0.2
    regs: tuple[tuple[Any, Any], ...] = ()
    optimizer: Any = ADAMW
    schedule: Any = ONECYCLE
    lr: float = 2e-3
    steps: int = 3
    replays: int = 1
    rest: dict[str, Any] = field(default_factory=dict)


def images(seed: int, n: int = 16) -> tuple[Tensor, Tensor]:
    """Random images, (n, 1, 8, 8) float64 with pixels at 0 and at 1, and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, 8, 8, generator=generator, dtype=torch.float64)
    return (1.4 * x - 0.2).clamp(0, 1), torch.randint(10, (n,), generator=generator)


def same(name: str, found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, **CLOSE, msg=lambda said: f"{name}: {said}")


def compare(case: Case, pupil: Trainee, tape: list[tuple[str, Tensor]], after: Any = None) -> list[plain.Step]:
    """The case's steps of both, everything of them equal; the transcription's. pupil: made with the case's settings;
    after: called with (training, step, x, y) after each step of the transcription."""
    run, net, done = pupil.run, pupil.twin, []
    training = plain.Training(net, case.attack, case.loss, case.optimizer(net.parameters()), case.regs, **case.rest)
    run.attacker = Discreet(run)
    for number in range(case.steps):
        x, y = images(number // case.replays)
        tape.clear()
        lr = pupil.learn(x, y, number)
        factor, momentum = case.schedule(number)
        training.optimizer.mu = training.optimizer.mu if momentum is None else momentum
        draws = plain.Draws(tape)
        eps = case.eps(number) if callable(case.eps) else case.eps
        done.append(step := training.step(x, y, draws, eps, case.lr * factor))
        if after is not None:
            after(training, step, x, y)
        assert not draws.tape, "the trainer drew more"
        assert lr == pytest.approx(case.lr * factor, rel=1e-9, abs=1e-15)
        same("x_start", pupil.steps[-1].x_start, step.x_start)
        same("x_adv", pupil.steps[-1].x_adv.detach(), step.x_adv)
        for name in ("loss", "reg"):
            same(name, torch.tensor(pupil.measures[-1][name], dtype=torch.float64), getattr(step, name))
        for (name, weight), gradient in zip(run.network.named_parameters(), step.gradients, strict=True):
            same(f"gradient of {name}", weight.grad, gradient)
        for name, value in plain.floating(net).items():
            same(f"{name} after step {number + 1}", run.network.state_dict()[name], value)
        for name, values in training.optimizer.state().items():
            for weight, value in zip(run.network.parameters(), values or [], strict=bool(values)):
                same(name, run.optimizer.state[weight][name], value)
        for name, value in (training.average or {}).items():
            same(f"average of {name}", run.average.module.state_dict()[name], value)
        assert all(module.training for module in run.network.modules())
    return done


class Discreet:
    """An attacker, and the promise that it leaves no trace: the network is in train mode again, every weight asks for a
    gradient as before, and none has one of the attack's."""

    def __init__(self, run: Run) -> None:
        self.network, self.attacker = run.network, run.attacker

    def __call__(self, x: Tensor, y: Tensor, eps: float) -> Any:
        weights = list(self.network.parameters())
        before = [None if weight.grad is None else weight.grad.clone() for weight in weights]
        attacked = self.attacker(x, y, eps)
        for weight, gradient in zip(weights, before, strict=True):
            assert weight.requires_grad
            assert weight.grad is gradient is None or torch.equal(weight.grad, gradient)
        assert all(module.training for module in self.network.modules())
        return attacked

    def __getattr__(self, name: str) -> Any:
        return getattr(self.attacker, name)
