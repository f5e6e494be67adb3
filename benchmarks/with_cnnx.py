"""The cases in cnnx."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cases import ConvCase, NetCase

import cnnx
import cnnx.functional as F

_NETS = {
    "lenet5": cnnx.models.lenet5,
    "cifar": cnnx.models.cifar_net,
    "digits": lambda: cnnx.models.small_convnet(10, dropout=0.3),
}


def version() -> str:
    return f"{cnnx.__version__} ({cnnx.cpu_isa()})"


def set_threads(count: int) -> None:
    cnnx.set_num_threads(count)


def net_step(case: NetCase, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    net = _NETS[case.net]()
    x, y = cnnx.tensor(images), cnnx.tensor(labels)
    if not case.train:
        net.eval()

        @cnnx.no_grad()
        def forward() -> object:
            return net(x)

        return forward
    optimizer = cnnx.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def conv_step(case: ConvCase, x: np.ndarray, w: np.ndarray, backward: bool) -> Callable[[], object]:
    options = {"stride": case.stride, "padding": case.padding, "groups": case.groups}
    a, b = cnnx.tensor(x, requires_grad=backward), cnnx.tensor(w, requires_grad=backward)
    y = F.conv2d(a, b, **options)
    if not backward:
        return lambda: F.conv2d(a, b, **options)
    grad = cnnx.ones(y.shape)

    def step() -> None:
        a.grad = b.grad = None
        y.backward(grad, retain_graph=True)

    return step
