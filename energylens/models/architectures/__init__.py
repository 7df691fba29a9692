"""Our own architectures: a table name -> builder. Adding one is adding a row."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from energylens.errors import InputError
from energylens.models.architectures.layers import Normalize, normalized
from energylens.models.architectures.residual import cifar_resnet, preactresnet18, resnet4b, resnet18, wide_resnet
from energylens.models.architectures.small_cnn import cifar_smallcnn, digits_cnn, mnist_smallcnn

__all__ = ["ARCHITECTURES", "Architecture", "Normalize", "architecture", "normalized"]


@dataclass(frozen=True)
class Architecture:
    """One row: how to build a network, and where its weights tell how it was built.

    Attributes:
        builder: (num_classes, in_channels[, width]) -> module with random weights.
        stem: the state-dict key of the first convolution's weight, (width, in_channels, k, k).
        head: the state-dict key of the last linear layer's weight, (num_classes, features).
        num_classes: the default number of logits.
        in_channels: the default number of the image's channels.
        width: the default number of the stem's channels; None where it is fixed.
    """

    builder: Callable[..., nn.Module]
    stem: str
    head: str
    num_classes: int = 10
    in_channels: int = 3
    width: int | None = None

    def build(
        self, *, num_classes: int | None = None, in_channels: int | None = None, width: int | None = None
    ) -> nn.Module:
        """The network with random weights.

        Args:
            num_classes: logits; None for the row's default.
            in_channels: channels of the image; None for the row's default.
            width: channels of the stem; None for the row's default, and ignored where the width is fixed.

        Returns:
            The network, in train mode, on the CPU.

        Raises:
            InputError: for a size that is not a positive integer.

        Example:
            >>> net = ARCHITECTURES["resnet20"].build(num_classes=7)
            >>> net.linear.weight.shape
            torch.Size([7, 64])
        """
        given = {"num_classes": num_classes, "in_channels": in_channels, "width": width}
        sizes = {size: getattr(self, size) if given[size] is None else given[size] for size in self.sizes()}
        for size, value in sizes.items():
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{size} is {value!r}, expected a positive integer")
        return self.builder(**sizes)

    def sizes(self) -> tuple[str, ...]:
        """The arguments that `build` uses.

        Returns:
            Their names.
        """
        return ("num_classes", "in_channels") if self.width is None else ("num_classes", "in_channels", "width")

    def settings_of(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        """The arguments of `build` that weights tell by their shapes.

        Args:
            state: tensors by name, as a state dict has them.

        Returns:
            num_classes where the head is there, width and in_channels where the stem is.
        """
        told: dict[str, int] = {}
        if self.stem in state and state[self.stem].dim() == 4:
            told["width"], told["in_channels"] = state[self.stem].shape[:2]
        if self.head in state and state[self.head].dim() == 2:
            told["num_classes"] = state[self.head].shape[0]
        return told


ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": Architecture(resnet18, "conv1.weight", "linear.weight", width=64),
    "preactresnet18": Architecture(preactresnet18, "conv1.weight", "linear.weight", width=64),
    "wrn-28-10": Architecture(partial(wide_resnet, depth=28, widen=10), "conv1.weight", "fc.weight"),
    "wrn-34-10": Architecture(partial(wide_resnet, depth=34, widen=10), "conv1.weight", "fc.weight"),
    **{
        f"resnet{depth}": Architecture(partial(cifar_resnet, depth=depth), "conv1.weight", "linear.weight")
        for depth in (20, 32, 44, 56, 110)
    },
    "resnet4b": Architecture(resnet4b, "conv1.weight", "linear2.weight"),
    "mnist-smallcnn": Architecture(
        mnist_smallcnn, "feature_extractor.conv1.weight", "classifier.fc3.weight", in_channels=1
    ),
    "cifar-smallcnn": Architecture(cifar_smallcnn, "conv1.weight", "fc2.weight"),
    "digits-cnn": Architecture(digits_cnn, "conv1.weight", "fc2.weight", in_channels=1),
}


def architecture(name: str, otherwise: str = "") -> Architecture:
    """The row of that name.

    Args:
        name: as in ARCHITECTURES.
        otherwise: what else than a name of the list would do, for the error.

    Returns:
        The row.

    Raises:
        InputError: for another name, with the close matches and the whole list.
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name.lower(), ARCHITECTURES, n=2)
        meant = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise InputError(f"unknown architecture {name!r}{meant}: one of {', '.join(ARCHITECTURES)}{otherwise}")
    return ARCHITECTURES[name]
