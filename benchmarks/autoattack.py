"""AutoAttack: our scheduler, with records written and every block resumable, beside pyautoattack's own standard run."""

from __future__ import annotations

import tempfile
from functools import partial

import pandas as pd
import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

import energylens as el
from benchmarks.setting import Setting
from benchmarks.turns import compared, in_turn
from energylens.attacks.backends import FUSED, PLAIN
from energylens.attacks.radius import parse_radius

THEIRS = "pyautoattack"


def theirs(model: nn.Module, x: Tensor, y: Tensor, eps: str) -> int:
    """The package's standard run; returns how many samples stand."""
    attack = AutoAttack(model, norm="Linf", eps=parse_radius(eps), version="standard", device=str(x.device))
    x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
    with torch.no_grad():
        return int((model(x_adv).argmax(dim=1) == y).sum())


def ours(model: nn.Module, x: Tensor, y: Tensor, eps: str, backend: str) -> int:
    """The same through ``profile``, its record on disk; returns how many samples stand."""
    with tempfile.TemporaryDirectory() as out:
        spec = f"autoattack,block={len(x)}"
        record = el.profile(model, (x, y), [spec], eps=eps, out=out, backend=backend, checks=False)
        rows = record.attacks[1].rows
        return int((rows["pred_adv"] == rows["label"]).sum())


def measure(setting: Setting, eps: str = "0.2") -> pd.DataFrame:
    """A row for the package, one for each of our backends that AutoAttack supports."""
    model = setting.model()
    x, y = setting.images(model)
    ways = {THEIRS: partial(theirs, model, x, y, eps)}
    ways |= {f"energylens, {backend}": partial(ours, model, x, y, eps, backend) for backend in (PLAIN, FUSED)}
    times, stand = in_turn(ways, setting.turns)
    table = compared(times, [THEIRS])
    table["stand"] = [f"{stand[way]} of {len(x)}" for way in ways]
    return table
