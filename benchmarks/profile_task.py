"""The user's task: eight attacks with energies recorded, by ``energylens.profile`` and by the loop people write today.

The loop is torchattacks' attacks, two more forwards a batch, logsumexp, lists and torch.save; the same settings where
both have them. Square has 100 queries and FAB, APGD 10 iterations, so that the benchmark ends.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import energylens as el
from benchmarks.setting import Setting
from benchmarks.turns import compared, in_turn
from energylens.attacks.backends import BACKENDS
from energylens.attacks.radius import parse_radius
from energylens.profiling import BATCH_SIZES

LOOP, EPS = "plain loop", "8/255"
BATTERY: dict[str, tuple[str, dict[str, Any]]] = {  # ours: torchattacks' class and settings
    "fgsm": ("FGSM", {"eps": 1.0}),  # in units of eps
    "rs-fgsm": ("FFGSM", {"eps": 1.0, "alpha": 1.25}),
    "pgd,steps=20": ("PGD", {"eps": 1.0, "alpha": 0.25, "steps": 20}),
    "trades,steps=20": ("TPGD", {"eps": 1.0, "alpha": 0.25, "steps": 20}),
    "cw": ("CW", {"c": 1, "kappa": 0, "steps": 50, "lr": 0.01}),
    "apgd-ce,steps=10": ("APGD", {"eps": 1.0, "steps": 10}),
    "fab,steps=10": ("FAB", {"eps": 1.0, "steps": 10, "n_classes": 10}),
    "square,queries=100": ("Square", {"eps": 1.0, "n_queries": 100, "resc_schedule": False}),
}


def peer(model: nn.Module, name: str, settings: dict[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """torchattacks' attack with its lengths in units of [0, 1]."""
    import torchattacks

    radius = parse_radius(EPS)
    own = {key: value * radius if key in ("eps", "alpha") else value for key, value in settings.items()}
    attack: Callable[[Tensor, Tensor], Tensor] = getattr(torchattacks, name)(model, **own)
    return attack


@dataclass(frozen=True)
class Done:
    """What became of one attack. seconds: on the wall, recording included; accuracy: a share."""

    seconds: float
    accuracy: float


def plain_loop(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Done]:
    """What people write today."""
    size, done = BATCH_SIZES[x.device.type], {}
    for spec, (name, settings) in BATTERY.items():
        attack, began = peer(model, name, settings), time.perf_counter()
        kept: dict[str, list[Tensor]] = {"clean": [], "joint_clean": [], "adv": [], "joint_adv": [], "right": []}
        for images, labels in zip(x.split(size), y.split(size), strict=True):
            x_adv = attack(images, labels)
            with torch.no_grad():
                for kind, some in (("clean", images), ("adv", x_adv)):
                    logits = model(some)
                    kept[kind].append(-torch.logsumexp(logits, dim=1))
                    kept[f"joint_{kind}"].append(-logits.gather(1, labels[:, None]).squeeze(1))
                kept["right"].append(logits.argmax(dim=1) == labels)
        with tempfile.TemporaryDirectory() as out:
            torch.save({column: torch.cat(values) for column, values in kept.items()}, Path(out) / f"{name}.pt")
        done[spec] = Done(time.perf_counter() - began, float(torch.cat(kept["right"]).float().mean()))
    return done


def ours(model: nn.Module, x: Tensor, y: Tensor, backend: str) -> dict[str, Done]:
    """``energylens.profile``, record on disk."""
    with tempfile.TemporaryDirectory() as out:
        record = el.profile(model, (x, y), list(BATTERY), eps=EPS, backend=backend, out=out, checks=False)
    rows = record.as_numbers()[1:]  # whose names tell the backend too
    return {spec: Done(row["seconds"], row["accuracy"]) for spec, row in zip(BATTERY, rows, strict=True)}


def measure(setting: Setting) -> pd.DataFrame:
    """A row for the loop and one for each of our backends, with each attack's seconds and the accuracy it leaves."""
    model = setting.model()
    x, y = setting.images(model)
    ways = {LOOP: partial(plain_loop, model, x, y)}
    ways |= {f"energylens, {backend}": partial(ours, model, x, y, backend) for backend in BACKENDS}
    times, done = in_turn(ways, setting.turns)
    table = compared(times, [LOOP], len(x))
    for spec in BATTERY:
        table[spec] = [f"{done[way][spec].seconds:.2f} s, {done[way][spec].accuracy:.2f}" for way in ways]
    return table
