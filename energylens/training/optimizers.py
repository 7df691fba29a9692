"""The optimisers, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

Build = Callable[[Iterable[nn.Parameter], float, float, float], Optimizer]


def _sgd(parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> Optimizer:
    return SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay)


def _adaptive(kind: Any) -> Build:
    def build(parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> Optimizer:
        optimizer: Optimizer = kind(parameters, lr, betas=(momentum, 0.999), weight_decay=weight_decay)
        return optimizer

    return build


#: (parameters, lr, momentum, weight_decay) -> Optimizer; Adam's momentum is its first beta
OPTIMIZERS: dict[str, Build] = {"sgd": _sgd, "adam": _adaptive(Adam), "adamw": _adaptive(AdamW)}


def set_rate(optimizer: Optimizer, lr: float, momentum: float | None) -> None:
    """Learning rate and, where the schedule cycles it, momentum for the next step.

    Args:
        optimizer: changed in place.
        lr: of every group.
        momentum: SGD's, or Adam's first beta; None leaves it as it is.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
        if momentum is not None and "momentum" in group:
            group["momentum"] = momentum
        elif momentum is not None:
            group["betas"] = (momentum, group["betas"][1])
