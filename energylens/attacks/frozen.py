"""Hold a model still while it is attacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Eval mode and no parameter gradients inside; the caller's modes, flags, gradients and random state after.

    Inside, the global random state starts from ``seed``, so that a model that draws numbers as it runs (random
    smoothing, say) gives the same record twice.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    devices = {parameter.device.index or 0 for parameter, _ in flags if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices)):
        torch.manual_seed(seed)
        try:
            model.eval()
            for parameter, _ in flags:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, required in flags:
                parameter.requires_grad_(required)
