"""How linear a loss or an energy is around a training image: functions for any training loop.

They are the regularisers that DER is compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from energylens.attacks.norms import NORMS
from energylens.energy import cross_entropy, joint_energy
from energylens.isolation import widest_float
from energylens.noise import BatchNoise, NoiseSource
from energylens.settings import check_word

Model = Callable[[Tensor], Tensor]
Energy = Callable[[Tensor, Tensor], Tensor]


def energy_linearity(
    model: Model, x: Tensor, y: Tensor, eps: float, *, norm: str = "linf", noise: NoiseSource | None = None
) -> Tensor:
    """How far the joint energy lies from its chord between two random points of the ball around x.

        mean over the batch of  ( E(x_c, y) - (1 - u) E(x_a, y) - u E(x_b, y) )^2,   x_c = (1 - u) x_a + u x_b,

    with x_a, x_b ~ U(ball of eps around x), u ~ U(0, 1). OURS [R]: ELLE's local linearity (arXiv 2401.11618) of the
    energy instead of the loss. Earlier versions offered it as a form of DER, which it is not.

    Args:
        model: images (N, C, H, W) -> logits (N, K).
        x: images in [0, 1], (N, C, H, W).
        y: labels, (N,).
        eps: radius in units of [0, 1].
        norm: "linf" or "l2".
        noise: what to draw from; torch's own random state if None.

    Returns:
        A scalar in nats squared; one forward of 3 N images.

    Raises:
        InputError: for another norm.

    Example:
        >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> bool(energy_linearity(linear, torch.rand(8, 1, 2, 2), torch.zeros(8).long(), 0.1) < 1e-10)
        True
    """
    return _bend(joint_energy, model, x, y, eps, norm, noise)


def elle(
    model: Model, x: Tensor, y: Tensor, eps: float, *, norm: str = "linf", noise: NoiseSource | None = None
) -> Tensor:
    """ELLE's error of local linearity (arXiv 2401.11618): ``energy_linearity`` of the loss ``CE(x, y)``.

    Args:
        model: images (N, C, H, W) -> logits (N, K).
        x: images in [0, 1], (N, C, H, W).
        y: labels, (N,).
        eps: radius in units of [0, 1].
        norm: "linf" or "l2".
        noise: what to draw from; torch's own random state if None.

    Returns:
        A scalar in nats squared; one forward of 3 N images.

    Raises:
        InputError: for another norm.
    """
    return _bend(cross_entropy, model, x, y, eps, norm, noise)


def _bend(
    energy: Energy, model: Model, x: Tensor, y: Tensor, eps: float, norm: str, noise: NoiseSource | None
) -> Tensor:
    """The mean squared distance of the energy from its chord between two random points of the ball."""
    check_word("norm", norm, NORMS)
    noise = noise or BatchNoise()
    first, second = (x + eps * NORMS[norm].uniform(noise, "ball", x) for _ in range(2))
    share = (noise.uniform("share", x[:, :1, :1, :1]) + 1) / 2
    logits = model(torch.cat([first, second, torch.lerp(first, second, share)])).float()
    one, other, between = energy(logits, y.repeat(3)).chunk(3)
    u = share.flatten()
    return (between - (1 - u) * one - u * other).square().mean()


def gradalign(model: Model, x: Tensor, y: Tensor, eps: float, *, noise: NoiseSource | None = None) -> Tensor:
    """``1 - cos(grad_x L(x), grad_x L(x + eta))``, eta ~ U(-eps, eps), mean over the batch (arXiv 2007.02617, eq. 6).

    Args:
        model: images (N, C, H, W) -> logits (N, K), twice differentiable almost everywhere.
        x: images in [0, 1], (N, C, H, W).
        y: labels, (N,).
        eps: radius in units of [0, 1].
        noise: what to draw from; torch's own random state if None.

    Returns:
        A scalar in [0, 2]; its gradient needs a double backward.
    """
    noisy = x + eps * (noise or BatchNoise()).uniform("gradalign", x)
    here, there = (_loss_gradient(model, point, y) for point in (x, noisy))
    return (1 - F.cosine_similarity(here.flatten(1), there.flatten(1), dim=1, eps=1e-12)).mean()


def _loss_gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(cross_entropy(model(x).float(), y).sum(), x, create_graph=True)
    return gradient


def aaer(
    logits: Tensor, logits_adv: Tensor, y: Tensor, *, loss_weight: float = 2.5, logit_weight: float = 1.5
) -> Tensor:
    """AAER: abnormal adversarial examples made rare and mild (arXiv 2404.08154).

    With A the samples whose loss the attack lowered, N the others and x_0 where the attack began,

        share(A) { loss_weight mean_A [CE(x_0) - CE(x*)]
                   + logit_weight relu(mean_A |f(x*) - f(x_0)|^2 - mean_N |f(x*) - f(x_0)|^2) }

    Our reading [R]: the first term has a gradient, as in the paper's formula; in the authors' code it has none.

    Args:
        logits: f(x_0), (N, K); it hands no gradient back.
        logits_adv: f(x*), (N, K).
        y: labels, (N,).
        loss_weight: the authors' l2; 2.5 is theirs for RS-FGSM at 8/255.
        logit_weight: the authors' l3.

    Returns:
        A scalar; 0 where no sample is abnormal.
    """
    logits = logits.detach()
    drop = cross_entropy(logits, y) - cross_entropy(logits_adv, y)
    distance = (logits_adv - logits).square().sum(dim=1)
    lowered = (drop.detach() > 0).float()
    abnormal, normal = _mean_over(distance, lowered), _mean_over(distance.detach(), 1 - lowered)
    return lowered.mean() * (loss_weight * _mean_over(drop, lowered) + logit_weight * (abnormal - normal).relu())


def _mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the masked, 0 where there are none; without a look at how many, which would wait for the device."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


class ErrorSwitch:
    """ELLE-A's switch (arXiv 2401.11618 and its authors' code): full weight for the step after an unusual error.

    An error is unusual where it lies more than ``SIGMAS`` standard deviations above the mean of all errors before it;
    else the weight decays by ``DECAY``.

    Nothing is switched on before ``SETTLE`` errors are known: ours [R], not tuned. The state is a tensor on the device
    of the errors, so that no step waits for it.

    >>> switch = ErrorSwitch()
    >>> for error in (1.0, 1.0, 1.1, 5.0):
    ...     switch.update(torch.tensor(error))
    >>> float(switch.share)
    1.0
    """

    SIGMAS, DECAY, SETTLE = 2.0, 0.99, 3

    def __init__(self) -> None:
        self._state = torch.zeros(4, dtype=torch.float64)  # errors so far, their sum, that of their squares, the share

    @property
    def share(self) -> Tensor:
        """Of the full weight, in [0, 1], a scalar."""
        return self._state[3]

    @torch.no_grad()
    def update(self, error: Tensor) -> None:
        """Take in a step's error.

        Args:
            error: a scalar, on any device; nothing is read off it.
        """
        kind = widest_float(error.device)
        error = error.detach().to(kind)
        count, total, squares, share = self._state.to(error.device, kind).unbind()
        mean = total / count.clamp_min(1)
        std = (squares / count.clamp_min(1) - mean.square()).clamp_min(0).sqrt()
        on = (count >= self.SETTLE) & (error > mean + self.SIGMAS * std)
        share = torch.where(on, torch.ones_like(share), self.DECAY * share)
        self._state = torch.stack([count + 1, total + error, squares + error.square(), share])

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` takes.

        Returns:
            Tensors on the CPU, by name.
        """
        return {"state": self._state.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what ``state_dict`` left.

        Args:
            state: as ``state_dict`` gave it.
        """
        self._state = state["state"].clone()
