"""Hold a model, and the world around it, still while it is attacked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

SEEDS = 2**32  # what numpy's generator takes


@contextmanager
def frozen(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Eval mode, no parameter gradients and full float32 inside; all of the caller's afterwards.

    That is: the model's modes, its requires_grad flags and gradients, and the global random states of torch (every
    device), numpy and Python. Inside, the random states start from ``seed``, so that a model that draws numbers as it
    runs (random smoothing, say) gives the same record twice; autocast, TF32 and inference mode are off, so that
    energies are float32.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for device in {"cpu", *(parameter.device.type for parameter, _ in flags)}:
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.backends.cudnn.flags(allow_tf32=False))
        stack.enter_context(random_state(seed))
        try:
            model.eval()
            for parameter, _ in flags:
                parameter.requires_grad_(False)
                parameter.grad = None  # so that nothing is added to the caller's
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, required in flags:
                parameter.requires_grad_(required)
            for parameter, gradient in gradients:
                parameter.grad = gradient


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Global random states that start from ``seed`` inside and are the caller's again afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            np.random.seed(seed % SEEDS)
            random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
