"""VGGNet: 3x3 convolutions and 2x2 pooling only."""

from __future__ import annotations

from .. import init
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

__all__ = ["vgg11", "vgg13", "vgg16", "vgg19"]

_WIDTHS = (64, 128, 256, 512, 512)


def _initialise(module: Module) -> None:
    if isinstance(module, Conv2d):
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        init.constant_(module.bias, 0.0)
    elif isinstance(module, Linear):
        init.normal_(module.weight, 0.0, 0.01)
        init.constant_(module.bias, 0.0)


def _vgg(depths: tuple[int, ...], num_classes: int, batch_norm: bool, dropout: float) -> Sequential:
    """`depths` are the convolutions before each pooling."""
    features: list[Module] = []
    channels = 3
    for width, depth in zip(_WIDTHS, depths, strict=True):
        for _ in range(depth):
            features.append(Conv2d(channels, width, 3, padding=1))
            if batch_norm:
                features.append(BatchNorm2d(width))
            features.append(ReLU())
            channels = width
        features.append(MaxPool2d(2))
    model = Sequential(
        {
            "features": Sequential(*features),
            "avgpool": AdaptiveAvgPool2d(7),
            "flatten": Flatten(),
            "classifier": Sequential(
                Linear(512 * 7 * 7, 4096),
                ReLU(),
                Dropout(dropout),
                Linear(4096, 4096),
                ReLU(),
                Dropout(dropout),
                Linear(4096, num_classes),
            ),
        }
    )
    model.apply(_initialise)
    return model


_DOC = """VGG-{number}: {number} layers with weights. Parameter names are torchvision's.

    Args:
        num_classes: length of the score vector.
        batch_norm: whether each convolution is followed by batch normalization.
        dropout: share of features dropped behind the first two linear layers, while training.

    Shape:
        (N, 3, 224, 224) to (N, num_classes).

    Source:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2014).

    Example:
        >>> import cnnx
        >>> with cnnx.Device("meta"):  # shapes without values
        ...     model = cnnx.models.vgg{number}()
        >>> sum(p.numel() for p in model.parameters())
        {parameters}
    """


def vgg11(num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5) -> Sequential:
    return _vgg((1, 1, 2, 2, 2), num_classes, batch_norm, dropout)


def vgg13(num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5) -> Sequential:
    return _vgg((2, 2, 2, 2, 2), num_classes, batch_norm, dropout)


def vgg16(num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5) -> Sequential:
    return _vgg((2, 2, 3, 3, 3), num_classes, batch_norm, dropout)


def vgg19(num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5) -> Sequential:
    return _vgg((2, 2, 4, 4, 4), num_classes, batch_norm, dropout)


vgg11.__doc__ = _DOC.format(number=11, parameters=132863336)
vgg13.__doc__ = _DOC.format(number=13, parameters=133047848)
vgg16.__doc__ = _DOC.format(number=16, parameters=138357544)
vgg19.__doc__ = _DOC.format(number=19, parameters=143667240)
