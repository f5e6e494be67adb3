"""AlexNet and ZFNet, which won ImageNet's challenge in 2012 and 2013."""

from __future__ import annotations

from .._core import (
    AdaptiveAvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
)

__all__ = ["alexnet", "zfnet"]


def _lrn() -> LocalResponseNorm:
    """As in the paper: k = 2, and 1e-4 times the sum over 5 channels."""
    return LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def _classifier(in_features: int, num_classes: int, dropout: float) -> Sequential:
    return Sequential(
        Dropout(dropout),
        Linear(in_features, 4096),
        ReLU(),
        Dropout(dropout),
        Linear(4096, 4096),
        ReLU(),
        Linear(4096, num_classes),
    )


def alexnet(num_classes: int = 1000, variant: str = "torchvision", groups: int = 1, dropout: float = 0.5) -> Sequential:
    """AlexNet.

    Args:
        num_classes: length of the score vector.
        variant: ``"torchvision"``, with torchvision's filters (64-192-384-256-256, no normalization) and parameter names; or
            ``"notes"``, the net of the paper and of CS231n (96-256-384-384-256, local response normalization) in one tower.
        groups: for the notes' net: 2 splits the second, fourth and fifth convolution between two towers, as in 2012.
        dropout: share of features dropped before the first two linear layers, while training.

    Shape:
        (N, 3, 224, 224) to (N, num_classes); (N, 3, 227, 227) for the notes' net.

    Raises:
        ValueError: for an unknown variant, and groups other than 1 with torchvision's.

    Source:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012);
        Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014).

    Example:
        >>> import cnnx
        >>> sum(p.numel() for p in cnnx.models.alexnet().parameters())
        61100840
        >>> cnnx.models.alexnet(variant="notes").features[0]
        Conv2d(3, 96, kernel_size=(11, 11), stride=(4, 4))
    """
    if variant == "notes":
        return Sequential(
            {
                "features": Sequential(
                    Conv2d(3, 96, 11, stride=4),
                    ReLU(),
                    _lrn(),
                    MaxPool2d(3, 2),
                    Conv2d(96, 256, 5, padding=2, groups=groups),
                    ReLU(),
                    _lrn(),
                    MaxPool2d(3, 2),
                    Conv2d(256, 384, 3, padding=1),
                    ReLU(),
                    Conv2d(384, 384, 3, padding=1, groups=groups),
                    ReLU(),
                    Conv2d(384, 256, 3, padding=1, groups=groups),
                    ReLU(),
                    MaxPool2d(3, 2),
                ),
                "flatten": Flatten(),
                "classifier": _classifier(256 * 6 * 6, num_classes, dropout),
            }
        )
    if variant != "torchvision":
        raise ValueError(f'[alexnet] variant must be "torchvision" or "notes"; got "{variant}".')
    if groups != 1:
        raise ValueError(f'[alexnet] groups belongs to the notes\' net; got {groups}. Use variant="notes".')
    return Sequential(
        {
            "features": Sequential(
                Conv2d(3, 64, 11, stride=4, padding=2),
                ReLU(),
                MaxPool2d(3, 2),
                Conv2d(64, 192, 5, padding=2),
                ReLU(),
                MaxPool2d(3, 2),
                Conv2d(192, 384, 3, padding=1),
                ReLU(),
                Conv2d(384, 256, 3, padding=1),
                ReLU(),
                Conv2d(256, 256, 3, padding=1),
                ReLU(),
                MaxPool2d(3, 2),
            ),
            "avgpool": AdaptiveAvgPool2d(6),
            "flatten": Flatten(),
            "classifier": _classifier(256 * 6 * 6, num_classes, dropout),
        }
    )


def zfnet(num_classes: int = 1000, middle: tuple[int, int, int] = (512, 1024, 512), dropout: float = 0.5) -> Sequential:
    """ZFNet: AlexNet with a smaller first filter and stride, and larger middle layers.

    Args:
        num_classes: length of the score vector.
        middle: filters of the three 3x3 convolutions; (384, 384, 256) are AlexNet's, which the paper starts from.
        dropout: share of features dropped before the first two linear layers, while training.

    Shape:
        (N, 3, 224, 224) to (N, num_classes).

    Source:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2013).

    Example:
        >>> import cnnx
        >>> sum(p.numel() for p in cnnx.models.zfnet(middle=(384, 384, 256)).parameters())
        62357608
    """
    first, second, third = middle
    return Sequential(
        {
            "features": Sequential(
                Conv2d(3, 96, 7, stride=2, padding=1),
                ReLU(),
                MaxPool2d(3, 2, fit="ceil"),
                _lrn(),
                Conv2d(96, 256, 5, stride=2),
                ReLU(),
                MaxPool2d(3, 2, fit="ceil"),
                _lrn(),
                Conv2d(256, first, 3, padding=1),
                ReLU(),
                Conv2d(first, second, 3, padding=1),
                ReLU(),
                Conv2d(second, third, 3, padding=1),
                ReLU(),
                MaxPool2d(3, 2),
            ),
            "flatten": Flatten(),
            "classifier": _classifier(third * 6 * 6, num_classes, dropout),
        }
    )
