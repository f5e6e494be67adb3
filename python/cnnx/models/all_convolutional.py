"""A net without pooling and without linear layers."""

from __future__ import annotations

from .._core import AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, Module, ReLU, Sequential

__all__ = ["all_convolutional"]


def all_convolutional(num_classes: int = 10, in_channels: int = 3, dropout: float = 0.5) -> Sequential:
    """All-CNN-C: strided convolutions in place of pooling, 1x1 convolutions and an average in place of linear layers.

    Args:
        num_classes: length of the score vector.
        in_channels: channels of the images.
        dropout: share of values dropped behind each strided convolution, while training.

    Shape:
        (N, in_channels, H, W) to (N, num_classes), for images of 9 x 9 and more; made for 32 x 32.

    Source:
        Springenberg, Dosovitskiy, Brox and Riedmiller, "Striving for Simplicity: The All Convolutional Net" (2014).

    Example:
        >>> import cnnx
        >>> sum(p.numel() for p in cnnx.models.all_convolutional().parameters())
        1369738
    """
    layers: list[Module] = []
    channels = in_channels
    for width in (96, 192):
        for stride in (1, 1, 2):
            layers.extend([Conv2d(channels, width, 3, stride=stride, padding=1), ReLU()])
            channels = width
        layers.append(Dropout(dropout))
    layers.extend([Conv2d(channels, 192, 3), ReLU(), Conv2d(192, 192, 1), ReLU(), Conv2d(192, num_classes, 1), ReLU()])
    return Sequential(*layers, AdaptiveAvgPool2d(1), Flatten())
