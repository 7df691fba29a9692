"""How good a network is, epoch by epoch: accuracies on fixed images, and energies on the probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.radius import parse_radius
from energylens.attacks.registry import ascent_of
from energylens.energy import abnormal, joint_energy, marginal_energy
from energylens.isolation import frozen, widest_float
from energylens.noise import Noise
from energylens.training.attacker import training_ascent
from energylens.training.data import Images, TrainingData
from energylens.training.settings import TrainSettings

BATCH = 250
ENERGIES = ("marginal_clean", "marginal_adv", "joint_clean", "joint_adv", "abnormal")


@dataclass(frozen=True)
class Share:
    """This process's part of images that several ranks look at together."""

    rank: int = 0
    ranks: int = 1

    def batches(self, images: Images) -> Iterator[tuple[Tensor, Tensor, tuple[int, ...]]]:
        """x, y and each sample's position, BATCH at a time."""
        positions = range(self.rank, len(images), self.ranks)
        for start in range(0, len(positions), BATCH):
            rows = positions[start : start + BATCH]
            part = images[torch.tensor(rows, device=images.labels.device)]
            yield part.x, part.labels, tuple(rows)


def judges(settings: TrainSettings) -> dict[str, Ascent]:
    """The attacks that accuracies are told under: FGSM and PGD.

    FGSM has a step of eps and no start noise; PGD has eval_steps steps of eval_step, eps/4 by default, eval_restarts
    times.
    """
    fixed: dict[str, Any] = {"eps": settings.radius, "norm": settings.norm}
    step = None if settings.eval_step is None else parse_radius(settings.eval_step, "eval-step")
    return {
        "clean": Ascent(**fixed, steps=0),
        "fgsm": ascent_of("fgsm", **fixed),
        "pgd": ascent_of("pgd", **fixed, steps=settings.eval_steps, step_size=step, restarts=settings.eval_restarts),
    }


@torch.no_grad()
def count_correct(network: nn.Module, images: Images, settings: TrainSettings, share: Share) -> Tensor:
    """Correctly classified samples of this share under each of ``judges``, (3,), float32 forwards in eval mode.

    A sample that is misclassified as it is counts as fallen under the attacks too. The attacks' own forwards are in
    the precision of eval_amp; the verdict on what they found is float32.
    """
    attacks = judges(settings)
    correct = torch.zeros(len(attacks), dtype=torch.int64, device=images.labels.device)
    with frozen(network):
        for x, y, positions in share.batches(images):
            stands = torch.ones_like(y, dtype=torch.bool)
            for column, attack in enumerate(attacks.values()):
                noise = Noise(settings.seed, positions)
                with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.eval_amp == "bf16"):
                    x_adv = ascend(network, x, y, noise=noise, settings=attack).x_adv if attack.steps else x
                right = network(x_adv).argmax(dim=1) == y
                if not attack.steps:
                    stands = right
                correct[column] += (right & stands).sum()
    return correct


@torch.no_grad()
def probe_energies(network: nn.Module, data: TrainingData, settings: TrainSettings, share: Share) -> Tensor:
    """Sums over the probe by class, (K, 1 + len(ENERGIES)): samples, then ENERGIES.

    They are taken under the training attack at its full radius, in eval mode. nan for adversarial energies of a method
    without an attack.
    """
    device = data.probe.labels.device
    sums = torch.zeros(len(data.classes), 1 + len(ENERGIES), dtype=widest_float(device), device=device)
    attack = training_ascent(settings)
    with frozen(network):
        for x, y, positions in share.batches(data.probe):
            clean = network(x)
            columns = [torch.ones_like(clean[:, 0]), marginal_energy(clean), joint_energy(clean, y)]
            if attack.steps:
                noise = Noise(settings.seed, positions)
                adv = network(ascend(network, x, y, noise=noise, settings=attack, clean_logits=clean).x_adv)
                other = [marginal_energy(adv), joint_energy(adv, y), abnormal(clean, adv, y)]
            else:
                other = [torch.full_like(clean[:, 0], torch.nan)] * 3
            count, marginal, joint = columns
            values = torch.stack([count, marginal, other[0], joint, other[1], other[2].to(clean.dtype)], dim=1)
            sums.index_add_(0, y, values.to(sums))
    return sums


def class_rows(sums: Tensor, classes: tuple[str, ...], epoch: int) -> list[dict[str, Any]]:
    """Mean energies of every class on the probe, a row each."""
    means = (sums[:, 1:] / sums[:, :1]).cpu().tolist()
    counts = sums[:, 0].cpu().tolist()
    return [
        {"epoch": epoch, "class": name, "n": int(n), **dict(zip(ENERGIES, values, strict=True))}
        for name, n, values in zip(classes, counts, means, strict=True)
    ]


def probe_columns(sums: Tensor) -> dict[str, float]:
    """The probe's columns of the history."""
    total = sums.sum(dim=0)
    marginal_clean, marginal_adv, joint_clean, joint_adv, share = (total[1:] / total[0]).cpu().tolist()
    return {
        "probe_delta_marginal": marginal_clean - marginal_adv,
        "probe_delta_joint": joint_clean - joint_adv,
        "probe_abnormal_share": share,
    }
