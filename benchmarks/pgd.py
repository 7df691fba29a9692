"""The same PGD by four other libraries, by a plain loop and by us: Linf, 20 steps of eps/4, no random start.

``equal`` is the share of pixels within 1e-6 of the plain loop's; ``of the limit`` the floating point operations which
the 20 forwards and input gradients need, per second, as a share of the best matrix product's of the same run (in bf16
for ``bf16``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import energylens as el
from benchmarks.hardware import best_products, forward_operations
from benchmarks.setting import Setting
from benchmarks.turns import compared, in_turn
from energylens.attacks.backends import BACKENDS, BF16
from energylens.attacks.battery import ConfiguredAttack, configure
from energylens.attacks.radius import parse_radius
from examples.foreign_attacks import STEPS, adv_lib_pgd, art_pgd, foolbox_pgd, torchattacks_pgd

PEERS = {"torchattacks": torchattacks_pgd, "adv-lib": adv_lib_pgd, "foolbox": foolbox_pgd, "ART": art_pgd}
LOOP = "plain loop"


def plain_loop(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """PGD as it is usually written down."""
    x_adv = x.clone()
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
        x_adv = x_adv.detach() + eps / 4 * gradient.sign()
        x_adv = torch.clamp(x + torch.clamp(x_adv - x, -eps, eps), 0, 1)
    return x_adv


def from_x(eps: str) -> ConfiguredAttack:
    """Our ``pgd`` from x itself."""
    attack = configure(f"pgd,steps={STEPS}", eps=eps)
    return replace(attack, settings=replace(attack.settings, start="zero"))


def measure(setting: Setting, eps: str = "8/255") -> pd.DataFrame:
    """A row a library, and one for each of our backends."""
    model = setting.model()
    x, y = setting.images(model)
    radius, ours = parse_radius(eps), from_x(eps)
    ways: dict[str, Callable[[], Tensor]] = {LOOP: partial(plain_loop, model, x, y, radius)}
    ways |= {name: partial(pgd, model, x, y, eps=radius) for name, pgd in PEERS.items()}
    ways |= {f"energylens, {backend}": partial(el.attack, ours, model, x, y, backend=backend) for backend in BACKENDS}
    times, images = in_turn(ways, setting.turns)
    table = compared(times, [LOOP, "torchattacks"], STEPS * len(x), "steps x images/s")
    flops = STEPS * 2 * forward_operations(model, x)
    peaks = best_products(x.device)
    seconds = dict(zip(table["way"], table["seconds"].astype(float), strict=True))
    table["of the limit"] = [f"{flops / seconds[way] / peaks[BF16 in way]:.2f}" for way in ways]
    table["equal"] = [f"{float(((images[way] - images[LOOP]).abs() < 1e-6).float().mean()):.4f}" for way in ways]
    with torch.no_grad():
        logits = {way: model(found) for way, found in images.items()}
    table["accuracy"] = [f"{float((logits[way].argmax(1) == y).float().mean()):.3f}" for way in ways]
    table["E(x)"] = [f"{float(el.marginal_energy(logits[way]).mean()):.3f}" for way in ways]
    return table
