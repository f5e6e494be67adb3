"""Times convolutions and memory-bound operations on a GPU: python -m benchmarks.gpu [--batch 32] [--only NET].

Convolutions are timed in float32 and, on tensor cores, in TF32, bfloat16 and float16 (--precisions), which PyTorch has in
tensors of that dtype, channels last; cnnx's stay float32 and are rounded on their way.
Every figure is the mean of calls between two waits for the device; operations queue meanwhile, as in training. With
PyTorch for CUDA installed, its time over that of cnnx follows: above 1 cnnx is faster.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import cnnx
import cnnx.functional as F

from .cases import NETS
from .graph import convolutions
from .layers import PASSES, cnnx_step, torch_step

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


@contextmanager
def computed_in(precision: str, torch: Any) -> Iterator[None]:
    """Switches cnnx, and PyTorch's TF32, to a precision for a block."""
    cnnx.cuda.allow_tf32 = precision == "tf32"
    if torch:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    with cnnx.autocast("cuda", precision) if precision in ("bfloat16", "float16") else nullcontext():
        yield
    cnnx.cuda.allow_tf32 = False


def load_torch() -> Any:
    """PyTorch with a GPU, or None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def mean_time(step: Callable[[], object], wait: Callable[[], object], seconds: float) -> float:
    """Seconds a call: as many calls as take about the time, after a few to warm up."""
    for _ in range(2):
        step()
    wait()
    calls, elapsed = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            step()
        wait()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds or calls >= 1 << 16:
            return elapsed / calls
        calls *= 2


def time_convolutions(torch: Any, precision: str, only: str, batch: int, seconds: float) -> None:
    half = precision in ("bfloat16", "float16")
    ratios: dict[str, list[float]] = {what: [] for what in PASSES}
    for net, case in NETS.items():
        if only not in net:
            continue
        with cnnx.no_grad():
            shapes = convolutions(case.build(), cnnx.zeros(1, *case.shape))
        for shape in shapes:
            for what in PASSES:
                with computed_in(precision, torch):
                    mine = mean_time(cnnx_step(shape, batch, what, "cuda"), cnnx.cuda.synchronize, seconds)
                size = f"{shape.in_channels}->{shape.out_channels} {shape.size}^2 {shape.kernel}x{shape.kernel}/{shape.stride}"
                line = f"{net} {size} {what} {precision}: {mine * 1e3:.3f} ms, {shape.flops(batch) / mine / 1e12:.2f} TFLOP/s"
                if torch:
                    step = torch_step(
                        shape, batch, what, "cuda", precision if half else "float32", precision != "float32"
                    )
                    with computed_in(precision, torch):
                        other = mean_time(step, torch.cuda.synchronize, seconds)
                    ratios[what].append(other / mine)
                    line += f", torch / cnnx {other / mine:.2f}"
                print(line, flush=True)
    for what, values in ratios.items():
        if values:
            print(f"{what} {precision}: geometric mean {math.exp(sum(map(math.log, values)) / len(values)):.3f}")


def time_memory_bound(size: int, seconds: float) -> None:
    """Bytes that operations read and write a second, as a share of those of a copy."""
    x = cnnx.randn(size, 64, 56, 56, device="cuda")
    weight, bias = cnnx.ones(64, device="cuda"), cnnx.zeros(64, device="cuda")
    value = x.numel() * 4
    cases: dict[str, tuple[Callable[[], object], float]] = {
        "copy": (x.clone, 2),
        "relu": (lambda: F.relu(x), 2),
        "add": (lambda: x + x, 3),
        "max_pool2d 2x2": (lambda: F.max_pool2d(x, 2), 1.25),
        "avg_pool2d 2x2": (lambda: F.avg_pool2d(x, 2), 1.25),
        "batch_norm training": (lambda: F.batch_norm(x, None, None, weight, bias, training=True), 3),
        "sum": (x.sum, 1),
    }
    copied = 0.0
    with cnnx.no_grad():
        for name, (step, moved) in cases.items():
            rate = moved * value / mean_time(step, cnnx.cuda.synchronize, seconds)
            copied = copied or rate
            print(f"{name}: {rate / 1e9:.0f} GB/s, {rate / copied:.2f} of the copy", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--seconds", type=float, default=0.05)
    options = parser.parse_args()
    torch = load_torch()
    if torch:
        torch.backends.cudnn.benchmark = True
        print(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {torch.cuda.get_device_name()}")
    time_memory_bound(options.batch, options.seconds)
    for precision in options.precisions:
        time_convolutions(torch, precision, options.only, options.batch, options.seconds)


if __name__ == "__main__":
    main()
