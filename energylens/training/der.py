"""DER, a regulariser on the delta energy (arXiv 2505.22486), in forms that are all OUR RECONSTRUCTION [R].

The paper's text was not available: sourced is only that DER penalises large differences between the energies of x and
x*, to smoothen the energy landscape. With dE natural minus adversarial and x_u = x + u (x* - x), u ~ U(0, 1):

    marginal-l1    |dE(x)|                 joint-l2   dE(x, y)^2              both   dE(x)^2 + dE(x, y)^2
    marginal-l2    dE(x)^2                 hinge      relu(dE(x))^2           aae    relu(dE(x, y) - dE(x))
    path-joint     ( E(x_u, y) - [(1 - u) E(x, y) + u E(x*, y)] )^2
    path-marginal  the same of E(x)        path-ce    the same of CE (local linearity, as in arXiv 2401.11618)

each a mean over the batch. The end-point forms see x and x* alone; the path forms penalise what bends between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from energylens.energy import cross_entropy, delta_energy, joint_energy, marginal_energy
from energylens.training.step import Step

Energy = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Ends:
    """The two ends of the perturbation: images, logits (N, K) and labels (N,)."""

    x: Tensor
    x_adv: Tensor
    logits: Tensor
    logits_adv: Tensor
    y: Tensor

    @property
    def marginal(self) -> Tensor:
        """dE(x), (N,)."""
        return delta_energy(marginal_energy(self.logits), marginal_energy(self.logits_adv))

    @property
    def joint(self) -> Tensor:
        """dE(x, y), (N,)."""
        return delta_energy(joint_energy(self.logits, self.y), joint_energy(self.logits_adv, self.y))


def _marginal(logits: Tensor, y: Tensor) -> Tensor:
    return marginal_energy(logits)


def _path(energy: Energy) -> Callable[[Ends, Step], Tensor]:
    """The squared distance between the energy on the way and the chord, (N,)."""

    def form(ends: Ends, step: Step) -> Tensor:
        share = (step.noise.uniform("path", ends.x[:, :1, :1, :1]) + 1) / 2
        between = step.model(ends.x + share * (ends.x_adv - ends.x)).float()
        u = share.flatten()
        chord = (1 - u) * energy(ends.logits, ends.y) + u * energy(ends.logits_adv, ends.y)
        return (energy(between, ends.y) - chord).square()

    return form


#: the penalty of each sample, (N,), of the two ends
FORMS: dict[str, Callable[[Ends, Step], Tensor]] = {
    "marginal-l1": lambda ends, step: ends.marginal.abs(),
    "marginal-l2": lambda ends, step: ends.marginal.square(),
    "joint-l2": lambda ends, step: ends.joint.square(),
    "both": lambda ends, step: ends.marginal.square() + ends.joint.square(),
    "hinge": lambda ends, step: ends.marginal.relu().square(),
    "aae": lambda ends, step: (ends.joint - ends.marginal).relu(),
    "path-joint": _path(joint_energy),
    "path-marginal": _path(_marginal),
    "path-ce": _path(cross_entropy),
}

#: what x is: the natural image, or the noised point the attack began at
STARTS: dict[str, Callable[[Step], tuple[Tensor, Tensor]]] = {
    "clean": lambda step: (step.x, step.logits),
    "start": lambda step: (step.x_start, step.logits_start),
}

STOPS = ("none", "clean", "adv")  # which end hands no gradient back


def der(step: Step) -> Tensor:
    """The form's mean over the batch, times the warm-up's share (0 -> 1 over der_warmup epochs). [R]"""
    settings = step.settings
    x, logits = STARTS[settings.der_start](step)
    ends = Ends(
        x.detach(),
        step.x_adv.detach(),
        logits.detach() if settings.der_stop_gradient == "clean" else logits,
        step.logits_adv.detach() if settings.der_stop_gradient == "adv" else step.logits_adv,
        step.y,
    )
    warm = min(1.0, step.progress / settings.der_warmup) if settings.der_warmup else 1.0
    return warm * FORMS[settings.der_form](ends, step).mean()
