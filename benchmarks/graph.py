"""Walks cnnx models for the benchmarks: the same network in torch, and the convolutions that it contains."""

from __future__ import annotations

import functools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cnnx

if TYPE_CHECKING:
    from torch import nn


def to_torch(model: cnnx.Module) -> nn.Module:
    """The same network with the same weights as a torch module."""
    import torch

    net = _torch_module(model)
    net.load_state_dict({name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()})
    return net


def _torch_module(module: Any) -> nn.Module:
    from torch import nn

    from .torch_containers import Concat, Residual

    containers = {"Sequential": nn.Sequential, "Residual": Residual, "Concat": Concat}
    kind = type(module).__name__
    if kind in containers:
        return containers[kind](OrderedDict((name, _torch_module(m)) for name, m in module.named_children()))
    if kind == "Conv2d":
        bias = module.bias is not None
        geometry = (module.stride, module.padding, module.dilation, module.groups, bias)
        return nn.Conv2d(module.in_channels, module.out_channels, module.kernel_size, *geometry)
    if kind == "Linear":
        return nn.Linear(module.in_features, module.out_features, module.bias is not None)
    if kind == "BatchNorm2d":
        return nn.BatchNorm2d(module.num_features, module.eps)
    if kind == "LocalResponseNorm":
        return nn.LocalResponseNorm(module.size, module.alpha, module.beta, module.k)
    if kind == "MaxPool2d":
        return nn.MaxPool2d(module.kernel_size, module.stride, module.padding, ceil_mode=module.fit == "ceil")
    if kind == "AdaptiveAvgPool2d":
        return nn.AdaptiveAvgPool2d(module.output_size)
    if kind == "Dropout":
        return nn.Dropout(module.p)
    return {"ReLU": nn.ReLU, "Flatten": nn.Flatten}[kind]()


@dataclass(frozen=True)
class ConvShape:
    """One convolution of square images and kernels, without the batch."""

    in_channels: int
    out_channels: int
    size: int
    kernel: int
    stride: int
    padding: int
    groups: int

    def flops(self, batch: int) -> float:
        out = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        filters = self.out_channels * self.in_channels // self.groups * self.kernel**2
        return 2.0 * batch * out * out * filters


def convolutions(model: cnnx.Module, x: cnnx.Tensor) -> list[ConvShape]:
    """The distinct convolutions that the model applies to x, in order."""
    found: dict[ConvShape, None] = {}

    def record(conv: cnnx.Conv2d, images: cnnx.Tensor) -> cnnx.Tensor:
        channels, size = (conv.in_channels, conv.out_channels), images.shape[2]
        shape = ConvShape(*channels, size, conv.kernel_size[0], conv.stride[0], conv.padding[0], conv.groups)
        found[shape] = None
        return cnnx.Conv2d.forward(conv, images)

    for module in model.eval().modules():
        if isinstance(module, cnnx.Conv2d):
            module.forward = functools.partial(record, module)
    with cnnx.no_grad():
        model(x)
    return list(found)
