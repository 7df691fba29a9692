"""Regularisers of adversarial training as a table: each adds weight * value to the loss of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from energylens.energy import cross_entropy
from energylens.training.der import FORMS, bend_in_ball, der
from energylens.training.step import Step

if TYPE_CHECKING:
    from energylens.training.settings import TrainSettings

AAER_LOSS, AAER_LOGITS = 4.0, 1.5


def gradalign(step: Step) -> Tensor:
    """``1 - cos(grad_x L(x), grad_x L(x + eta))``, eta ~ U(-eps, eps), mean over the batch; a double backward (arXiv
    2007.02617, eq. 6)."""
    noisy = step.x + step.eps * step.noise.uniform("gradalign", step.x)
    here, there = (_loss_gradient(step, x) for x in (step.x, noisy))
    return (1 - F.cosine_similarity(here.flatten(1), there.flatten(1), dim=1, eps=1e-12)).mean()


def _loss_gradient(step: Step, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    loss = cross_entropy(step.model(x).float(), step.y).sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    return gradient


def aaer(step: Step) -> Tensor:
    """Abnormal adversarial examples made rare and mild (Lin et al., arXiv 2404.08154). With A the samples whose
    loss the attack lowered, N the others, and x_0 where it began, which hands no gradient back,

        share(A) { a mean_A [CE(x_0) - CE(x*)] + b relu(mean_A |f(x*) - f(x_0)|^2 - mean_N |...|^2) }

    with a = AAER_LOSS, b = AAER_LOGITS as in the authors' code for CIFAR-10. Our reading [R]: the first term has a
    gradient, as in the paper's formula; in that code it has none.
    """
    before = step.logits_start.detach() if step.first_logits is None else step.first_logits
    drop = cross_entropy(before, step.y) - cross_entropy(step.logits_adv, step.y)
    distance = (step.logits_adv - before).square().sum(dim=1)
    lowered = (drop.detach() > 0).float()
    abnormal, normal = _mean_over(distance, lowered), _mean_over(distance.detach(), 1 - lowered)
    return lowered.mean() * (AAER_LOSS * _mean_over(drop, lowered) + AAER_LOGITS * (abnormal - normal).relu())


def _mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the masked, 0 where there are none; without a look at how many, which would wait for the device."""
    return (values * mask).sum() / mask.sum().clamp_min(1)


def elle(step: Step) -> Tensor:
    """Local linearity of the loss, ``(L(x_c) - (1 - a) L(x_a) - a L(x_b))^2``, mean over the batch, with x_a, x_b ~
    U(x - eps, x + eps), a ~ U(0, 1) and x_c = (1 - a) x_a + a x_b (Rocamora et al., arXiv 2401.11618)."""
    return bend_in_ball(cross_entropy, step).mean()


def _usual_alignment(settings: TrainSettings) -> float:
    """The paper's rule .02 * 10^(eps * 255/8), which it gives up to 16/255; held there beyond [R]."""
    return float(0.02 * 10 ** (min(settings.radius * 255, 16) / 8))


@dataclass(frozen=True)
class Regularizer:
    """One row. weight: the weight where none is given."""

    value: Callable[[Step], Tensor]
    weight: Callable[[TrainSettings], float]
    source: str


REGULARIZERS: dict[str, Regularizer] = {
    "der": Regularizer(
        der,
        lambda settings: FORMS[settings.der_form].weight_for(settings.pixels),
        "arXiv 2505.22486, our reconstruction [R]",
    ),
    "gradalign": Regularizer(gradalign, _usual_alignment, "arXiv 2007.02617"),
    "aaer": Regularizer(aaer, lambda settings: 1.0, "arXiv 2404.08154, our reading [R]"),
    "elle": Regularizer(elle, lambda settings: 4000.0, "arXiv 2401.11618; the weight is our reading [R]"),
}
