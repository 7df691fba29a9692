"""How much of what the machine can do is done: floating point operations a second beside the best matrix product's."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

SIZE, REPEATS = 2048, 12  # of the matrices


def best_products(device: torch.device) -> tuple[float, float]:
    """What the machine can do, in float32 and in bfloat16."""
    return _best_product(torch.float32, device), _best_product(torch.bfloat16, device)


def _best_product(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of the quickest of REPEATS products of two square matrices."""
    a, b = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * SIZE**3 / min(seconds)


@torch.no_grad()
def forward_operations(model: nn.Module, x: Tensor) -> int:
    """FLOPs of a forward's convolutions and matrix products, as torch counts them (a multiply-add is two). The gradient
    of the input takes as many again, and so does that of the weights."""
    with FlopCounterMode(display=False) as counter:
        model(x)
    total: int = counter.get_total_flops()
    return total
