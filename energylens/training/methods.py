"""The training methods as a table: what makes the images adversarial, and the loss of a step.

The attacks are rows of ``attacks/registry.py``, the same that evaluations run; training makes 10 steps where those make
20.

Words: CE(x, y) = E(x, y) - E(x); KL(x, x*) = KL(p(.|x) || p(.|x*)), in energies (arXiv 2407.06315, section 3); every
loss is a mean over the batch, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from energylens.attacks.ascent import Ascent
from energylens.attacks.losses import probability_margin
from energylens.attacks.registry import ascent_of
from energylens.energy import cross_entropy, kl_divergence, marginal_energy
from energylens.training.step import Step

MAIL_SLOPE, MAIL_SHIFT = 2.0, 0.0


def natural(step: Step) -> Tensor:
    """``CE(x, y)``.

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The loss, a scalar, mean over the batch.
    """
    return cross_entropy(step.logits, step.y).mean()


def adversarial(step: Step) -> Tensor:
    """``CE(x*, y)`` (arXiv 1706.06083).

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The loss, a scalar, mean over the batch.
    """
    return cross_entropy(step.logits_adv, step.y).mean()


def trades(step: Step) -> Tensor:
    """``CE(x, y) + beta KL(x, x*)`` (arXiv 1901.08573).

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The loss, a scalar, mean over the batch.
    """
    return (cross_entropy(step.logits, step.y) + _pull(step)).mean()


def mart(step: Step) -> Tensor:
    """``CE(x*, y) - log(1 - max_{k != y} p_k(x*)) + beta KL(x, x*) (1 - p_y(x))``.

    MART (Wang et al., ICLR 2020, openreview rklOg6EFwS).

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The loss, a scalar, mean over the batch.
    """
    doubt = 1 - torch.exp(-cross_entropy(step.logits, step.y))
    return (cross_entropy(step.logits_adv, step.y) + rival_loss(step.logits_adv, step.y) + _pull(step) * doubt).mean()


def rival_loss(logits: Tensor, y: Tensor) -> Tensor:
    """``-log(1 - max_{k != y} p_k)``, on log-probabilities, so that nothing cancels.

    Args:
        logits: (N, K).
        y: labels, (N,).

    Returns:
        In nats, (N,).
    """
    rival = logits.scatter(1, y[:, None], -torch.inf).argmax(dim=1, keepdim=True)
    return marginal_energy(logits.scatter(1, rival, -torch.inf)) - marginal_energy(logits)


def mail_trades(step: Step) -> Tensor:
    """``CE(x, y) + beta w KL(x, x*)`` with ``w = sigmoid(-slope (PM - shift))``, scaled to a mean of 1.

    PM is the margin ``p_y(x*) - max_{k != y} p_k(x*)`` (arXiv 2106.07904). Beta 5 is its code's [A]. Our reading [R]:
    slope 2, shift 0, a mean of 1, from the first epoch on; its code has slope 1, bias -1.5, weights x 3 and a start at
    epoch 75 of 120.

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The loss, a scalar, mean over the batch.
    """
    w = torch.sigmoid(-MAIL_SLOPE * (probability_margin(step.logits_adv.detach(), step.y) - MAIL_SHIFT))
    return (cross_entropy(step.logits, step.y) + w / w.mean() * _pull(step)).mean()


def weat_natural(step: Step) -> Tensor:
    """``w(x) {CE(x, y) + beta KL(x, x*)}`` (arXiv 2407.06315, section 3.3).

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The loss, a scalar, mean over the batch.
    """
    return (weat_weight(step.logits) * (cross_entropy(step.logits, step.y) + _pull(step))).mean()


def weat_adversarial(step: Step) -> Tensor:
    """``w(x) {CE(x*, y) + beta KL(x, x*)}`` (arXiv 2407.06315, section 3.3).

    Args:
        step: of N samples, whose logits are computed as they are asked for.

    Returns:
        The loss, a scalar, mean over the batch.
    """
    return (weat_weight(step.logits) * (cross_entropy(step.logits_adv, step.y) + _pull(step))).mean()


def weat_weight(logits: Tensor) -> Tensor:
    """WEAT's weight of a sample, ``w(x) = 1 / log(1 + exp |E(x)|)`` (arXiv 2407.06315, section 3.3).

    Args:
        logits: of natural images, (N, K).

    Returns:
        Weights, (N,), in [0, 1 / log 2], without a graph; always finite.

    Example:
        >>> weat_weight(torch.tensor([[0.0, -torch.inf], [11.47, -torch.inf]]))
        tensor([1.4427, 0.0872])
    """
    return 1 / F.softplus(marginal_energy(logits.detach()).abs())


def _pull(step: Step) -> Tensor:
    assert step.terms.beta is not None
    return step.terms.beta * kl_divergence(step.logits, step.logits_adv)


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        attack: its eps is filled in later.
        attack_mode: of batch norm inside the attack, as the source has it.
        beta: of the KL term, None without one.
        replays: times a batch is used in free training, else None.
        steppable: whether the number of its steps is the user's.
    """

    loss: Callable[[Step], Tensor]
    attack: Ascent
    source: str
    attack_mode: str = "train"
    beta: float | None = None
    replays: int | None = None
    adversarial: bool = True
    steppable: bool = False


_KL = ascent_of("trades", steps=10)

METHODS: dict[str, Method] = {
    "standard": Method(natural, Ascent(math.nan, steps=0), "no attack", adversarial=False),
    "fgsm": Method(adversarial, ascent_of("fgsm"), "arXiv 1412.6572"),
    "rs-fgsm": Method(adversarial, ascent_of("rs-fgsm"), "arXiv 2001.03994"),
    "n-fgsm": Method(adversarial, ascent_of("n-fgsm"), "arXiv 2202.01181"),
    "free": Method(adversarial, ascent_of("fgsm"), "arXiv 1904.12843", replays=8),
    "pgd": Method(adversarial, ascent_of("pgd", steps=10), "arXiv 1706.06083; 2002.11569", steppable=True),
    "trades": Method(trades, _KL, "arXiv 1901.08573", "eval", beta=6.0, steppable=True),
    # from TRADES' start, up the cross-entropy
    "mart": Method(
        mart, ascent_of("trades", steps=10, loss="ce"), "openreview rklOg6EFwS", "eval", beta=5.0, steppable=True
    ),
    "mail-trades": Method(mail_trades, _KL, "arXiv 2106.07904", "eval", beta=5.0, steppable=True),
    "weat-nat": Method(weat_natural, _KL, "arXiv 2407.06315", "eval", beta=6.0, steppable=True),
    # of its 6 to 7; its authors' code has 7
    "weat-adv": Method(weat_adversarial, _KL, "arXiv 2407.06315: beta 6", "eval", beta=6.0, steppable=True),
}
