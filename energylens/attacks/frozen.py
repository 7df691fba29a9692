"""Hold a model, and the world around it, still while it is attacked."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from energylens.attacks.precision import full_precision

SEEDS = 2**32  # what numpy's generator takes
_ONE_THREAD = threading.RLock()  # random states and backend flags are the whole process's


@contextmanager
def frozen(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Eval mode, no parameter gradients and full float32 inside; all of the caller's afterwards.

    That is: the model's modes, its requires_grad flags and gradients, the global random states of torch (every
    device), numpy and Python, and torch's precision flags. Inside, the random states start from ``seed``, so that a
    model that draws numbers as it runs (random smoothing, say) gives the same record twice; autocast, TF32 and
    inference mode are off, so that energies are float32; cuDNN and its ``benchmark`` and ``deterministic`` are as the
    caller has them. All of this is the whole process's, so a second thread waits here until the first is out.
    """
    with ExitStack() as stack:
        stack.enter_context(_ONE_THREAD)  # before another thread's frozen model is looked at
        modes = [(module, module.training) for module in model.modules()]
        flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
        stack.enter_context(torch.inference_mode(False))
        for device in {"cpu", *(parameter.device.type for parameter, _ in flags)}:
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(full_precision())
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
    """Global random states that start from ``seed`` inside and are the caller's again afterwards. A second thread
    waits until the first is out."""
    with _ONE_THREAD:
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
