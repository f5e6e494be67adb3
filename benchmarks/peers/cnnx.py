"""cnnx, as its users call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import cnnx
import cnnx.functional as F

from ..cases import NETS, Case


def version() -> str:
    return f"{cnnx.__version__} ({cnnx.cpu_isa()})"


def set_threads(count: int) -> None:
    cnnx.set_num_threads(count)


def inference(case: Case, models: Path, x: np.ndarray) -> Callable[[], object]:
    net = NETS[case.net].build().eval()
    images = cnnx.tensor(x)

    @cnnx.no_grad()
    def call() -> object:
        return net(images)

    return call


def training(case: Case, models: Path, x: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    net = NETS[case.net].build()
    images, targets = cnnx.tensor(x), cnnx.tensor(labels)
    optimizer = cnnx.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)

    def step() -> None:
        loss = F.cross_entropy(net(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
