"""LeNet-5, the convnet that read digits in the 1990s."""

from __future__ import annotations

from .._core import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential

__all__ = ["lenet5"]


def lenet5(num_classes: int = 10, in_channels: int = 1) -> Sequential:
    """LeNet-5 with ReLU and max pooling in place of the original's squashing functions and trained subsampling.

    Args:
        num_classes: length of the score vector.
        in_channels: 1 for grey images, 3 for colour.

    Shape:
        (N, in_channels, 32, 32) to (N, num_classes).

    Source:
        LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998).

    Example:
        >>> import cnnx
        >>> cnnx.models.lenet5()(cnnx.zeros(1, 1, 32, 32)).shape
        (1, 10)
    """
    return Sequential(
        Conv2d(in_channels, 6, 5),
        ReLU(),
        MaxPool2d(2),
        Conv2d(6, 16, 5),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(16 * 5 * 5, 120),
        ReLU(),
        Linear(120, 84),
        ReLU(),
        Linear(84, num_classes),
    )
