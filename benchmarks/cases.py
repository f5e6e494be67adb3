"""The networks that are timed, as cnnx models, and the batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cnnx
from cnnx import models


def _lenet5() -> cnnx.Sequential:
    net = models.lenet5()
    net[0] = cnnx.Conv2d(1, 6, 5, padding=2)  # for 28 x 28
    return net


def _cifar() -> cnnx.Sequential:
    return cnnx.Sequential(
        *(
            layer
            for before, width in ((3, 32), (32, 64), (64, 128))
            for layer in (
                cnnx.Conv2d(before, width, 3, padding=1),
                cnnx.ReLU(),
                cnnx.Conv2d(width, width, 3, padding=1),
                cnnx.ReLU(),
                cnnx.MaxPool2d(2),
            )
        ),
        cnnx.Flatten(),
        cnnx.Linear(128 * 4 * 4, 256),
        cnnx.ReLU(),
        cnnx.Linear(256, 10),
    )


@dataclass(frozen=True)
class Net:
    """A network and the shape of one image."""

    build: Callable[[], cnnx.Module]
    shape: tuple[int, int, int]
    classes: int = 1000


NETS = {
    "lenet5": Net(_lenet5, (1, 28, 28), 10),
    "cifar": Net(_cifar, (3, 32, 32), 10),
    "alexnet": Net(lambda: models.alexnet(variant="notes"), (3, 227, 227)),
    "zfnet": Net(models.zfnet, (3, 224, 224)),
    "googlenet": Net(lambda: models.googlenet(variant="2014"), (3, 224, 224)),
    "resnet18": Net(models.resnet18, (3, 224, 224)),
    "vgg16": Net(models.vgg16, (3, 224, 224)),
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    net: str
    batch: int
    train: bool

    @property
    def name(self) -> str:
        return f"{self.net} {'train' if self.train else 'infer'} {self.batch}"


_BATCHES = {
    "lenet5": (1, 64),
    "cifar": (1, 64),
    "alexnet": (1, 16),
    "zfnet": (8,),
    "googlenet": (1, 8),
    "resnet18": (1, 16),
    "vgg16": (1, 8),
}

CASES = [Case(net, batch, train) for net, batches in _BATCHES.items() for train in (True, False) for batch in batches]
#: What --quick runs: nothing that takes long to build or to call.
QUICK = [case for case in CASES if case.net in ("lenet5", "cifar") or (case.net != "vgg16" and case.batch == 1)]
