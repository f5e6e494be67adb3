"""Ready-made architectures, built from the library's layers with random weights."""

from __future__ import annotations

from .alexnet import alexnet, zfnet
from .all_convolutional import all_convolutional
from .googlenet import GoogLeNet, GoogLeNetOutputs, googlenet
from .lenet import lenet5
from .resnet import resnet18, resnet34, resnet50, resnet101
from .small import cifar_net, small_convnet
from .vgg import vgg11, vgg13, vgg16, vgg19

__all__ = [
    "GoogLeNet",
    "GoogLeNetOutputs",
    "alexnet",
    "all_convolutional",
    "cifar_net",
    "googlenet",
    "lenet5",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "small_convnet",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "zfnet",
]
