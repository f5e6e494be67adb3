"""Ready-made architectures, built from the library's layers with random weights."""

from __future__ import annotations

from .lenet import lenet5
from .small import cifar_net, small_convnet

__all__ = ["cifar_net", "lenet5", "small_convnet"]
