"""Times every algorithm on every convolution of the networks: python -m benchmarks.layers [--batch N] [--only NET].

Prints GFLOP/s (of direct summation's operations, whatever the algorithm) for the forward pass, the data and the weight
gradient, what "auto" picks, and its regret: its time over the best algorithm's. --torch adds PyTorch's figures.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import cnnx
import cnnx.functional as F

from .cases import NETS
from .graph import ConvShape, convolutions
from .worker import measure

PASSES = ("forward", "input", "weight")


def best_time(step: Callable[[], object], seconds: float) -> float:
    return measure(step, seconds)["min_ms"] / 1e3


def measured_peak(seconds: float = 0.5) -> float:
    """FLOP/s of the matrix product, which is the BLAS library's: a bound that the machine is known to reach."""
    a, b = cnnx.randn(1024, 1024), cnnx.randn(1024, 1024)
    with cnnx.no_grad():
        return 2 * 1024**3 / best_time(lambda: a @ b, seconds)


def cnnx_step(shape: ConvShape, batch: int, what: str, device: str = "cpu") -> Callable[[], object]:
    x = cnnx.randn(batch, shape.in_channels, shape.size, shape.size, device=device)
    w = cnnx.randn(shape.out_channels, shape.in_channels // shape.groups, shape.kernel, shape.kernel, device=device)
    options = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    if what == "forward":
        return cnnx.no_grad()(lambda: F.conv2d(x, w, **options))
    wanted = x if what == "input" else w
    wanted.requires_grad = True
    y = F.conv2d(x, w, **options)
    grad = cnnx.randn(*y.shape, dtype=y.dtype, device=device)

    def step() -> None:
        wanted.grad = None
        y.backward(grad, retain_graph=True)
        if device == "cpu":
            wanted.grad.numpy()  # multiplies out what would stay a product for the optimizer

    return step


def torch_step(
    shape: ConvShape, batch: int, what: str, device: str = "cpu", dtype: str = "float32", channels_last: bool = False
) -> Callable[[], object]:
    import torch

    kind = {"device": device, "dtype": getattr(torch, dtype)}
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(batch, shape.in_channels, shape.size, shape.size, **kind).to(memory_format=layout)
    w = torch.randn(shape.out_channels, shape.in_channels // shape.groups, shape.kernel, shape.kernel, **kind)
    w = w.to(memory_format=layout)
    options = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    if what == "forward":
        return torch.no_grad()(lambda: torch.nn.functional.conv2d(x, w, **options))
    wanted = (x if what == "input" else w).requires_grad_()
    y = torch.nn.functional.conv2d(x, w, **options)
    grad = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, wanted, grad, retain_graph=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--passes", nargs="*", default=list(PASSES), choices=PASSES)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--torch", action="store_true")
    options = parser.parse_args()
    cnnx.set_num_threads(options.threads)
    if options.torch:
        import torch

        torch.set_num_threads(options.threads)
    print(f"{cnnx.cpu_isa()}, {options.threads} threads, matrix product {measured_peak() / 1e9:.0f} GFLOP/s")
    algorithms = [*cnnx.conv_algorithms(), "auto"]
    columns = [*algorithms, *(["torch"] if options.torch else [])]
    print(f"{'GFLOP/s':44}" + "".join(f"{name:>10}" for name in columns) + f"{'regret':>8}{'ms':>9}")
    totals: dict[str, list[float]] = {}
    for net, case in NETS.items():
        if options.only not in net:
            continue
        for shape in convolutions(case.build(), cnnx.zeros(1, *case.shape)):
            for what in options.passes:
                times = {}
                for name in algorithms:
                    cnnx.set_conv_algorithm(name)
                    times[name] = best_time(cnnx_step(shape, options.batch, what), options.seconds)
                cnnx.set_conv_algorithm("auto")
                if options.torch:
                    times["torch"] = best_time(torch_step(shape, options.batch, what), options.seconds)
                size = f"{shape.in_channels}->{shape.out_channels} {shape.size}^2 {shape.kernel}x{shape.kernel}"
                text = f"{net} {size}/{shape.stride} {what}"
                regret = times["auto"] / min(times[name] for name in cnnx.conv_algorithms())
                totals.setdefault(what, []).append(regret)
                rates = "".join(f"{shape.flops(options.batch) / times[name] / 1e9:10.0f}" for name in columns)
                print(f"{text:44}{rates}{regret:8.2f}{times['auto'] * 1e3:9.3f}", flush=True)
    for what, regrets in totals.items():
        print(f"{what}: mean regret {sum(regrets) / len(regrets):.3f}, worst {max(regrets):.2f}")


if __name__ == "__main__":
    main()
