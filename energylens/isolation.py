"""Keep a model and the global state unchanged while it is attacked.

Kept are its mode, its gradients, the random states, and float32 that is float32, neither TF32 nor bfloat16 in
convolutions and matrix products.
"""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product

import numpy as np
import torch
from torch import nn

SEEDS = 2**32  # what numpy's generator takes
_ONE_THREAD = threading.RLock()  # random states and backend flags are the whole process's


@contextmanager
def frozen(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Eval mode, no parameter gradients and full float32 inside; everything is as the caller had it afterwards.

    That holds after an exception, too.

    Inside, the random states start from ``seed``, so that a model that draws random numbers (random smoothing, say)
    gives the same record twice. Autocast, TF32 and inference mode are off, so that energies are float32. cuDNN's
    ``enabled``, ``benchmark`` and ``deterministic`` are as the caller has them.

    Restored are the model's modes, its requires_grad flags and gradients, the global random states of torch (every
    device), numpy and Python, and torch's precision flags. All of this belongs to the whole process, so a second thread
    waits here until the first is out.

    Args:
        model: any module.
        seed: where the random states start.

    Yields:
        Nothing.
    """
    with ExitStack() as stack:
        stack.enter_context(_ONE_THREAD)  # before another thread's frozen model is looked at
        modes = [(module, module.training) for module in model.modules()]
        kept = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
        stack.enter_context(torch.inference_mode(False))
        for device in {"cpu", *(parameter.device.type for parameter, *_ in kept)}:
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(full_precision())
        stack.enter_context(random_state(seed))
        try:
            model.eval()
            for parameter, *_ in kept:
                parameter.requires_grad_(False)
                parameter.grad = None  # so that nothing is added to the caller's
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, required, gradient in kept:
                parameter.requires_grad_(required)
                parameter.grad = gradient


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Global random states of torch, numpy and Python that are the caller's again afterwards.

    A second thread waits until the first is out.

    Args:
        seed: where they start inside, 0 or more; numpy takes it modulo 2^32.

    Yields:
        Nothing.
    """
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


#: What torch 2.9 and later keep a precision of, (backend, operation), parents first: where a child has none of its
#: own, its parent's holds. ``generic`` is ``torch.backends.fp32_precision``, ``cuda`` stands for cuDNN and cuBLAS.
KEYS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"), *product(("cuda", "mkldnn"), ("conv", "rnn", "matmul")))
INHERITED, FULL = "none", "ieee"
HIGHEST = "highest"  # of the older API's matrix products


def widest_float(device: torch.device) -> torch.dtype:
    """The type for sums.

    Args:
        device: where the sum is made.

    Returns:
        float64, or float32 on Apple's GPUs, which have no other.
    """
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions, recurrent layers and matrix products in full float32 inside; the caller's settings afterwards.

    Both of torch's APIs are set, the older (``cudnn.allow_tf32``, ``set_float32_matmul_precision``) and, where this
    torch has it, the newer (``torch.backends.*.fp32_precision``): torch refuses to read the older flags while the two
    contradict each other, and compilers do read them. All other flags (cuDNN's ``enabled``, ``benchmark`` and
    ``deterministic``) are left as they are. The flags are the whole process's: one thread at a time.

    Yields:
        Nothing.
    """
    with _unwarned():
        own = _take_precisions()
        older = _cudnn_tf32(), torch.get_float32_matmul_precision()
    try:
        with _unwarned():
            _set_older(False, HIGHEST)
            _set_precisions(dict.fromkeys(own, FULL))
        yield
    finally:
        with _unwarned():
            _set_older(*older)  # this writes some of the newer settings too: before those
            _set_precisions(own)


def _take_precisions() -> dict[tuple[str, str], str]:
    """Every setting of the newer API, which is INHERITED afterwards; none where torch does not have it.

    A parent is cleared before its children are read: torch answers with the parent's where a child has none.
    """
    if not hasattr(torch._C, "_get_fp32_precision_getter"):
        return {}
    own = {}
    for key in KEYS:
        own[key] = torch._C._get_fp32_precision_getter(*key)
        torch._C._set_fp32_precision_setter(*key, INHERITED)
    return own


def _set_precisions(values: dict[tuple[str, str], str]) -> None:
    """Set these of the newer API. ``torch.backends.mkldnn.fp32_precision = ...`` would set the generic one."""
    for key, value in values.items():
        torch._C._set_fp32_precision_setter(*key, value)


def _cudnn_tf32() -> bool:
    """The older API's flag, the newer ones being cleared: torch raises where it contradicts them, being True."""
    try:
        return bool(torch.backends.cudnn.allow_tf32)
    except RuntimeError:
        return True


def _set_older(cudnn_tf32: bool, matmul: str) -> None:
    torch.backends.cudnn.allow_tf32 = cudnn_tf32
    torch.set_float32_matmul_precision(matmul)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Without torch's advice to a user of the older API."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
