"""The shape table: convolution layers of well-known networks, and small networks to train. N is the batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConvCase:
    """One convolution: x (batch, in_channels, size, size), square kernel."""

    name: str
    in_channels: int
    out_channels: int
    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1


CONV_CASES = [
    ConvCase("lenet5.conv2", 6, 16, 14, 5),
    ConvCase("cifar.conv2", 32, 32, 32, 3, padding=1),
    ConvCase("alexnet.conv1", 3, 64, 224, 11, 4, 2),
    ConvCase("vgg16.conv1_1", 3, 64, 224, 3, padding=1),
    ConvCase("vgg16.conv3_2", 256, 256, 56, 3, padding=1),
    ConvCase("vgg16.conv5_1", 512, 512, 14, 3, padding=1),
    ConvCase("resnet50.conv1", 3, 64, 224, 7, 2, 3),
    ConvCase("resnet50.layer2.1x1", 512, 128, 28, 1),
    ConvCase("resnet50.layer3.stride2", 256, 256, 28, 3, 2, 1),
    ConvCase("mobilenet.depthwise", 128, 128, 56, 3, padding=1, groups=128),
]


@dataclass(frozen=True)
class NetCase:
    """One network by the name that both libraries' builders know; shape is one image (C, H, W)."""

    name: str
    net: str
    shape: tuple[int, int, int]
    batch: int
    train: bool


NET_CASES = [
    NetCase("lenet5.train.64", "lenet5", (1, 32, 32), 64, True),
    NetCase("lenet5.forward.1", "lenet5", (1, 32, 32), 1, False),
    NetCase("cifar.train.64", "cifar", (3, 32, 32), 64, True),
    NetCase("cifar.forward.64", "cifar", (3, 32, 32), 64, False),
    NetCase("digits.train.32", "digits", (1, 8, 8), 32, True),
]
