"""What an operation costs beside its arithmetic, and what denormal numbers cost: python -m benchmarks.details.

Overhead: microseconds an operation on one value, in a chain: alone, recorded, and with its backward pass. Denormals: the time of
operations whose weights or inputs are denormal over that with ordinary numbers; the library flushes them, so it should be 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import cnnx
import cnnx.functional as F

from .__main__ import machine
from .worker import measure

_SECONDS = 0.2
_CHAIN = 200
_DENORMAL = 1e-40


def chain(x: cnnx.Tensor) -> cnnx.Tensor:
    for _ in range(_CHAIN):
        x = F.relu(x)
    return x


def overheads() -> dict[str, float]:
    plain, recorded = cnnx.ones(1), cnnx.ones(1, requires_grad=True)
    steps: dict[str, Callable[[], object]] = {
        "forward, unrecorded": cnnx.no_grad()(lambda: chain(plain)),
        "forward, recorded": lambda: chain(recorded),
        "forward and backward": lambda: chain(recorded).backward(),
    }
    return {name: measure(step, _SECONDS)["median_ms"] * 1e3 / _CHAIN for name, step in steps.items()}


def timed(make: Callable[[float], Callable[[], object]]) -> float:
    """Time with denormal values over time with ordinary ones, the best of several each."""
    return measure(make(_DENORMAL), _SECONDS)["min_ms"] / measure(make(1.0), _SECONDS)["min_ms"]


def scaled(scale: float, *shape: int) -> cnnx.Tensor:
    values = np.random.default_rng(0).standard_normal(shape)
    return cnnx.tensor((values * scale).astype(np.float32))


def denormals() -> dict[str, float]:
    def conv(algorithm: str, kernel: int) -> Callable[[float], Callable[[], object]]:
        def make(scale: float) -> Callable[[], object]:
            x, w = scaled(1, 4, 64, 28, 28), scaled(scale, 64, 64, kernel, kernel)
            cnnx.set_conv_algorithm(algorithm)
            return lambda: F.conv2d(x, w, padding=kernel // 2)

        return make

    def of(function: Callable[..., cnnx.Tensor], *shapes: tuple[int, ...]) -> Callable[[float], Callable[[], object]]:
        def make(scale: float) -> Callable[[], object]:
            inputs = [scaled(scale, *shape) for shape in shapes]
            return lambda: function(*inputs)

        return make

    def sgd(scale: float) -> Callable[[], object]:
        weight = scaled(scale, 1_000_000)
        weight.requires_grad = True
        weight.grad = scaled(scale, 1_000_000)
        return cnnx.optim.SGD([weight], lr=0.1, momentum=0.9).step

    image = (8, 32, 56, 56)
    cases = {
        **{f"conv2d 3x3, {name}": conv(name, 3) for name in cnnx.conv_algorithms()},
        "linear, 8 rows": of(F.linear, (8, 1024), (1024, 1024)),
        "linear, 128 rows": of(F.linear, (128, 1024), (1024, 1024)),
        "relu": of(F.relu, image),
        "max_pool2d": of(lambda x: F.max_pool2d(x, 3, 2), image),
        "avg_pool2d": of(lambda x: F.avg_pool2d(x, 2), image),
        "softmax": of(lambda x: F.softmax(x, -1), (1000, 1000)),
        "add": of(lambda a, b: a + b, image, image),
        "sum": of(lambda x: x.sum(), image),
        "SGD step": sgd,
    }
    with cnnx.no_grad():
        ratios = {name: timed(make) for name, make in cases.items()}
    cnnx.set_conv_algorithm("auto")
    return ratios


def main() -> None:
    print(f"{machine()['cpu']}, {cnnx.get_num_threads()} threads, cnnx {cnnx.__version__}")
    for name, microseconds in overheads().items():
        print(f"{name:28}{microseconds:8.2f} us an operation")
    for name, ratio in denormals().items():
        print(f"denormals: {name:28}{ratio:6.2f}")


if __name__ == "__main__":
    main()
