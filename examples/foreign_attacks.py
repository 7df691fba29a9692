"""Other libraries' attacks, recorded like ours:

    energylens profile --model digits-pgd --attack examples.foreign_attacks:torchattacks_pgd

An attack is any function (model, x, y) -> x_adv on images in [0, 1]; what is made for a model, or needs a radius, gets
both inside, in three lines. Here it is PGD without a random start every time, so that the four can be compared
(benchmarks/pgd.py); benchmarks/peers/README.md makes an environment with the four libraries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPS = 0.2  # of digits-pgd; 8 / 255 is usual for CIFAR
STEPS = 20


def torchattacks_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float = EPS) -> Tensor:
    """An object that is made for a model."""
    import torchattacks

    attack = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=STEPS, random_start=False)
    return attack(x, y)


def adv_lib_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float = EPS) -> Tensor:
    """A function."""
    from adv_lib.attacks import pgd_linf

    return pgd_linf(model, x, y, eps, steps=STEPS, random_init=False, absolute_step_size=eps / 4)


def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float = EPS) -> Tensor:
    """An object that takes the model in a wrapper of its own."""
    import foolbox

    attack = foolbox.attacks.LinfPGD(abs_stepsize=eps / 4, steps=STEPS, random_start=False)
    _, x_adv, _ = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=eps)
    return x_adv


def art_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float = EPS) -> Tensor:
    """An object that works on numpy arrays."""
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    device = {"cpu": "cpu", "cuda": "gpu"}[x.device.type]
    whole = nn.Sequential(model)  # or ART runs the layers of a Sequential itself, and its passes are not counted
    estimator = PyTorchClassifier(
        whole, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0, 1), device_type=device
    )
    attack = ProjectedGradientDescentPyTorch(
        estimator, eps=eps, eps_step=eps / 4, max_iter=STEPS, batch_size=len(x), verbose=False
    )
    return torch.from_numpy(attack.generate(x.cpu().numpy(), y.cpu().numpy()))
