"""Images out of a classifier: ``energylens.generate`` beside the loop as it is usually written.

The loop looks once more at its images at the end; ours records the energies of every step besides and finds each
image's nearest training image.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

import energylens as el
from benchmarks.setting import Setting
from benchmarks.turns import compared, in_turn
from energylens.generation.generate import CHAINS_SUPPORT

LOOP = "plain loop"
STEPS, STEP_SIZE, MOMENTUM, NOISE = 20, 0.05, 0.8, 0.001


def plain_loop(model: nn.Module, n: int, shape: tuple[int, ...], classes: int, device: str) -> Tensor:
    """Momentum SGLD from noise (arXiv 2407.06315, eq. 7)."""
    x, y = torch.rand(n, *shape, device=device), torch.arange(n, device=device) % classes
    velocity = torch.zeros_like(x)
    for _ in range(STEPS):
        x = x.detach().requires_grad_(True)
        energy = -model(x).gather(1, y[:, None]).sum()
        (gradient,) = torch.autograd.grad(energy, x)
        velocity = MOMENTUM * velocity - STEP_SIZE / 2 * gradient
        x = (x + velocity + NOISE * torch.randn_like(x)).clamp(0, 1)
    x = x.detach()
    with torch.no_grad():
        model(x)
    return x


def ours(model: nn.Module, train: el.Samples, n: int, backend: str) -> Tensor:
    """The same chains through ``generate``."""
    chain = {"start": "noise", "steps": STEPS, "step_size": STEP_SIZE, "momentum": MOMENTUM, "noise": NOISE}
    return el.generate(model, train, n=n, backend=backend, **chain).images


def measure(setting: Setting) -> pd.DataFrame:
    """A row for the loop and one for us."""
    model = setting.model()
    train = el.load_data(model.card.dataset, split="train", data_root=setting.root)
    loop = partial(plain_loop, model, setting.n, train.image_shape, len(train.classes), setting.device)
    ways = {LOOP: loop}
    ways |= {f"energylens, {backend}": partial(ours, model, train, setting.n, backend) for backend in CHAINS_SUPPORT}
    times, _ = in_turn(ways, setting.turns)
    return compared(times, [LOOP], setting.n)
