"""What a classifier's last linear layer sees: its penultimate features, and the logits it makes of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from energylens.errors import InputError


@torch.no_grad()
def penultimate(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What goes into a network's last linear layer, and its logits.

    Args:
        model: from images in [0, 1] to logits, a linear layer last.
        x: (N, C, H, W) in [0, 1].

    Returns:
        Features, (N, D), and logits, (N, K), float32.

    Raises:
        InputError: for a model whose logits no linear layer gives.
    """
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.append((inputs[0], output))

    hooks = [part.register_forward_hook(keep) for part in model.modules() if isinstance(part, nn.Linear)]
    try:
        logits = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or seen[-1][1].shape != logits.shape:
        raise InputError(
            f"{type(model).__name__} has no linear layer at its end: penultimate features are not defined for it, "
            "take pixels or logits"
        )
    return seen[-1][0].float(), logits.float()
