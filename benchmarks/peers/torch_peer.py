"""PyTorch in its default layout, NCHW."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .. import torch_containers  # noqa: F401  (the exported networks hold its classes)

Step = Callable[[], object]
Prepare = Callable[[torch.nn.Module], torch.nn.Module]


def version() -> str:
    return str(torch.__version__)


def inference_in(layout: torch.memory_format, net: str, models: Path, x: np.ndarray) -> Step:
    model = torch.load(models / f"{net}.torch", weights_only=False).eval().to(memory_format=layout)
    images = torch.from_numpy(x).contiguous(memory_format=layout)

    @torch.inference_mode()
    def call() -> object:
        return model(images)

    return call


def training_in(
    layout: torch.memory_format,
    net: str,
    models: Path,
    x: np.ndarray,
    labels: np.ndarray,
    prepare: Prepare = lambda model: model,
) -> Step:
    model = prepare(torch.load(models / f"{net}.torch", weights_only=False).train().to(memory_format=layout))
    images = torch.from_numpy(x).contiguous(memory_format=layout)
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def inference(net: str, models: Path, x: np.ndarray) -> Step:
    return inference_in(torch.contiguous_format, net, models, x)


def training(net: str, models: Path, x: np.ndarray, labels: np.ndarray) -> Step:
    return training_in(torch.contiguous_format, net, models, x, labels)
