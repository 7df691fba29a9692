"""Many steps of PGD by torchattacks and by us, Linf, steps of eps/4: what is saved where iterates come back.

PGD-200 and PGD-1000 start at x itself; PGD-50-10 has ten random starts, which torchattacks is called for anew, on all
images each time, as it has no restarts. ``passes`` are forward-backward passes an image, our own told by the attack,
torchattacks' steps times runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

import energylens as el
from benchmarks.setting import Setting
from benchmarks.turns import compared, in_turn
from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.radius import parse_radius
from energylens.attacks.registry import ascent_of
from energylens.isolation import frozen
from energylens.noise import Noise

PEER = "torchattacks"


@dataclass(frozen=True)
class Work:
    """steps of each of so many runs; a single run starts at x itself."""

    steps: int
    runs: int = 1

    def settings(self, eps: float, **more: str) -> Ascent:
        """Ours."""
        own = {"start": "zero"} if self.runs == 1 else {"restarts": self.runs}
        return ascent_of("pgd", eps=eps, steps=self.steps, **own, **more)

    def __str__(self) -> str:
        return f"PGD-{self.steps}" + (f"-{self.runs}" if self.runs > 1 else "")


def torchattacks_runs(model: nn.Module, x: Tensor, y: Tensor, eps: float, work: Work) -> tuple[Tensor, float]:
    """The first images that fool the model, else those of the last run, and the passes an image."""
    import torchattacks

    torch.manual_seed(0)
    attack = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=work.steps, random_start=work.runs > 1)
    kept, fooled = x, torch.zeros_like(y, dtype=torch.bool)
    for _ in range(work.runs):
        found = attack(x, y)
        kept = torch.where(fooled.view(-1, 1, 1, 1), kept, found)
        with torch.no_grad():
            fooled |= model(found).argmax(dim=1) != y
    return kept, float(work.steps * work.runs)


def our_runs(model: nn.Module, x: Tensor, y: Tensor, settings: Ascent, *, cycles: bool) -> tuple[Tensor, float]:
    """The same by the ascent loop."""
    with frozen(model):
        found = ascend(model, x, y, noise=Noise(0, tuple(range(len(x)))), settings=settings, cycles=cycles)
    return found.x_adv, float(found.backwards.float().mean())


def measure(setting: Setting, eps: str, works: tuple[Work, ...]) -> pd.DataFrame:
    """A row a way and work."""
    model = setting.model()
    x, y = setting.images(model)
    radius, tables = parse_radius(eps), []
    for work in works:
        ours = partial(our_runs, model, x, y)
        ways: dict[str, Callable[[], tuple[Tensor, float]]] = {
            PEER: partial(torchattacks_runs, model, x, y, radius, work),
            "energylens, every step": partial(ours, work.settings(radius), cycles=False),
            "energylens": partial(ours, work.settings(radius), cycles=True),
            "energylens, until=broken": partial(ours, work.settings(radius, until="broken"), cycles=True),
        }
        times, given = in_turn(ways, setting.turns)
        table = compared(times, [PEER])
        table.insert(0, "attack", str(work))
        table["passes"] = [f"{passes:.1f}" for _, passes in given.values()]
        with torch.no_grad():
            logits = {way: model(found) for way, (found, _) in given.items()}
        table["accuracy"] = [f"{float((logits[way].argmax(1) == y).float().mean()):.3f}" for way in ways]
        table["E(x)"] = [f"{float(el.marginal_energy(logits[way]).mean()):.3f}" for way in ways]
        tables.append(table)
    return pd.concat(tables)
