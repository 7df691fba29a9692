"""Adversarial weight perturbation (arXiv 2004.05884)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def perturbed_weights(network: nn.Module, loss: Callable[[], Tensor], gamma: float) -> Iterator[None]:
    """Inside, every weight tensor of two dimensions or more is ``w + gamma |w| g / |g|``, g the gradient of the loss.

    Afterwards each is bit for bit what it was, its gradient left as the block made it.

    Of several processes each goes along the gradient of its own share of the batch.

    Args:
        network: whose weights are moved.
        loss: () -> scalar at the present weights.
        gamma: .01 for CE, .005 for TRADES in the paper; 0 does nothing.

    Yields:
        Nothing.
    """
    if not gamma:
        yield
        return
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1 and parameter.requires_grad]
    gradients = torch.autograd.grad(loss(), weights)
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.add_(gradient * (gamma * weight.norm() / gradient.norm().clamp_min(1e-12)))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
