"""The parts several architectures are made of: a named sequence, normalisation as a layer, He's initialisation."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from energylens.errors import InputError


def named(**layers: nn.Module) -> nn.Sequential:
    """A network as its layers in order; the keyword is the layer's key in the state dict."""
    return nn.Sequential(OrderedDict(layers))


class Normalize(nn.Module):
    """(x - mean) / std per channel, so that the model's input stays an image in [0, 1].

    mean, std: one float a channel, in units of the image; buffers, so they are saved and moved but never trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise InputError(
                f"normalisation takes one mean and one positive std a channel, got mean {list(mean)}, std {list(std)}: "
                "for CIFAR-10 for example mean 0.4914 0.4822 0.4465, std 0.2471 0.2435 0.2616"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) float in [0, 1] -> (N, C, H, W)."""
        return (x - self.mean) / self.std


def normalized(module: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None) -> nn.Module:
    """`module` behind a Normalize layer (keys `normalize.*`, `model.*`); `module` itself where both are None.

    Raises InputError if only one of the two is given, or they are of images in [0, 255].
    """
    if mean is None and std is None:
        return module
    if mean is None or std is None:
        raise InputError(f"mean and std come together, got mean {mean} and std {std}: give both or neither")
    check_range(mean, std)
    return named(normalize=Normalize(mean, std), model=module)


def check_range(mean: Sequence[float], std: Sequence[float]) -> None:
    """InputError for a mean and std, given by a user, of images in [0, 255]."""
    if not (all(0 <= m <= 1 for m in mean) and all(0 < s <= 1 for s in std)):
        raise InputError(f"mean {mean} and std {std} are not of images in [0, 1]: divide them by 255")


def kaiming(module: nn.Module, mode: Literal["fan_in", "fan_out"]) -> nn.Module:
    """`module` with every convolution drawn from N(0, 2 / fan) (He et al. 2015, arXiv:1502.01852, eq. 10)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
    return module
