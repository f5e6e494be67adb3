"""The same cases in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from cases import ConvCase, NetCase
from torch import nn


def _lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def _cifar() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 256), nn.ReLU(), nn.Linear(256, 10))


def _digits() -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*block(1, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 10))


_NETS = {"lenet5": _lenet5, "cifar": _cifar, "digits": _digits}


def version() -> str:
    return str(torch.__version__)


def set_threads(count: int) -> None:
    torch.set_num_threads(count)


def net_step(case: NetCase, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    net = _NETS[case.net]()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    if not case.train:
        net.eval()

        @torch.inference_mode()
        def forward() -> object:
            return net(x)

        return forward
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def conv_step(case: ConvCase, x: np.ndarray, w: np.ndarray, backward: bool) -> Callable[[], object]:
    options = {"stride": case.stride, "padding": case.padding, "groups": case.groups}
    a, b = torch.from_numpy(x).requires_grad_(backward), torch.from_numpy(w).requires_grad_(backward)
    y = nn.functional.conv2d(a, b, **options)
    if not backward:
        return lambda: nn.functional.conv2d(a, b, **options)
    grad = torch.ones_like(y)

    def step() -> None:
        a.grad = b.grad = None
        y.backward(grad, retain_graph=True)

    return step
