"""One attack on one batch of images, for those who want the images and no record."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from energylens.attacks.battery import AttackSpec, configure_battery, equip
from energylens.attacks.frozen import frozen
from energylens.attacks.kernels import PLAIN, PROBED, check_kernels, sight_of
from energylens.attacks.noise import Noise
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
    target: str | Tensor | None = None,
    seed: int = 0,
    kernels: str = PLAIN,
) -> Tensor:
    """Adversarial images for a batch.

    spec: a name with settings (``"pgd,steps=50"``) or a callable. model: from float images in [0, 1] to logits (N, K).
    x: (N, C, H, W) in [0, 1]; y: (N,) labels. eps, norm, steps: the threat model, by default CIFAR's usual one.
    target: a rule (``random``, ``least-likely``, ``second-best``), a class number, or (N,) classes of your choice.
    seed: of the noise; sample i of the batch draws that of index i. kernels: as in ``profile``. Returns x_adv, of x's
    shape, in [0, 1]. Raises InputError.
    """
    check_images(x)
    rule = "random" if isinstance(target, Tensor) else target  # stands for the classes given, so that they are checked
    (chosen,) = configure_battery([spec], eps=eps, norm=norm, steps=steps, target=rule)
    chosen = equip(chosen, None, x.shape[1:], None, x.device)
    x, noise = x.float(), Noise(seed, tuple(range(len(x))))
    with frozen(model, seed):
        with torch.no_grad():
            classes = model(x[:1]).shape[1]
            check_labels(y, len(x), classes)
            if isinstance(target, Tensor):
                check_labels(target, len(x), classes)
            elif chosen.target is not None:
                target = choose_targets(chosen.target, model(x).float(), y, noise)
        aims = target if isinstance(target, Tensor) else None
        sight = sight_of(model, chosen.kernels or check_kernels(kernels), x[:PROBED])
        if sight.note:
            warnings.warn(sight.note, stacklevel=2)
        return chosen.looking(sight, kernels)(model, x, y, noise=noise, target=aims, sight=sight).x_adv
