"""The parts several architectures are made of: a named sequence, normalisation as a layer, He's initialisation."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from energylens.errors import InputError


def named(**layers: nn.Module) -> nn.Sequential:
    """A network as its layers in order; the keyword is the layer's key in the state dict.

    Args:
        **layers: by key, in the order in which they are passed.

    Returns:
        The network.
    """
    return nn.Sequential(OrderedDict(layers))


class Normalize(nn.Module):
    """(x - mean) / std per channel, so that the model's input stays an image in [0, 1].

    Args:
        mean: one float a channel, in units of the image in [0, 1].
        std: one positive float a channel, in the same units. Both become buffers: saved and moved, but never trained.

    Raises:
        InputError: where the two differ in length, are empty, or a std is not positive.

    Example:
        >>> Normalize([0.5], [0.25])(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)).flatten().tolist()
        [-2.0, 2.0]
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
        """The images, normalised channel by channel.

        Args:
            x: images, (N, C, H, W), floats in [0, 1].

        Returns:
            (x - mean) / std, (N, C, H, W).
        """
        return (x - self.mean) / self.std


def normalized(module: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None) -> nn.Module:
    """A network behind a Normalize layer (keys `normalize.*`, `model.*`).

    Args:
        module: a network that expects normalised images.
        mean: one float a channel, of images in [0, 1]; None, as std, for a network that normalises itself.
        std: one float a channel, in (0, 1].

    Returns:
        The two in a row; the module itself where mean and std are None.

    Raises:
        InputError: if only one of the two is given, or they are of images in [0, 255].
    """
    if mean is None and std is None:
        return module
    if mean is None or std is None:
        raise InputError(f"mean and std come together, got mean {mean} and std {std}: give both or neither")
    check_range(mean, std)
    return named(normalize=Normalize(mean, std), model=module)


def is_of_unit_images(mean: Sequence[float], std: Sequence[float]) -> bool:
    """Whether these can be the mean and std of images in [0, 1].

    Args:
        mean: a number a channel.
        std: a number a channel.

    Returns:
        False for numbers of images in [0, 255].
    """
    return all(0 <= m <= 1 for m in mean) and all(0 < s <= 1 for s in std)


def check_range(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse a mean and std, given by a user, of images in [0, 255].

    Args:
        mean: a number a channel.
        std: a number a channel.

    Raises:
        InputError: with what mends it.
    """
    if not is_of_unit_images(mean, std):
        raise InputError(f"mean {mean} and std {std} are not of images in [0, 1]: divide them by 255")


def kaiming(module: nn.Module, mode: Literal["fan_in", "fan_out"]) -> nn.Module:
    """The module, with every convolution drawn anew from N(0, 2 / fan) (He et al. 2015, arXiv:1502.01852, eq. 10).

    Args:
        module: changed in place.
        mode: which fan: the weights that lead into a unit, or out of it.

    Returns:
        The module itself.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
    return module
