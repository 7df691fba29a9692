"""DER, a regulariser on the delta energy (arXiv 2505.22486), in forms that are all OUR RECONSTRUCTION [R].

The paper's text was not available: sourced is only that DER penalises large differences between the energies of x and
x*, to smoothen the energy landscape. With dE natural minus adversarial and x_u = x + u (x* - x), u ~ U(0, 1):

    marginal-l1    |dE(x)|                 joint-l2   dE(x, y)^2              both   dE(x)^2 + dE(x, y)^2
    marginal-l2    dE(x)^2                 hinge      relu(dE(x))^2           aae    relu(dE(x, y) - dE(x))
    path-joint     ( E(x_u, y) - [(1 - u) E(x, y) + u E(x*, y)] )^2
    path-marginal  the same of E(x)        path-ce    the same of CE (local linearity, as in arXiv 2401.11618)
    ball-joint     the same of E(x, y) between two points a, b ~ U(ball of eps around x), not x and x*
    ball-marginal  the same of E(x)
    shift-joint    ( dE(x, y) - [E(a, y) - E(a + x* - x, y)] )^2: the difference wherever in the ball one begins

each a mean over the batch. The end-point forms see x and x* alone, the path forms what bends between them, the ball
and shift forms what bends anywhere around x. ``analyses/overfitting.py`` compares them: in fast training ball-joint and
shift-joint held, against robust overfitting marginal-l2 did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from energylens.attacks.norms import NORMS
from energylens.energy import cross_entropy, delta_energy, joint_energy, marginal_energy
from energylens.training.step import Step

Energy = Callable[[Tensor, Tensor], Tensor]
Penalty = Callable[[Step], Tensor]

#: what x is: the natural image, or the noised point the attack began at
STARTS: dict[str, Callable[[Step], tuple[Tensor, Tensor]]] = {
    "clean": lambda step: (step.x, step.logits),
    "start": lambda step: (step.x_start, step.logits_start),
}

CIFAR = 3 * 32 * 32  # numbers in an image
STOPS = ("none", "clean", "adv")  # which end hands no gradient back


def _ends(step: Step) -> tuple[Tensor, Tensor]:
    """The logits of x and of x*, (N, K) each."""
    _, logits = STARTS[step.settings.der_start](step)
    adversarial, stop = step.logits_adv, step.settings.der_stop_gradient
    return logits.detach() if stop == "clean" else logits, adversarial.detach() if stop == "adv" else adversarial


def _marginal(logits: Tensor, y: Tensor) -> Tensor:
    return marginal_energy(logits)


def _delta(energy: Energy, step: Step) -> Tensor:
    """The energy's difference between the ends, natural minus adversarial, (N,)."""
    natural, adversarial = (energy(logits, step.y) for logits in _ends(step))
    return delta_energy(natural, adversarial)


def _marginal_delta(step: Step) -> Tensor:
    return _delta(_marginal, step)


def _joint_delta(step: Step) -> Tensor:
    return _delta(joint_energy, step)


def _share(step: Step) -> Tensor:
    """How far along, u ~ U(0, 1) of each sample, (N, 1, 1, 1)."""
    return (step.noise.uniform("share", step.x[:, :1, :1, :1]) + 1) / 2


def _bend(first: Tensor, second: Tensor, between: Tensor, share: Tensor) -> Tensor:
    """The squared distance of the energy between two points from their chord; all (N,), share (N, 1, 1, 1)."""
    u = share.flatten()
    return (between - (1 - u) * first - u * second).square()


def _bend_on_path(energy: Energy, step: Step) -> Tensor:
    """What bends on the way from x to x*, (N,)."""
    share, (x, _) = _share(step), STARTS[step.settings.der_start](step)
    between = step.model(torch.lerp(x.detach(), step.x_adv.detach(), share)).float()
    first, second = (energy(logits, step.y) for logits in _ends(step))
    return _bend(first, second, energy(between, step.y), share)


def bend_in_ball(energy: Energy, step: Step) -> Tensor:
    """What bends between two random points of the ball around x, (N,)."""
    uniform = NORMS[step.settings.norm].uniform
    first, second = (step.x + step.eps * uniform(step.noise, "ball", step.x) for _ in range(2))
    share = _share(step)
    logits = step.model(torch.cat([first, second, torch.lerp(first, second, share)])).float()
    one, other, between = energy(logits, step.y.repeat(3)).chunk(3)
    return _bend(one, other, between, share)


def _shift(energy: Energy, step: Step) -> Tensor:
    """The squared change of the energy's difference where both ends move by the same random vector, (N,)."""
    x, _ = STARTS[step.settings.der_start](step)
    begun = step.x + step.eps * NORMS[step.settings.norm].uniform(step.noise, "shift", step.x)
    logits = step.model(torch.cat([begun, begun + step.x_adv.detach() - x.detach()])).float()
    shifted = delta_energy(*energy(logits, step.y.repeat(2)).chunk(2))
    return (_delta(energy, step) - shifted).square()


@dataclass(frozen=True)
class Form:
    """One row. penalty: of each sample, (N,); weight: the one it is used with where none is given, for 3x32x32 images;
    power: of the number of pixels that it grows with; ends: whether it looks at x and x* at all, so that their start
    and gradient can be chosen."""

    penalty: Penalty
    weight: float
    power: int = 0
    ends: bool = True

    def weight_for(self, pixels: int) -> float:
        """The weight for images of so many numbers. [R]

        Where the energy bends along one direction h, <h, s>^2 of a sign vector s can be d times <h, u>^2 of a random
        u: a penalty loses a factor of d for each random vector that it looks along.
        """
        return self.weight * (pixels / CIFAR) ** self.power


FORMS: dict[str, Form] = {
    "marginal-l1": Form(lambda step: _marginal_delta(step).abs(), 1.0),
    "marginal-l2": Form(lambda step: _marginal_delta(step).square(), 10.0),
    "joint-l2": Form(lambda step: _joint_delta(step).square(), 1.0),
    "both": Form(lambda step: _marginal_delta(step).square() + _joint_delta(step).square(), 1.0),
    "hinge": Form(lambda step: _marginal_delta(step).relu().square(), 1.0),
    "aae": Form(lambda step: (_joint_delta(step) - _marginal_delta(step)).relu(), 1.0),
    "path-joint": Form(partial(_bend_on_path, joint_energy), 10.0),
    "path-marginal": Form(partial(_bend_on_path, _marginal), 10.0),
    "path-ce": Form(partial(_bend_on_path, cross_entropy), 10.0),
    "ball-joint": Form(partial(bend_in_ball, joint_energy), 4000.0, power=2, ends=False),
    "ball-marginal": Form(partial(bend_in_ball, _marginal), 40000.0, power=2, ends=False),
    "shift-joint": Form(partial(_shift, joint_energy), 300.0, power=1),
}


def der(step: Step) -> Tensor:
    """The form's mean over the batch, times the warm-up's share (0 -> 1 over der_warmup epochs). [R]"""
    settings = step.settings
    warm = min(1.0, step.progress / settings.der_warmup) if settings.der_warmup else 1.0
    return warm * FORMS[settings.der_form].penalty(step).mean()
