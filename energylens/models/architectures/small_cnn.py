"""Plain convolutional networks for digits and small photographs."""

from torch import nn

from energylens.models.architectures.layers import named


def mnist_smallcnn(num_classes: int, in_channels: int) -> nn.Module:
    """TRADES' SmallCNN for 28x28 digits (Zhang et al. 2019, arXiv:1901.08573), without its dropout.

    The dropout layer has no parameters and does nothing in eval mode; the checkpoint's keys are unchanged.

    Args:
        num_classes: logits.
        in_channels: channels of the image.

    Returns:
        The network with random weights.
    """
    return named(
        feature_extractor=named(
            conv1=nn.Conv2d(in_channels, 32, 3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 32, 3),
            relu2=nn.ReLU(),
            maxpool1=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 64, 3),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(64, 64, 3),
            relu4=nn.ReLU(),
            maxpool2=nn.MaxPool2d(2),
        ),
        flatten=nn.Flatten(),
        classifier=named(
            fc1=nn.Linear(64 * 4 * 4, 200),
            relu1=nn.ReLU(),
            fc2=nn.Linear(200, 200),
            relu2=nn.ReLU(),
            fc3=nn.Linear(200, num_classes),
        ),
    )


def digits_cnn(num_classes: int, in_channels: int) -> nn.Module:
    """Three convolutions and two linear layers for scikit-learn's 8x8 digits; no batch norm.

    Args:
        num_classes: logits.
        in_channels: channels of the image.

    Returns:
        The network with random weights.
    """
    return named(
        conv1=nn.Conv2d(in_channels, 16, 3, padding=1),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(16, 32, 3, padding=1),
        relu2=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        conv3=nn.Conv2d(32, 32, 3, padding=1),
        relu3=nn.ReLU(),
        flatten=nn.Flatten(),
        fc1=nn.Linear(32 * 4 * 4, 64),
        relu4=nn.ReLU(),
        fc2=nn.Linear(64, num_classes),
    )


def cifar_smallcnn(num_classes: int, in_channels: int) -> nn.Module:
    """Three narrow convolutions and two linear layers for 32x32 images; no batch norm.

    Small enough to overfit catastrophically within a minute on one CPU core.

    Args:
        num_classes: logits.
        in_channels: channels of the image.

    Returns:
        The network with random weights.
    """
    return named(
        conv1=nn.Conv2d(in_channels, 8, 3, padding=1),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(8, 16, 3, stride=2, padding=1),
        relu2=nn.ReLU(),
        conv3=nn.Conv2d(16, 32, 3, stride=2, padding=1),
        relu3=nn.ReLU(),
        flatten=nn.Flatten(),
        fc1=nn.Linear(32 * 8 * 8, 128),
        relu4=nn.ReLU(),
        fc2=nn.Linear(128, num_classes),
    )
