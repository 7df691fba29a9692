"""Two epochs of each recipe at toy size beside an independent plain loop: weights, buffers, rates and the history.

The loop is this file's own, over ``transcriptions.py``. From the run come the images of each step, whose law
``test_literal_draws.py`` measures, and the noise that was drawn.
"""

import copy
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import transcriptions as plain
from safetensors.torch import load_file
from torch import Tensor

from energylens.data import torchvision_sets
from energylens.data.sources import Memory
from energylens.noise import Noise
from energylens.training import loop
from energylens.training.recipes import RECIPES, settings_of

LOSSES = {
    "fgsm": (plain.fgsm, plain.adversarial_loss),
    "pgd": (plain.pgd, plain.adversarial_loss),
    "weat-adv": (plain.trades_attack, plain.weat_adv_loss),
}
DEEP = {"width": 2, "per_class": 3, "batch_size": 10, "eval_samples": 8}
FLAT = {"per_class": 8, "batch_size": 12, "eval_samples": 12}
TOY = {
    "digits": FLAT,
    "co": DEEP,
    "co-small": {**FLAT, "eval_steps": 2, "eval_restarts": 3, "eval_step": "0.06"},
    "ro": DEEP,
    "ro-small": FLAT,
    "weat": {**DEEP, "batch_size": 9},
}
AVERAGED = ("digits", {"ema": 0.6})  # it is the average that is judged and kept
SHORT = {"epochs": 2, "eval_steps": 3, "final_steps": 0}  # the judgement at the end has tests of its own


def test_every_recipe_is_here():
    assert set(TOY) == set(RECIPES)


def coloured(request) -> Memory:
    """Images of 32x32 in CIFAR-10's place: a pattern for each class under noise, so that a little can be learnt."""
    generator = torch.Generator().manual_seed(len(request.split))
    labels = torch.arange(160) % 10
    patterns = torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x = patterns[labels].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    pixels = (255 * (0.6 * x + 0.4 * torch.rand(x.shape, generator=generator))).to(torch.uint8)
    return Memory(tuple("abcdefghij"), labels, pixels)


@pytest.fixture
def recorded(monkeypatch, tmp_path, tiny, float64, tape):
    """``recorded(settings)``: a whole run in float64; what it started from, and each step's images and noise."""

    def trained(settings):
        seen = SimpleNamespace(steps=[], weights=[])

        def opened(*args, **words):
            seen.run = open_run(*args, **words)
            seen.run.network.double()
            seen.run.twin.double()
            if seen.run.average is not None:
                seen.run.average.double()
            seen.net = copy.deepcopy(seen.run.network)
            return seen.run

        def learnt(run, x, y, epoch, number):
            tape.clear()
            vector = learn(run, x, y, epoch, number)
            seen.steps.append((epoch, x, y, list(tape)))
            return vector

        def finished(run, *rest):
            seen.weights.append({name: value.clone() for name, value in plain.floating(run.network).items()})
            finish(run, *rest)

        open_run, learn, finish = loop.open_run, loop.learn, loop.finish_epoch
        monkeypatch.setattr(torchvision_sets, "load_cifar", coloured)
        monkeypatch.setattr(loop, "open_run", opened)
        monkeypatch.setattr(loop, "learn", learnt)
        monkeypatch.setattr(loop, "finish_epoch", finished)
        seen.trained = loop.train(settings, out=tmp_path)
        return seen

    return trained


class Keyed(plain.Draws):
    """Where evaluations of these images start: noise keyed by seed and position, another for each restart."""

    def __init__(self, settings, x: Tensor, restart: int = 0) -> None:
        self.x, self.restart = x, restart
        self.source = Noise(settings.seed, tuple(range(len(x))))

    def _next(self, kind, shape):
        return getattr(self.source, kind)(f"start/{self.restart}", self.x)


def judged(net, x: Tensor, y: Tensor, eps: float, settings) -> dict[str, float]:
    """Accuracies in eval mode: as they are, under FGSM and under PGD of eps/4; a sample falls once and for all, of
    several restarts in any."""
    net = copy.deepcopy(net)
    step = float(Fraction(settings.eval_step)) / eps if settings.eval_step else 0.25

    def right(images: Tensor) -> Tensor:
        return net.eval()(images).argmax(1) == y

    def pgd(restart: int) -> Tensor:
        draws = Keyed(settings, x, restart)
        return plain.pgd(net, x, y, draws, eps, mode="eval", steps=settings.eval_steps, step=step).adv

    clean = right(x)
    standing = clean & right(plain.fgsm(net, x, y, None, eps, mode="eval").adv)
    robust = clean
    for restart in range(settings.eval_restarts):
        robust = robust & right(pgd(restart))
    return {name: kept.double().mean().item() for name, kept in (("clean", clean), ("fgsm", standing), ("pgd", robust))}


def energies(net, x: Tensor, y: Tensor, eps: float, attack, settings) -> dict[str, float]:
    """dE(x), dE(x, y) and the share of abnormal ones in eval mode, under the attack of the training."""
    net = copy.deepcopy(net).eval()
    adv = attack(net, x, y, Keyed(settings, x), eps, mode="eval").adv
    net.eval()
    with torch.no_grad():
        f, g = net(x), net(adv)
    return {
        "probe_delta_marginal": (plain.marginal(f) - plain.marginal(g)).mean().item(),
        "probe_delta_joint": (plain.joint(f, y) - plain.joint(g, y)).mean().item(),
        "probe_abnormal_share": plain.abnormal(f, g, y).double().mean().item(),
    }


@pytest.mark.parametrize(("recipe", "own"), [*((recipe, {}) for recipe in TOY), AVERAGED])
def test_two_epochs_of_a_recipe_are_those_of_a_plain_loop(recipe, own, recorded):
    settings = settings_of(recipe, **{**SHORT, **TOY[recipe], **own})
    seen = recorded(settings)
    net, data, history = seen.net, seen.run.data, seen.trained.history
    radius = float(Fraction(settings.eps))
    attack, loss = LOSSES[settings.method]
    if settings.method != "fgsm":
        attack = partial(attack, steps=settings.steps)
    attack = partial(attack, step=float(Fraction(settings.step_size)) / radius)
    optimizer = plain.OPTIMIZERS[settings.optimizer](net.parameters(), settings.momentum, settings.weight_decay)
    training = plain.Training(
        net, partial(attack, mode=settings.attack_mode), partial(loss, **beta(settings)), optimizer, ema=settings.ema
    )
    per_epoch = len(data.train) // settings.batch_size
    assert len(seen.steps) == 2 * per_epoch >= 4
    losses, right, measured, best, kept = [], [], [], [], []
    for number, (epoch, x, y, tape) in enumerate(seen.steps):
        assert epoch == number // per_epoch
        factor, momentum = plain.rate(settings.schedule, number, 2 * per_epoch, settings.peak, settings.milestones)
        optimizer.mu = optimizer.mu if momentum is None else momentum
        grown = min(1.0, (number + 1) / per_epoch / settings.eps_ramp) if settings.eps_ramp else 1.0
        step = training.step(x, y, plain.Draws(tape), radius * grown, settings.lr * factor)
        losses.append(step.loss.item())
        adv = step.at["adv"].detach()
        right.append((adv.argmax(1) == y).double().mean().item())
        if settings.method != "pgd" or number % per_epoch % settings.measure_every == 0:
            measured.append((plain.marginal(adv).mean().item(), plain.joint(adv, y).mean().item()))
        if (number + 1) % per_epoch:
            continue
        row, judge = history.iloc[epoch], copy.deepcopy(net)
        judge.load_state_dict(training.average or net.state_dict(), strict=False)
        kept.append(plain.floating(judge))
        for name, value in plain.floating(net).items():
            torch.testing.assert_close(seen.weights[epoch][name], value, rtol=1e-6, atol=1e-8, msg=name)
        assert row["loss"] == pytest.approx(sum(losses[-per_epoch:]) / per_epoch, rel=1e-6)
        assert row["train_adv_accuracy"] == pytest.approx(sum(right[-per_epoch:]) / per_epoch)
        means = [sum(values) / len(measured) for values in zip(*measured, strict=True)]
        assert [row["marginal_adv"], row["joint_adv"]] == pytest.approx(means, rel=1e-6)
        measured.clear()
        for energy in ("marginal", "joint"):  # natural minus adversarial
            assert row[f"delta_{energy}"] == pytest.approx(row[f"{energy}_clean"] - row[f"{energy}_adv"], rel=1e-6)
        assert row["lr"] == pytest.approx(settings.lr * factor, rel=1e-9)
        for split, images in (("val", data.val), ("test", data.test), ("train", data.probe)):
            if len(images):
                found = {name: row[f"{split}_{name}"] for name in ("clean", "fgsm", "pgd")}
                assert found == pytest.approx(judged(judge, images.x, images.labels, radius, settings)), split
        probed = energies(judge, data.probe.x, data.probe.labels, radius, attack, settings)
        assert {name: row[name] for name in probed} == pytest.approx(probed, rel=1e-5, abs=1e-8)
        best.append(row["val_pgd"] if len(data.val) else row["train_pgd"])
    chosen = 1 if best[0] >= best[1] else 2
    assert seen.trained.best == chosen
    for name, epoch in (("last", 2), ("best", chosen)):
        saved = load_file(seen.trained.folder / f"{name}.safetensors")
        for weight, value in kept[epoch - 1].items():
            if not weight.startswith("normalize."):
                torch.testing.assert_close(saved[weight.removeprefix("model.")], value, rtol=1e-6, atol=1e-8)


def beta(settings) -> dict[str, float]:
    return {} if settings.beta is None else {"beta": settings.beta}
