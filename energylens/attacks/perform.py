"""One attack on one batch of images, for those who want the images and no record."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from energylens.attacks.frozen import frozen
from energylens.attacks.noise import Noise
from energylens.attacks.registry import AttackSpec, configure_battery
from energylens.attacks.targets import choose_targets
from energylens.data import check_images, check_labels


def attack(
    spec: AttackSpec,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: str | float = "8/255",
    norm: str = "linf",
    steps: int | None = None,
    target: str | None = None,
    seed: int = 0,
) -> Tensor:
    """Adversarial images for a batch.

    spec: a name with settings (``"pgd,steps=50"``) or a callable. model: from float images in [0, 1] to logits (N, K).
    x: (N, C, H, W) in [0, 1]; y: (N,) labels. The other arguments are those of ``energylens.profile``; sample i of
    the batch draws the noise of index i. Returns x_adv, of x's shape, in [0, 1]. Raises InputError.
    """
    check_images(x)
    check_labels(y, len(x))
    (chosen,) = configure_battery([spec], eps=eps, norm=norm, steps=steps, target=target)
    noise = Noise(seed, tuple(range(len(x))))
    with frozen(model, seed):
        clean_logits = None
        if target is not None:
            with torch.no_grad():
                clean_logits = model(x)
        aims = None if clean_logits is None else choose_targets(str(target), clean_logits, y, noise)
        return chosen(model, x, y, noise=noise, target=aims, clean_logits=clean_logits).x_adv
