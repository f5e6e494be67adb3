"""cnnx, as its users call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import cnnx
import cnnx.functional as F

from ..cases import NETS


def version() -> str:
    return f"{cnnx.__version__} ({cnnx.cpu_isa()})"


def inference(net: str, models: Path, x: np.ndarray) -> Callable[[], object]:
    model = NETS[net].build().eval()
    images = cnnx.tensor(x)

    @cnnx.no_grad()
    def call() -> object:
        return model(images)

    return call


def training(net: str, models: Path, x: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    model = NETS[net].build()
    images, targets = cnnx.tensor(x), cnnx.tensor(labels)
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def step() -> None:
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
