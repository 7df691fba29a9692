"""Residual networks for small images: post-activation (ResNet), pre-activation, and wide.

A network is a named sequence of a stem, stages of blocks, pooling and a head. The names are the state-dict keys of the
public checkpoints, so that those load without translation. Every builder takes num_classes (logits) and in_channels (of
the image), and returns a module with random weights: images (N, in_channels, H, W) -> logits (N, num_classes).
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from energylens.models.architectures.layers import kaiming, named

Block = Callable[[int, int, int], nn.Module]  # (input channels, output channels, stride) -> a part of a network


def conv3x3(inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size at stride 1 and halves it at stride 2.

    Args:
        inputs: channels before it.
        outputs: channels behind it.
        stride: 1 or 2.
        bias: whether it has one.

    Returns:
        The layer with random weights.
    """
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


def stage(block: Block, count: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Blocks in a row; the first one changes the width and the resolution.

    Args:
        block: what the stage is made of.
        count: how many.
        inputs: channels before the stage.
        outputs: channels of every block's result.
        stride: of the first block.

    Returns:
        The blocks as one module, whose keys are 0, 1, ...
    """
    rest = [block(outputs, outputs, 1) for _ in range(count - 1)]
    return nn.Sequential(block(inputs, outputs, stride), *rest)


def stages(block: Block, count: int, widths: Sequence[int]) -> dict[str, nn.Module]:
    """`layer1`, `layer2`, ...: stages that each halve the resolution, except for the first.

    Args:
        block: what a stage is made of.
        count: blocks a stage.
        widths: the channels of the stem, then those of each stage.

    Returns:
        The stages by key.
    """
    return {
        f"layer{k}": stage(block, count, inputs, outputs, stride=1 if k == 1 else 2)
        for k, (inputs, outputs) in enumerate(pairwise(widths), start=1)
    }


def pooled(**head: nn.Module) -> dict[str, nn.Module]:
    """The mean over the image, flattened, then the head.

    Args:
        **head: what follows, by key.

    Returns:
        The layers by key, in their order.
    """
    return {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), **head}


class PadShortcut(nn.Module):
    """Option A: every second pixel, missing channels zero on both sides; no parameters (arXiv:1512.03385, sec. 3.3)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Every stride-th pixel, with channels of zeros.

        Args:
            x: features, (N, inputs, H, W).

        Returns:
            Features, (N, outputs, H / stride, W / stride).
        """
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))


def normed_projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Option B: a 1x1 convolution with batch norm (keys `shortcut.0`, `shortcut.1`).

    Args:
        inputs: channels before it.
        outputs: channels behind it.
        stride: 1 or 2.

    Returns:
        The shortcut.
    """
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def plain_projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A 1x1 convolution with a bias, for networks without batch norm (key `shortcut.0`).

    Args:
        inputs: channels before it.
        outputs: channels behind it.
        stride: 1 or 2.

    Returns:
        The shortcut.
    """
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride))


class PostActBlock(nn.Module):
    """relu(conv-bn-relu-conv-bn(x) + shortcut(x)) (He et al. 2016, arXiv:1512.03385, fig. 2).

    Args:
        inputs: channels of x.
        outputs: channels of the result.
        stride: of the first convolution.
        shortcut: builds the path round the block where width or resolution change.
        norm: whether there is batch norm; without it the convolutions carry a bias instead.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, shortcut: Block, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride, bias=not norm)
        self.bn1 = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.conv2 = conv3x3(outputs, outputs, bias=not norm)
        self.bn2 = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        changes = stride != 1 or inputs != outputs
        self.shortcut = shortcut(inputs, outputs, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The block's features.

        Args:
            x: features, (N, inputs, H, W).

        Returns:
            Features, (N, outputs, H / stride, W / stride).
        """
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class PreActBlock(nn.Module):
    """x + conv-relu-bn twice, activation first (He et al. 2016, arXiv:1603.05027, fig. 1b).

    Where width or resolution change, the projection reads the activated input, as in the public adversarial-training
    code, and takes the place of x.

    Args:
        inputs: channels of x.
        outputs: channels of the result.
        stride: of the first convolution.
        projection_key: `shortcut.0` (pre-activation ResNets) or `convShortcut` (TRADES' WideResNet).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, projection_key: str = "shortcut.0") -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.changes = stride != 1 or inputs != outputs
        self.projection_name, _, inner = projection_key.partition(".")
        if self.changes:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.add_module(self.projection_name, nn.Sequential(projection) if inner else projection)

    def forward(self, x: Tensor) -> Tensor:
        """The block's features.

        Args:
            x: features, (N, inputs, H, W).

        Returns:
            Features, (N, outputs, H / stride, W / stride).
        """
        active = F.relu(self.bn1(x))
        skip = self.get_submodule(self.projection_name)(active) if self.changes else x
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active)))) + skip
        return out


def resnet18(num_classes: int, in_channels: int, width: int) -> nn.Module:
    """ResNet-18 with a 3x3 stem for 32x32 images (keys as in AutoAttack's `model_test.pt`).

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        width: channels of the stem; the stages have once, twice, four and eight times as many.

    Returns:
        The network with random weights.
    """
    block = partial(PostActBlock, shortcut=normed_projection)
    return named(
        conv1=conv3x3(in_channels, width),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(),
        **stages(block, 2, (width, width, 2 * width, 4 * width, 8 * width)),
        **pooled(linear=nn.Linear(8 * width, num_classes)),
    )


def preactresnet18(num_classes: int, in_channels: int, width: int) -> nn.Module:
    """Pre-activation ResNet-18 with a last batch norm (keys as in Rice et al. 2020, arXiv:2002.11569).

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        width: channels of the stem; the stages have once, twice, four and eight times as many.

    Returns:
        The network with random weights.
    """
    return named(
        conv1=conv3x3(in_channels, width),
        **stages(PreActBlock, 2, (width, width, 2 * width, 4 * width, 8 * width)),
        bn=nn.BatchNorm2d(8 * width),
        relu=nn.ReLU(),
        **pooled(linear=nn.Linear(8 * width, num_classes)),
    )


def cifar_resnet(num_classes: int, in_channels: int, *, depth: int) -> nn.Module:
    """He et al.'s CIFAR ResNet with option-A shortcuts (arXiv:1512.03385, sec. 4.2; akamaster's keys).

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        depth: 6 n + 2 for n blocks in each of the three stages.

    Returns:
        The network with random weights.
    """
    net = named(
        conv1=conv3x3(in_channels, 16),
        bn1=nn.BatchNorm2d(16),
        relu=nn.ReLU(),
        **stages(partial(PostActBlock, shortcut=PadShortcut), (depth - 2) // 6, (16, 16, 32, 64)),
        **pooled(linear=nn.Linear(64, num_classes)),
    )
    return kaiming(net, "fan_in")


def resnet4b(num_classes: int, in_channels: int) -> nn.Module:
    """Four blocks without batch norm for 32x32 images, small enough for formal verification (alpha-beta-CROWN's).

    Args:
        num_classes: logits.
        in_channels: channels of the image.

    Returns:
        The network with random weights.
    """
    block = partial(PostActBlock, shortcut=plain_projection, norm=False)
    return named(
        conv1=conv3x3(in_channels, 16, 2, bias=True),
        relu=nn.ReLU(),
        layer1=stage(block, 2, 16, 32, 2),
        layer2=stage(block, 2, 32, 32, 2),
        flatten=nn.Flatten(),
        linear1=nn.Linear(512, 100),
        relu1=nn.ReLU(),
        linear2=nn.Linear(100, num_classes),
    )


def wide_resnet(num_classes: int, in_channels: int, *, depth: int, widen: int) -> nn.Module:
    """WRN-depth-widen (Zagoruyko and Komodakis 2016, arXiv:1605.07146; TRADES' and RobustBench's keys).

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        depth: 6 n + 4 for n blocks in each of the three stages.
        widen: the factor on their channels.

    Returns:
        The network with random weights.
    """
    block = partial(PreActBlock, projection_key="convShortcut")
    head = nn.Linear(64 * widen, num_classes)
    nn.init.zeros_(head.bias)
    stem = conv3x3(in_channels, 16)
    parts = stages(block, (depth - 4) // 6, (16, 16 * widen, 32 * widen, 64 * widen))
    net = named(
        conv1=stem,
        **{name.replace("layer", "block"): named(layer=part) for name, part in parts.items()},
        bn1=nn.BatchNorm2d(64 * widen),
        relu=nn.ReLU(),
        **pooled(fc=head),
    )
    return kaiming(net, "fan_out")
