"""What the gradient attacks ascend: per-sample losses of the logits, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from energylens.energy import cross_entropy, kl_divergence, marginal_energy


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """``f_y(x) - max_{k != y} f_k(x)``: positive where the label wins.

    Args:
        logits: (N, K).
        labels: (N,).

    Returns:
        The margins, (N,), in logits.

    Example:
        >>> margin(torch.tensor([[-1.0, -3.0, -5.0]]), torch.tensor([2]))
        tensor([-4.])
    """
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own.squeeze(1) - others.amax(dim=1)


def logit_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits ratio ``DLR = -margin / (f_(1) - f_(3))``, f sorted from above; arXiv 2003.01690.

    It does not change when the logits are shifted or scaled.

    Args:
        logits: (N, K), of three classes or more.
        labels: (N,).

    Returns:
        The ratios, (N,), negative where the label wins.

    Example:
        >>> logit_ratio(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([0]))
        tensor([-0.6667])
    """
    first, _, third = logits.topk(3, dim=1).values.unbind(dim=1)
    return -margin(logits, labels) / (first - third + 1e-12)


def targeted_logit_ratio(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The targeted DLR, ``-(f_y - f_t) / (f_(1) - (f_(3) + f_(4)) / 2)``, f sorted from above; arXiv 2003.01690.

    Args:
        logits: (N, K), of four classes or more.
        labels: (N,).
        targets: (N,), other classes.

    Returns:
        The ratios, (N,), positive where the target leads the label.

    Example:
        >>> targeted_logit_ratio(torch.tensor([[3.0, 1.0, 0.0, -2.0]]), torch.tensor([0]), torch.tensor([1]))
        tensor([-0.5000])
    """
    own, aimed = (logits.gather(1, classes[:, None]).squeeze(1) for classes in (labels, targets))
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(dim=1)
    return -(own - aimed) / (first - (third + fourth) / 2 + 1e-12)


def probability_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """``p_y(x) - max_{k != y} p_k(x)``, p the softmax: positive where the label wins.

    MAIL (arXiv 2106.07904) weighs samples by it, PMA (arXiv 2411.15210) lowers it.

    Args:
        logits: (N, K).
        labels: (N,).

    Returns:
        The margins, (N,), in [-1, 1].

    Example:
        >>> probability_margin(torch.tensor([[9.0, 0.0]]), torch.tensor([1]))
        tensor([-0.9998])
    """
    return margin(logits.softmax(dim=1), labels)


@dataclass(frozen=True)
class Aim:
    """Where the labelled part of a loss pulls.

    Attributes:
        labels: (N,).
        sign: +1 away from the labels, -1, targeted, towards them.
    """

    labels: Tensor
    sign: int

    @classmethod
    def of(cls, y: Tensor, target: Tensor | None) -> Aim:
        """Towards the targets where there are any, else away from the labels.

        Args:
            y: the labels, (N,).
            target: the classes to reach, (N,), or None for an attack that is not targeted.

        Returns:
            The aim of these N samples.
        """
        return cls(y, +1) if target is None else cls(target, -1)

    def take(self, rows: Tensor) -> Aim:
        """The same for some of the samples.

        Args:
            rows: their positions, (M,) int64, or a mask, (N,).

        Returns:
            The aim of those.
        """
        return Aim(self.labels[rows], self.sign)

    def away(self, loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
        """A loss that grows as the label loses, turned to where this aim wants it.

        Args:
            loss: (logits (N, K), labels (N,)) -> (N,).
            logits: (N, K).

        Returns:
            What to ascend, (N,).
        """
        return self.sign * loss(logits, self.labels)

    def reached(self, logits: Tensor) -> Tensor:
        """Mask of the samples for which the attack has succeeded.

        Args:
            logits: (N, K).

        Returns:
            Bool, (N,).
        """
        hit = logits.argmax(dim=1) == self.labels
        return hit if self.sign < 0 else ~hit


@dataclass(frozen=True)
class Loss:
    """A loss a sample to ascend.

    Attributes:
        of: (logits (N, K), aim, clean logits (N, K) or None, gamma) -> (N,).
        targeted: it can be turned towards a target; one that cannot looks at no label.
        needs_reference: it looks at the clean logits, which are computed for it alone.
        min_classes: classes that it needs.
        seeks_error: it asks for a wrong label and nothing else, so that more steps do not do worse.
        weighted: it has a use for gamma.
    """

    of: Callable[[Tensor, Aim, Any, float], Tensor]
    targeted: bool = True
    needs_reference: bool = False
    min_classes: int = 2
    seeks_error: bool = True
    weighted: bool = False


def _kl(logits: Tensor, aim: Aim, reference: Tensor, gamma: float) -> Tensor:
    return kl_divergence(reference, logits)


LOSSES: dict[str, Loss] = {
    "ce": Loss(lambda logits, aim, reference, gamma: aim.away(cross_entropy, logits)),
    "margin": Loss(lambda logits, aim, reference, gamma: -aim.away(margin, logits)),  # arXiv 1608.04644
    "dlr": Loss(lambda logits, aim, reference, gamma: aim.away(logit_ratio, logits), min_classes=3),
    "pma": Loss(lambda logits, aim, reference, gamma: -aim.away(probability_margin, logits)),  # arXiv 2411.15210
    # KL(p(.|x) || p(.|x')), arXiv 1901.08573
    "kl": Loss(_kl, targeted=False, needs_reference=True, seeks_error=False),
    "high-energy": Loss(  # CE + gamma E(x'), arXiv 2304.04033
        lambda logits, aim, reference, gamma: aim.away(cross_entropy, logits) + gamma * marginal_energy(logits),
        seeks_error=False,
        weighted=True,
    ),
}
