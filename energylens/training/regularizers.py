"""Regularisers of adversarial training as a table: each adds weight * value to the loss of a step.

The mathematics is in ``der.py`` and ``linearity.py``, as functions for any training loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from energylens.energy import delta_energy, marginal_energy
from energylens.training import linearity
from energylens.training.der import delta_energy_regularizer
from energylens.training.step import Step, Terms

Value = TypeVar("Value")

CIFAR = 3 * 32 * 32  # numbers in an image


def der(step: Step) -> Tensor:
    """DER's term with the run's choices, times the warm-up's share (0 -> 1 over ``warmup`` epochs) [R].

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The term, a scalar, without its weight.
    """
    own = step.terms.der
    logits, logits_adv = step.logits_start if own.start == "start" else step.logits, step.logits_adv
    term = delta_energy_regularizer(
        logits.detach() if own.stop_gradient == "clean" else logits,
        logits_adv.detach() if own.stop_gradient == "adv" else logits_adv,
        step.y,
        gamma=own.gamma,
        on=own.on,
        mean=own.mean,
        unit=own.unit,
    )
    return term * min(1.0, step.progress / own.warmup) if own.warmup else term


def delta_l2(step: Step) -> Tensor:
    """``dE(x)^2``, mean over the batch. Ours [R]: the form that held against robust overfitting in our first study.

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The term, a scalar, without its weight.
    """
    return delta_energy(marginal_energy(step.logits), marginal_energy(step.logits_adv)).square().mean()


def energy_linearity(step: Step) -> Tensor:
    """``linearity.energy_linearity`` of the step.

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The term, a scalar, without its weight.
    """
    return linearity.energy_linearity(step.model, step.x, step.y, step.eps, norm=step.terms.norm, noise=step.noise)


def gradalign(step: Step) -> Tensor:
    """``linearity.gradalign`` of the step.

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The term, a scalar, without its weight.
    """
    return linearity.gradalign(step.model, step.x, step.y, step.eps, noise=step.noise)


def elle(step: Step) -> Tensor:
    """``linearity.elle`` of the step.

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The term, a scalar, without its weight.
    """
    return linearity.elle(step.model, step.x, step.y, step.eps, norm=step.terms.norm, noise=step.noise)


def aaer(step: Step) -> Tensor:
    """``linearity.aaer`` of the step, with its authors' weights for the method and eps.

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The term, a scalar, without its weight.
    """
    before = step.logits_start if step.start_seen is None else step.start_seen
    loss_weight, logit_weight = aaer_weights(step.terms)
    return linearity.aaer(before, step.logits_adv, step.y, loss_weight=loss_weight, logit_weight=logit_weight)


#: the pairs (l2, l3) of AAER's README by eps in units of 1/255
AAER_WEIGHTS: dict[str, dict[int, tuple[float, float]]] = {
    "rs-fgsm": {8: (2.5, 1.5), 12: (5.0, 2.5), 16: (7.0, 3.25), 32: (6.0, 1.5)},
    "n-fgsm": {8: (1.5, 0.15), 12: (5.0, 0.55), 16: (8.5, 1.5), 32: (3.5, 0.7)},
}


def aaer_weights(terms: Terms) -> tuple[float, float]:
    """The pair for this method and the nearest eps; methods that the README lacks have RS-FGSM's [R].

    Args:
        terms: of the run, its method and radius.

    Returns:
        The weights of the loss's and of the logits' term.
    """
    return _nearest(AAER_WEIGHTS.get(terms.method, AAER_WEIGHTS["rs-fgsm"]), terms)


#: ELLE's constant weight by eps in units of 1/255: the ends of the three ranges that its authors give
ELLE_WEIGHTS = {8: 1000.0, 10: 5000.0, 20: 5000.0, 22: 10000.0, 26: 10000.0}


def _elle_weight(terms: Terms) -> float:
    """1000 up to 8/255, 5000 for 10 to 20, 10000 for 22 to 26; elsewhere that of the nearest eps [R]."""
    return _nearest(ELLE_WEIGHTS, terms)


def _nearest(table: Mapping[int, Value], terms: Terms) -> Value:
    """The value at the nearest eps of the table, in units of 1/255; at the smaller of two."""
    # rounded, so that 9/255, which is no number of floating point, lies as near to 8 as to 10
    return table[min(table, key=lambda eps: (round(abs(terms.radius * 255 - eps), 6), eps))]


def _usual_alignment(terms: Terms) -> float:
    """The paper's rule .02 * 10^(eps * 255/8), which it gives up to 16/255; held there beyond [R]."""
    return float(0.02 * 10 ** (min(terms.radius * 255, 16) / 8))


def _linearity_weight(terms: Terms) -> float:
    """16000 for images of 3x32x32 numbers, otherwise in proportion to the square of how many there are [R].

    Where the energy bends along one direction h, <h, s>^2 of a sign vector s can be d times <h, u>^2 of a random u: a
    penalty loses a factor of d for each of the two random vectors that it looks along. 16,000 is the best of 1,000,
    4,000 and 16,000 by the validation split of co-small, seeds 0 to 2 (study ``weights-co``) [R].
    """
    return 16000.0 * (terms.pixels / CIFAR) ** 2


#: DER's beta [R] by the samples that it is of and what it is divided by, its mean and gamma by the samples. Those of
#: "abnormal" and "all" are the best of the grids ``der-co`` and ``der-ro`` by the validation split, seeds 0 to 2, of
#: settings at which no seed fails; those of "both" are of a first look at test images
DER_WEIGHTS = {
    ("abnormal", "selected"): 3.0, ("abnormal", "all"): 300.0, ("all", "all"): 5.0,
    ("both", "all"): 100.0, ("both", "selected"): 100.0,
}  # fmt: skip
DER_MEANS = {"abnormal": "selected", "both": "all", "all": "all"}
DER_GAMMAS = {"abnormal": 0.0, "both": 0.0, "all": 0.1}  # nats


@dataclass(frozen=True)
class Regularizer:
    """One row.

    Attributes:
        weight: where none is given.
        switched: whether an ``ErrorSwitch`` on the value turns the weight on and off.
        double_backward: whether its gradient is one of a gradient.
    """

    value: Callable[[Step], Tensor]
    weight: Callable[[Terms], float]
    source: str
    switched: bool = False
    double_backward: bool = False


REGULARIZERS: dict[str, Regularizer] = {
    "der": Regularizer(
        der,
        lambda terms: DER_WEIGHTS[terms.der.on, terms.der.mean],
        "arXiv 2505.22486, as its first author's explainer states it; the weight is ours [R]",
    ),
    "gradalign": Regularizer(gradalign, _usual_alignment, "arXiv 2007.02617", double_backward=True),
    "aaer": Regularizer(aaer, lambda terms: 1.0, "arXiv 2404.08154, our reading [R]"),
    "elle": Regularizer(elle, _elle_weight, "arXiv 2401.11618"),
    "elle-a": Regularizer(elle, lambda terms: 4000.0, "arXiv 2401.11618", switched=True),
    "energy-linearity": Regularizer(energy_linearity, _linearity_weight, "ours [R], after arXiv 2401.11618"),
    # of 1, 10 and 100, by the validation split of ro-small, seeds 0 to 2 (study weights-ro)
    "delta-l2": Regularizer(delta_l2, lambda terms: 100.0, "ours [R]"),
}
