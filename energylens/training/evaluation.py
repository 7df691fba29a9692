"""How good a network is, epoch by epoch: accuracies on fixed images, and energies on the probe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from energylens.attacks.ascent import Ascent, ascend
from energylens.attacks.radius import parse_radius
from energylens.attacks.registry import ascent_of
from energylens.energy import abnormal, joint_energy, marginal_energy
from energylens.isolation import frozen, widest_float
from energylens.noise import Noise
from energylens.training.data import Images, Share, TrainingData

ENERGIES = ("marginal_clean", "marginal_adv", "joint_clean", "joint_adv", "abnormal")


@dataclass(frozen=True)
class Judge:
    """By what the epochs of a run are judged; ``TrainSettings.part`` fills it in.

    Attributes:
        attack: the training's, at its full radius.
        eval_step: the step of PGD as text, eps/4 where it is None.
        eval_amp: the precision of the attacks' own forwards; the verdict on what they found is float32.
        eval_every: epochs between two judgements.
        eval_train_every: the same for training images.
    """

    seed: int
    radius: float
    norm: str
    attack: Ascent
    eval_steps: int
    eval_restarts: int
    eval_step: str | None
    eval_amp: str
    eval_every: int
    eval_train_every: int

    @cached_property
    def attacks(self) -> dict[str, Ascent]:
        """What accuracies are told under: no attack, FGSM with a step of eps and no start noise, and PGD."""
        fixed: dict[str, Any] = {"eps": self.radius, "norm": self.norm}
        step = None if self.eval_step is None else parse_radius(self.eval_step, "eval-step")
        return {
            "clean": Ascent(**fixed, steps=0),
            "fgsm": ascent_of("fgsm", **fixed),
            "pgd": ascent_of("pgd", **fixed, steps=self.eval_steps, step_size=step, restarts=self.eval_restarts),
        }

    def splits(self, data: TrainingData, epoch: int, *, last: bool) -> dict[str, Images]:
        """The images that judge this epoch.

        Args:
            data: of the run.
            epoch: from 1.
            last: whether it is the run's last, which is judged on all of them.

        Returns:
            The images by the names val, test and train, which is the probe; empty in epochs between two judgements.
        """
        if epoch % self.eval_every and not last:
            return {}
        splits = {"val": data.val, "test": data.test, "train": data.probe}
        if epoch % self.eval_train_every and not last:
            del splits["train"]
        return splits


@torch.no_grad()
def count_correct(network: nn.Module, images: Images, judge: Judge, share: Share) -> Tensor:
    """Correctly classified samples of this share under each of the judge's attacks, float32 forwards in eval mode.

    Args:
        network: what is judged, images (N, C, H, W) -> logits (N, K).
        images: those of all processes together.
        judge: whose attacks, seed and precision these are.
        share: this process's part of the images.

    Returns:
        (3,) int64. A sample that is misclassified as it is counts as fallen under the attacks too.
    """
    correct = torch.zeros(len(judge.attacks), dtype=torch.int64, device=images.labels.device)
    with frozen(network):
        for x, y, positions in share.batches(images):
            stands = torch.ones_like(y, dtype=torch.bool)
            for column, attack in enumerate(judge.attacks.values()):
                noise = Noise(judge.seed, positions)
                with torch.autocast(x.device.type, torch.bfloat16, enabled=judge.eval_amp == "bf16"):
                    x_adv = ascend(network, x, y, noise=noise, settings=attack).x_adv if attack.steps else x
                right = network(x_adv).argmax(dim=1) == y
                if not attack.steps:
                    stands = right
                correct[column] += (right & stands).sum()
    return correct


@torch.no_grad()
def probe_energies(network: nn.Module, data: TrainingData, judge: Judge, share: Share) -> Tensor:
    """Energies of the probe under the training attack at its full radius, in eval mode.

    Args:
        network: what is judged, images (N, C, H, W) -> logits (N, K).
        data: of the run, with the probe and the names of the K classes.
        judge: whose attack and seed these are.
        share: this process's part of the probe.

    Returns:
        Sums by class, (K, 1 + E), the samples and then the E of ENERGIES in nats; nan for the adversarial ones of a
        method without an attack.
    """
    device = data.probe.labels.device
    sums = torch.zeros(len(data.classes), 1 + len(ENERGIES), dtype=widest_float(device), device=device)
    attack = judge.attack
    with frozen(network):
        for x, y, positions in share.batches(data.probe):
            clean = network(x)
            adversarial = [torch.full_like(clean[:, 0], torch.nan)] * 3
            if attack.steps:
                noise = Noise(judge.seed, positions)
                adv = network(ascend(network, x, y, noise=noise, settings=attack, clean_logits=clean).x_adv)
                adversarial = [marginal_energy(adv), joint_energy(adv, y), abnormal(clean, adv, y).to(clean.dtype)]
            marginal, joint, share_abnormal = adversarial
            one = torch.ones_like(joint)
            values = [one, marginal_energy(clean), marginal, joint_energy(clean, y), joint, share_abnormal]
            sums.index_add_(0, y, torch.stack(values, dim=1).to(sums))
    return sums


def class_rows(sums: Tensor, classes: tuple[str, ...], epoch: int) -> list[dict[str, Any]]:
    """Mean energies of every class on the probe.

    Args:
        sums: those of ``probe_energies`` over all processes, (K, 1 + E).
        classes: names of the K classes, in the order of the labels.
        epoch: from 1, for the rows to tell.

    Returns:
        A row a class: epoch, class, n (its samples) and the ENERGIES in nats.
    """
    means = (sums[:, 1:] / sums[:, :1]).cpu().tolist()
    counts = sums[:, 0].cpu().tolist()
    return [
        {"epoch": epoch, "class": name, "n": int(n), **dict(zip(ENERGIES, values, strict=True))}
        for name, n, values in zip(classes, counts, means, strict=True)
    ]


def probe_columns(sums: Tensor) -> dict[str, float]:
    """The probe's columns of the history.

    Args:
        sums: those of ``probe_energies`` over all processes, (K, 1 + E).

    Returns:
        Means over the probe by column: natural minus adversarial energies in nats, and the abnormal share in [0, 1].
    """
    total = sums.sum(dim=0)
    marginal_clean, marginal_adv, joint_clean, joint_adv, share = (total[1:] / total[0]).cpu().tolist()
    return {
        "probe_delta_marginal": marginal_clean - marginal_adv,
        "probe_delta_joint": joint_clean - joint_adv,
        "probe_abnormal_share": share,
    }
