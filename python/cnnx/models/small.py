"""Small convnets for small images."""

from __future__ import annotations

from .._core import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)

__all__ = ["cifar_net", "small_convnet"]


def small_convnet(
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: tuple[int, int] = (8, 8),
    width: int = 32,
    dropout: float = 0.25,
) -> Sequential:
    """A convnet of 3x3 convolutions with batch normalization that trains in seconds: what ``cnnx train`` uses.

    Two convolutions on the full image, then pooling by 2 and one more convolution for each halving of the shorter side
    down to 4 pixels, the channels doubling up to eight times ``width``; a linear layer reads the scores. Larger images are
    halved once more by the first convolution.

    Args:
        num_classes: length of the score vector.
        in_channels: 1 for grey images, 3 for colour.
        image_size: height and width, at least 4 each.
        width: channels of the first layers.
        dropout: share of features dropped before the scores, while training.

    Shape:
        (N, in_channels, *image_size) to (N, num_classes).

    Example:
        >>> import cnnx
        >>> cnnx.models.small_convnet(3, in_channels=3, image_size=(48, 64))(cnnx.zeros(1, 3, 48, 64)).shape
        (1, 3)
    """
    size = min(image_size)
    if size < 4:
        raise ValueError(
            f"[small_convnet] images must have at least 4 x 4 pixels; got {image_size[0]} x {image_size[1]}."
        )
    layers: list[Module] = []

    def convolution(inputs: int, outputs: int, stride: int = 1) -> None:
        layers.extend([Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), BatchNorm2d(outputs), ReLU()])

    stride = 2 if size >= 64 else 1
    size //= stride
    convolution(in_channels, width, stride)
    convolution(width, width)
    channels = width
    while size >= 8:
        size //= 2
        wider = min(2 * channels, 8 * width)
        layers.append(MaxPool2d(2))
        convolution(channels, wider)
        channels = wider
    layers.extend([AdaptiveAvgPool2d(2), Flatten(), Dropout(dropout), Linear(channels * 4, num_classes)])
    return Sequential(*layers)


def cifar_net(num_classes: int = 10) -> Sequential:
    """A small VGG-like net for 32x32 colour images: [[CONV -> RELU]*2 -> POOL]*2 -> FC -> RELU -> FC.

    Args:
        num_classes: length of the score vector.

    Shape:
        (N, 3, 32, 32) to (N, num_classes).

    Source:
        The layer pattern of CS231n, "Convolutional Neural Networks", section ConvNet Architectures.

    Example:
        >>> import cnnx
        >>> cnnx.models.cifar_net()(cnnx.zeros(1, 3, 32, 32)).shape
        (1, 10)
    """
    layers: list[Module] = []
    channels = 3
    for width in (32, 64):
        for _ in range(2):
            layers.extend([Conv2d(channels, width, 3, padding=1), ReLU()])
            channels = width
        layers.append(MaxPool2d(2))
    return Sequential(*layers, Flatten(), Linear(64 * 8 * 8, 256), ReLU(), Linear(256, num_classes))
