"""A classifier's logits are energies: the pure functions everything else stands on.

With logits ``f(x)`` in R^K,

    E(x, y) = -f(x)[y]                    joint energy
    E(x)    = -logsumexp_k f(x)[k]        marginal energy
    dE      = E(natural) - E(adversarial) signed; > 0 means the adversarial has the LOWER energy

All functions take float logits of shape (N, K) and integer labels of shape (N,), return one value a sample,
shape (N,), in nats, and are differentiable in the logits. Source: arXiv 2407.06315, section 3; 1912.03263.
"""

from __future__ import annotations

import torch
from torch import Tensor


def joint_energy(logits: Tensor, y: Tensor) -> Tensor:
    """Joint energy ``E(x, y) = -f(x)[y]``.

    Args:
        logits: f(x), (N, K).
        y: labels, (N,) integers in [0, K).

    Returns:
        E(x, y), (N,), in nats.

    Example:
        >>> joint_energy(torch.tensor([[2.0, -1.0]]), torch.tensor([1]))
        tensor([1.])
    """
    return -logits.gather(1, y[:, None]).squeeze(1)


def marginal_energy(logits: Tensor) -> Tensor:
    """Marginal energy ``E(x) = -logsumexp_k f(x)[k]``, finite for logits of any finite size.

    Args:
        logits: f(x), (N, K).

    Returns:
        E(x), (N,), in nats.

    Example:
        >>> marginal_energy(torch.tensor([[0.0, 0.0], [1e4, -1e4]]))
        tensor([-6.9315e-01, -1.0000e+04])
    """
    return -torch.logsumexp(logits, dim=1)


def delta_energy(natural: Tensor, adversarial: Tensor) -> Tensor:
    """``dE = E(natural) - E(adversarial)`` for two tensors of the same kind of energy.

    Positive where the adversarial has the lower energy, that is, where the model finds it "more likely".

    Args:
        natural: energies of the natural images, (N,), in nats.
        adversarial: the same of the adversarial images, (N,).

    Returns:
        dE, (N,), in nats.

    Example:
        >>> delta_energy(torch.tensor([-14.5]), torch.tensor([-28.0]))
        tensor([13.5000])
    """
    return natural - adversarial


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy as a difference of energies, ``CE(x, y) = E(x, y) - E(x) >= 0``.

    The label's logit is taken out before the exponentials are summed, ``logsumexp_k (f_k - f_y)``: the same
    difference, but nothing cancels when the logits are large.

    Args:
        logits: f(x), (N, K).
        y: labels, (N,) integers in [0, K).

    Returns:
        The cross-entropy of each sample, (N,), in nats.

    Example:
        >>> cross_entropy(torch.tensor([[1e4, 1e4]]), torch.tensor([0]))
        tensor([0.6931])
    """
    return torch.logsumexp(logits - logits.gather(1, y[:, None]), dim=1)


def kl_terms(logits: Tensor, logits_adv: Tensor) -> tuple[Tensor, Tensor]:
    """The two parts of ``KL(p(.|x) || p(.|x*))`` in energies (arXiv 2407.06315, section 3.2).

        conditional = E_{k ~ p(.|x)} [ E(x*, k) - E(x, k) ]
        marginal    = E(x) - E(x*) = dE(x)

    Args:
        logits: of the natural images x, (N, K).
        logits_adv: of the adversarial images x*, (N, K).

    Returns:
        ``(conditional, marginal)``, (N,) each, in nats; their sum is the divergence.

    Example:
        >>> kl_terms(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
        (tensor([-1.]), tensor([1.]))
    """
    probabilities = torch.softmax(logits, dim=1)
    conditional = (probabilities * (logits - logits_adv)).sum(dim=1)
    return conditional, delta_energy(marginal_energy(logits), marginal_energy(logits_adv))


def kl_divergence(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """``KL(p(.|x) || p(.|x*)) = conditional + marginal``, from log-probabilities.

    The sum over log-probabilities does not cancel for large logits.

    Args:
        logits: of the natural images x, (N, K).
        logits_adv: of the adversarial images x*, (N, K).

    Returns:
        The divergence, (N,), in nats.

    Example:
        >>> kl_divergence(torch.tensor([[1e4, 1e4]]), torch.tensor([[0.0, 0.0]]))
        tensor([0.])
    """
    log_p = torch.log_softmax(logits, dim=1)
    log_q = torch.log_softmax(logits_adv, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def abnormal(logits: Tensor, logits_adv: Tensor, y: Tensor) -> Tensor:
    """Mask of abnormal adversarial examples (AAE): the attack LOWERED the loss (arXiv 2404.08154).

        CE(x*, y) < CE(x, y)   <=>   dE(x, y) > dE(x)

    Args:
        logits: of the natural images x, (N, K).
        logits_adv: of the adversarial images x*, (N, K).
        y: labels, (N,) integers in [0, K).

    Returns:
        The mask, (N,) bool.

    Example:
        >>> natural, adversarial = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
        >>> abnormal(natural, adversarial, torch.tensor([0])), abnormal(natural, adversarial, torch.tensor([1]))
        (tensor([True]), tensor([False]))
    """
    return cross_entropy(logits_adv, y) < cross_entropy(logits, y)
