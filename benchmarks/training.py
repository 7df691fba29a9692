"""A step of training (FGSM, PGD-10, TRADES) beside a plain loop's and, where it is installed, MAIR's.

The plain loops are NCHW and float32; those of FGSM and PGD have ``loss.backward()`` inside the attack, as they are
usually written, which computes every weight's gradient too; TRADES' is its authors'. MAIR asks for the input's gradient
alone. Ours is ``energylens.training.loop.learn`` without the early warning. Every way has a network of its own and sees
the same batches of CIFAR-10, a step of each in turn. ``of the limit``: the floating point operations a second that the
method needs, as a share of the best matrix product's of the same run (in bfloat16 for bf16).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.hardware import best_products, forward_operations
from benchmarks.setting import Setting
from benchmarks.turns import compared, in_turn
from energylens.training.folder import Plan
from energylens.training.loop import learn
from energylens.training.recipes import settings_of
from energylens.training.run import Run, open_run

LOOP, MAIR = "plain loop", "MAIR"
EPS, BETA, PER_CLASS = 8 / 255, 6.0, 512
WAYS: dict[str, dict[str, object]] = {  # ours: settings over the plain ones
    "energylens": {},
    "energylens, channels-last": {"channels_last": True},
    "energylens, bf16, channels-last": {"amp": "bf16", "channels_last": True},
}
Step = Callable[[Tensor, Tensor], object]


def fgsm_loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy at one step of eps."""
    delta = torch.zeros_like(x).requires_grad_(True)
    F.cross_entropy(network(x + delta), y).backward()
    assert delta.grad is not None
    return F.cross_entropy(network((x + EPS * delta.grad.sign()).clamp(0, 1)), y)


def pgd_loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy at ten steps of eps/4 from a uniform start."""
    delta = torch.empty_like(x).uniform_(-EPS, EPS).requires_grad_(True)
    for _ in range(10):
        F.cross_entropy(network((x + delta).clamp(0, 1)), y).backward()
        assert delta.grad is not None
        delta.data = (delta + EPS / 4 * delta.grad.sign()).clamp(-EPS, EPS)
        delta.grad.zero_()
    return F.cross_entropy(network((x + delta.detach()).clamp(0, 1)), y)


def trades_loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """As its authors write it (arXiv 1901.08573): ten steps on the KL in eval mode, both terms in train mode."""
    network.eval()
    x_adv = x + 0.001 * torch.randn_like(x)
    for _ in range(10):
        x_adv = x_adv.detach().requires_grad_(True)
        loss = F.kl_div(F.log_softmax(network(x_adv), 1), F.softmax(network(x), 1), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = x_adv.detach() + EPS / 4 * gradient.sign()
        x_adv = torch.clamp(torch.min(torch.max(x_adv, x - EPS), x + EPS), 0, 1)
    network.train()
    logits = network(x)
    divergence = F.kl_div(F.log_softmax(network(x_adv.detach()), 1), F.softmax(logits, 1), reduction="batchmean")
    return F.cross_entropy(logits, y) + BETA * divergence


@dataclass(frozen=True)
class Method:
    """One row. loss: the reference's; passes: forwards, input gradients and weight gradients that a step needs; steps:
    of its attack, where that is to be told; mair: MAIR's trainer and its settings, None where it has none."""

    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    passes: int
    steps: int | None = 10
    mair: tuple[str, dict[str, Any]] | None = None


METHODS = {
    "fgsm": Method(fgsm_loss, 2 + 3, None),
    "pgd": Method(pgd_loss, 10 * 2 + 3, 10, ("AT", {"eps": EPS, "alpha": EPS / 4, "steps": 10})),
    "trades": Method(
        trades_loss, 1 + 10 * 2 + 2 * 3, 10, ("TRADES", {"eps": EPS, "alpha": EPS / 4, "steps": 10, "beta": BETA})
    ),
}


def reference(run: Run, loss: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Step:
    """The plain loop's step on a network of its own."""
    optimizer = torch.optim.SGD(run.network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)

    def step(x: Tensor, y: Tensor) -> None:
        value = loss(run.network, x, y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def mair(run: Run, trainer: str, settings: Mapping[str, Any]) -> Step:
    """MAIR's step on a network of its own."""
    import mair.defenses

    model = mair.RobModel(run.network, n_classes=10)
    trained = getattr(mair.defenses, trainer)(model, **settings)
    trained.setup(optimizer="SGD(lr=0.1, momentum=0.9, weight_decay=5e-4)", n_epochs=1)

    def step(x: Tensor, y: Tensor) -> None:
        trained._init_dicts_record_save()
        model.train()
        trained._update_weight((x, y))

    return step


def ours(run: Run) -> Step:
    """Our step; the batch comes in the run's layout, as ``Run.walk`` gives it."""
    number = count()  # of the step: not every one is measured
    return lambda x, y: learn(run, x.contiguous(memory_format=run.batches.layout), y, 0, next(number))


def measure(setting: Setting, width: int = 32, batch_size: int = 64) -> pd.DataFrame:
    """A row a method and way, PreActResNet-18 of this width."""
    tables = []
    for name, method in METHODS.items():
        with tempfile.TemporaryDirectory() as out:
            shape = {"arch": "preactresnet18", "width": width, "batch_size": batch_size}
            prepared = partial(_prepared, setting, Path(out), **shape, method=name, steps=method.steps)
            steps = {LOOP: reference(prepared(), method.loss)}
            if method.mair and find_spec("mair"):
                steps[MAIR] = mair(prepared(), *method.mair)
            steps |= {way: ours(prepared(**own)) for way, own in WAYS.items()}
            batches = _Batches(prepared(), setting.turns + 1)
            ways = {way: partial(batches.shown, step) for way, step in steps.items()}
            times, _ = in_turn(ways, setting.turns)
            table = compared(times, [LOOP, *({MAIR} & steps.keys())], batch_size)
            peaks = best_products(batches.x.device)
            needed = method.passes * forward_operations(prepared().network, batches.x)
            speeds = [needed / float(seconds) for seconds in table["seconds"]]
            limits = [peaks["bf16" in way] for way in table["way"]]
            table["of the limit"] = [f"{speed / limit:.2f}" for speed, limit in zip(speeds, limits, strict=True)]
            table.insert(0, "method", name)
            tables.append(table)
    return pd.concat(tables, ignore_index=True).fillna("")  # MAIR has no FGSM


class _Batches:
    """The batches of the turns, loaded beforehand: every way's n-th step sees the n-th."""

    def __init__(self, run: Run, n: int) -> None:
        self._batches = [(x, y) for _, x, y in islice(run.walk(0), n)]
        self._done: Counter[Step] = Counter()
        self.x = self._batches[0][0]

    def shown(self, step: Step) -> None:
        """Do the next step of this way."""
        x, y = self._batches[self._done[step]]
        self._done[step] += 1
        step(x, y)


def _prepared(setting: Setting, out: Path, **own: object) -> Run:
    """A run with a network of its own, ready to step."""
    usual: dict[str, object] = {"val_fraction": 0.0, "channels_last": False, "per_class": PER_CLASS}
    settings = settings_of("ro", **usual | own)
    run = open_run(Plan(settings, out, root=setting.root, device=setting.device))
    run.network.train()
    return run
