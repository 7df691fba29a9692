"""Float32 that is float32: neither TF32 nor bfloat16 in convolutions and matrix products. And float64 where it is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import torch

#: What torch 2.9 and later keep a precision of, (backend, operation), parents first: where a child has none of its
#: own, its parent's holds. ``generic`` is ``torch.backends.fp32_precision``, ``cuda`` stands for cuDNN and cuBLAS.
KEYS = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"), *product(("cuda", "mkldnn"), ("conv", "rnn", "matmul")))
INHERITED, FULL = "none", "ieee"
HIGHEST = "highest"  # of the older API's matrix products


def widest_float(device: torch.device) -> torch.dtype:
    """The type for sums: float64, or float32 on Apple's GPUs, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions, recurrent layers and matrix products in full float32 inside; the caller's settings afterwards.

    Both of torch's APIs are set, the older (``cudnn.allow_tf32``, ``set_float32_matmul_precision``) and, where this
    torch has it, the newer (``torch.backends.*.fp32_precision``): torch refuses to read the older flags while the two
    contradict each other, and compilers do read them. All other flags (cuDNN's ``enabled``, ``benchmark`` and
    ``deterministic``) are left as they are. The flags are the whole process's: one thread at a time.
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
