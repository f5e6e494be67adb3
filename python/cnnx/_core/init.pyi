from __future__ import annotations

import typing

import cnnx._core

__all__: list[str] = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

def calculate_gain(nonlinearity: str, param: typing.SupportsFloat | typing.SupportsIndex = 0.01) -> float: ...
def constant_(tensor: cnnx._core.Tensor, val: typing.SupportsFloat | typing.SupportsIndex) -> cnnx._core.Tensor: ...
def kaiming_normal_(
    tensor: cnnx._core.Tensor,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> cnnx._core.Tensor: ...
def kaiming_uniform_(
    tensor: cnnx._core.Tensor,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> cnnx._core.Tensor: ...
def normal_(
    tensor: cnnx._core.Tensor,
    mean: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    std: typing.SupportsFloat | typing.SupportsIndex = 1.0,
) -> cnnx._core.Tensor: ...
def ones_(tensor: cnnx._core.Tensor) -> cnnx._core.Tensor: ...
def uniform_(
    tensor: cnnx._core.Tensor,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 1.0,
) -> cnnx._core.Tensor: ...
def xavier_normal_(
    tensor: cnnx._core.Tensor, gain: typing.SupportsFloat | typing.SupportsIndex = 1.0
) -> cnnx._core.Tensor: ...
def xavier_uniform_(
    tensor: cnnx._core.Tensor, gain: typing.SupportsFloat | typing.SupportsIndex = 1.0
) -> cnnx._core.Tensor: ...
def zeros_(tensor: cnnx._core.Tensor) -> cnnx._core.Tensor: ...
