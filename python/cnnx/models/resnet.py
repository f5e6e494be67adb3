"""ResNet: skip connections around every two or three convolutions."""

from __future__ import annotations

from .. import init
from .._core import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Residual,
    Sequential,
)

__all__ = ["resnet18", "resnet34", "resnet50", "resnet101"]

_WIDTHS = (64, 128, 256, 512)


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> Conv2d:
    return Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)


def _block(in_channels: int, width: int, stride: int, bottleneck: bool) -> Residual:
    out_channels = 4 * width if bottleneck else width
    body: dict[str, Module]
    if bottleneck:  # the stride is the 3x3 convolution's, as in torchvision
        body = {
            "conv1": _convolution(in_channels, width, 1),
            "bn1": BatchNorm2d(width),
            "relu1": ReLU(),
            "conv2": _convolution(width, width, 3, stride),
            "bn2": BatchNorm2d(width),
            "relu2": ReLU(),
            "conv3": _convolution(width, out_channels, 1),
            "bn3": BatchNorm2d(out_channels),
        }
    else:
        body = {
            "conv1": _convolution(in_channels, width, 3, stride),
            "bn1": BatchNorm2d(width),
            "relu1": ReLU(),
            "conv2": _convolution(width, width, 3),
            "bn2": BatchNorm2d(width),
        }
    if stride == 1 and in_channels == out_channels:
        return Residual(body)
    downsample = Sequential(_convolution(in_channels, out_channels, 1, stride), BatchNorm2d(out_channels))
    return Residual(body, downsample=downsample)


def _initialise(module: Module) -> None:
    if isinstance(module, Conv2d):
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _resnet(depths: tuple[int, ...], num_classes: int, bottleneck: bool) -> Sequential:
    """`depths` are the blocks of each width."""
    layers: dict[str, Module] = {
        "conv1": _convolution(3, 64, 7, 2),
        "bn1": BatchNorm2d(64),
        "relu": ReLU(),
        "maxpool": MaxPool2d(3, 2, 1),
    }
    channels = 64
    for number, (width, depth) in enumerate(zip(_WIDTHS, depths, strict=True), start=1):
        blocks = []
        for i in range(depth):
            blocks.append(_block(channels, width, 2 if i == 0 and number > 1 else 1, bottleneck))
            channels = 4 * width if bottleneck else width
        layers[f"layer{number}"] = Sequential(*blocks)
    model = Sequential(
        {**layers, "avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(channels, num_classes)}
    )
    model.apply(_initialise)
    return model


_DOC = """ResNet-{number}. Parameter names are torchvision's.

    Args:
        num_classes: length of the score vector.

    Shape:
        (N, 3, H, W) to (N, num_classes); made for 224 x 224.

    Source:
        He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2015).

    Example:
        >>> import cnnx
        >>> sum(p.numel() for p in cnnx.models.resnet{number}().parameters())
        {parameters}
    """


def resnet18(num_classes: int = 1000) -> Sequential:
    return _resnet((2, 2, 2, 2), num_classes, bottleneck=False)


def resnet34(num_classes: int = 1000) -> Sequential:
    return _resnet((3, 4, 6, 3), num_classes, bottleneck=False)


def resnet50(num_classes: int = 1000) -> Sequential:
    return _resnet((3, 4, 6, 3), num_classes, bottleneck=True)


def resnet101(num_classes: int = 1000) -> Sequential:
    return _resnet((3, 4, 23, 3), num_classes, bottleneck=True)


resnet18.__doc__ = _DOC.format(number=18, parameters=11689512)
resnet34.__doc__ = _DOC.format(number=34, parameters=21797672)
resnet50.__doc__ = _DOC.format(number=50, parameters=25557032)
resnet101.__doc__ = _DOC.format(number=101, parameters=44549160)
