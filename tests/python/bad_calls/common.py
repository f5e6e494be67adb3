"""What the tables of bad calls share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import cnnx

#: A call, the exception that it raises, and text of its message; of texts with "|" between them, one.
Case = tuple[Callable[[], object], type[Exception], str]

X = cnnx.zeros(2, 3, 8, 8)
W = cnnx.zeros(4, 3, 3, 3)
T = cnnx.zeros(3, 4, 3, 3)
INTS = cnnx.zeros(2, 3, 8, 8, dtype="int64")
SCORES = cnnx.zeros(2, 5)
PARAMETER = cnnx.ones(2, requires_grad=True)
HUGE = 2**62
NET = cnnx.Sequential(cnnx.Conv2d(3, 2, 3), cnnx.AdaptiveAvgPool2d(1), cnnx.Flatten())


class Product(cnnx.Module):
    """Does something that is no layer, then perhaps a layer."""

    def __init__(self, layer: cnnx.Module | None = None) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        return x * x if self.layer is None else self.layer(x * x)


class Unused(cnnx.Module):
    """Has a layer that it does not call, and may return two tensors."""

    def __init__(self, two: bool = False) -> None:
        super().__init__()
        self.unused, self.two = cnnx.ReLU(), two

    def forward(self, x: cnnx.Tensor) -> object:
        return (x, x) if self.two else x


class Dictionary(cnnx.Module):
    """Returns a dict."""

    def forward(self, x: cnnx.Tensor) -> object:
        return {"scores": x}

    def __init__(self) -> None:
        super().__init__()
        self.weight = cnnx.Parameter(cnnx.ones(1))


def meta_net() -> cnnx.Module:
    with cnnx.Device("meta"):
        return cnnx.Conv2d(3, 2, 3)


def misaligned() -> np.ndarray:
    return np.zeros(9, np.uint8)[1:].view(np.float32)
