"""The weights' moving average."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """An exponential moving average, as torch has it, of all floating-point weights and buffers.

    The others are taken over as they are,

        average <- decay average + (1 - decay) weights,       at first the weights themselves,

    without copying its count to the device at every step, for which a GPU would be waited.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self.decay = decay
        self._begun = False

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the network's present weights.

        Args:
            model: the network that is averaged.
        """
        own, new = (list(chain(network.parameters(), network.buffers())) for network in (self.module, model))
        self._begun = self._begun or bool(self.n_averaged > 0)  # it may have been loaded
        rate = 1 - self.decay if self._begun else 1.0
        pairs: list[tuple[Tensor, Tensor]] = list(zip(own, new, strict=True))
        weights = [(old, value) for old, value in pairs if old.is_floating_point()]
        torch._foreach_lerp_([old for old, _ in weights], [value for _, value in weights], rate)
        for old, value in pairs:
            if not old.is_floating_point():
                old.copy_(value)
        self._begun = True
        self.n_averaged += 1
