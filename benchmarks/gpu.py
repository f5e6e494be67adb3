"""Times cnnx on a GPU beside PyTorch, and says which of its goals are reached: python -m benchmarks.gpu [--only TEXT].

Three parts: operations that memory bounds, as a share of the rate of a copy; the convolutions of four networks, by what
cnnx chooses (cuDNN where it is installed) and by its own kernels; whole training steps, run one by one, as CUDA graphs and
with autotune, against PyTorch one by one and, for small networks, compiled, with the peak of device memory.

float32 is without TF32 on both sides. In TF32 and 16 bits PyTorch works channels last, and in 16 bits has tensors of that
dtype or autocast; cnnx is under autocast, where convolutions round float32 on the way and give 16 bits. Every figure is the mean of calls between two
waits for the device; operations queue meanwhile, as in training. Ratios are PyTorch's time over cnnx's: above 1 cnnx is
faster. Convolutions are taken in an order drawn once, until their time is over. --dry runs everything once on tiny shapes, to see that it works, with PyTorch on the CPU where it has no GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import cnnx
import cnnx.functional as F
from cnnx import models

from .cases import NETS, Net
from .graph import ConvShape, convolutions, to_torch
from .layers import PASSES, cnnx_step, torch_step

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
HALVES = ("bfloat16", "float16")


@dataclass(frozen=True)
class Plan:
    """What is measured, and how large."""

    layers: dict[str, Net]
    batches: tuple[int, ...]
    launch_bound: dict[str, int]  # networks whose training steps are timed, and their batches
    large: dict[str, int]
    values: tuple[int, int, int, int]  # of the operations that memory bounds
    features: int


FULL = Plan(
    {"resnet50": Net(models.resnet50, (3, 224, 224)), **{net: NETS[net] for net in ("alexnet", "vgg16", "googlenet")}},
    (32, 256),
    {"lenet5": 64, "cifar": 64},
    {"vgg16": 64, "resnet18": 256},
    (256, 64, 56, 56),  # more than the caches of a GPU hold
    8192,
)
DRY = Plan({"lenet5": NETS["lenet5"]}, (1,), {"lenet5": 2}, {"lenet5": 3}, (1, 64, 4, 4), 16)


@dataclass
class Goal:
    """A figure that is wanted, and those that were measured."""

    text: str
    wanted: float
    combine: Callable[[list[float]], float]
    at_most: bool = False
    found: list[float] = field(default_factory=list)

    def row(self) -> str:
        sign = "<=" if self.at_most else ">="
        if not self.found:
            return f"{self.text:66} {sign} {self.wanted:<5} {'-':>7}  not measured"
        value = self.combine(self.found)
        reached = value <= self.wanted if self.at_most else value >= self.wanted
        return f"{self.text:66} {sign} {self.wanted:<5} {value:7.3f}  {'reached' if reached else 'missed'}"


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def make_goals() -> dict[str, Goal]:
    goals = {
        f"conv {precision}": Goal(f"convolutions, {precision}: geometric mean of torch / cnnx", 0.9, geometric_mean)
        for precision in PRECISIONS[:3]
    }
    goals["memory"] = Goal("memory-bound operations: least share of the copy's rate", 0.85, min)
    for net in FULL.launch_bound:
        what = f"{net} {FULL.launch_bound[net]} training step"
        goals[f"{net} eager"] = Goal(f"{what}: torch eager / cnnx", 5, max)
        goals[f"{net} compiled"] = Goal(f"{what}: torch compiled, reduce-overhead / cnnx", 1.5, max)
    for net in FULL.large:
        for precision in PRECISIONS[1:3]:
            text = f"{net} {FULL.large[net]} training step, {precision}: torch / cnnx"
            goals[f"{net} {precision}"] = Goal(text, 1, max)
    goals["peak"] = Goal("training steps: largest share of torch's peak memory", 0.8, max, at_most=True)
    return goals


class Bench:
    """The run: its options, PyTorch if there is one, and what was found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.plan: Plan = DRY if options.dry else FULL
        self.dry: bool = options.dry
        self.only: str = options.only
        self.seconds: float = 0 if options.dry else options.seconds
        self.precisions: list[str] = options.precisions
        self.minutes: float = options.minutes
        self.goals = make_goals()
        self.lines: list[str] = []
        self.torch = load_torch(self.dry)
        self.torch_device = "cuda" if self.torch and self.torch.cuda.is_available() else "cpu"

    def say(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

    def note(self, goal: str, value: float) -> None:
        if goal in self.goals:
            self.goals[goal].found.append(value)

    def wait_for_torch(self) -> None:
        if self.torch_device == "cuda":
            self.torch.cuda.synchronize()

    def free(self) -> None:
        """Gives memory that is no longer used back to the device, where the other library may want it."""
        gc.collect()
        cnnx.cuda.memory.empty_cache()
        if self.torch_device == "cuda":
            self.torch.cuda.empty_cache()

    def attempt(self, what: str, run: Callable[[], float]) -> float | None:
        """What a measurement returns; None, with a line that says why, if it fails. In a dry run a failure is the result."""
        try:
            return run()
        except Exception as error:
            if self.dry:
                raise
            self.say(f"{what} failed: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}")
            error.__traceback__ = None  # which holds tensors
        self.free()
        return None

    @contextmanager
    def computed_in(self, precision: str) -> Iterator[None]:
        """Switches cnnx, and PyTorch's TF32, to a precision for a block."""
        cnnx.cuda.allow_tf32 = precision == "tf32"
        if self.torch:
            backends = self.torch.backends
            backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = precision == "tf32"
        try:
            with cnnx.autocast("cuda", precision) if precision in HALVES else nullcontext():
                yield
        finally:
            cnnx.cuda.allow_tf32 = False

    def time(self, step: Callable[[], object], wait: Callable[[], object]) -> float:
        """Seconds a call: as many calls as take about the time, after some that compile, capture and choose."""
        for _ in range(2 if self.dry else 5):
            step()
            wait()
        calls = 1
        while True:
            start = time.perf_counter()
            for _ in range(calls):
                step()
            wait()
            elapsed = time.perf_counter() - start
            if elapsed >= self.seconds or calls >= 1 << 16:
                return elapsed / calls
            calls *= 2


def load_torch(dry: bool) -> Any:
    """PyTorch with a GPU, or None."""
    try:
        import torch
    except ImportError:
        return None
    torch.backends.cudnn.benchmark = True
    return torch if dry or torch.cuda.is_available() else None


# ---- Memory-bound operations


def time_memory_bound(bench: Bench) -> None:
    """Bytes that operations read and write a second, as a share of those of a copy, cnnx's or PyTorch's."""
    x = cnnx.randn(*bench.plan.values, device="cuda")
    channels = x.shape[1]
    weight, bias = cnnx.ones(channels, device="cuda"), cnnx.zeros(channels, device="cuda")
    layer = cnnx.Linear(bench.plan.features, bench.plan.features, bias=False).to("cuda")
    layer.weight.grad = cnnx.randn(*layer.weight.shape, device="cuda")
    momentum = cnnx.optim.SGD(layer.parameters(), lr=1e-4, momentum=0.9)
    adam = cnnx.optim.Adam(layer.parameters(), lr=1e-4)
    value, parameter = 4 * x.numel(), 4 * layer.weight.numel()
    cases: dict[str, tuple[Callable[[], object], float]] = {
        "relu": (lambda: F.relu(x), 2 * value),
        "add": (lambda: x + x, 2 * value),
        "max_pool2d 2x2": (lambda: F.max_pool2d(x, 2), 1.25 * value),
        "avg_pool2d 2x2": (lambda: F.avg_pool2d(x, 2), 1.25 * value),
        "batch_norm training": (lambda: F.batch_norm(x, None, None, weight, bias, training=True), 3 * value),
        "sum": (x.sum, value),
        "SGD with momentum": (momentum.step, 5 * parameter),
        "Adam": (adam.step, 7 * parameter),
    }
    with cnnx.no_grad():
        copied = 2 * value / bench.time(x.clone, cnnx.cuda.synchronize)
        if bench.torch:
            other = bench.torch.zeros(tuple(x.shape), device=bench.torch_device)
            copied = max(copied, 2 * value / bench.time(other.clone, bench.wait_for_torch))
        bench.say(f"copy: {copied / 1e9:.0f} GB/s")
        for name, (step, moved) in cases.items():
            rate = moved / bench.time(step, cnnx.cuda.synchronize)
            bench.note("memory", rate / copied)
            bench.say(f"{name}: {rate / 1e9:.0f} GB/s, {rate / copied:.2f} of the copy")
    bench.free()


# ---- Convolutions


def time_convolution(bench: Bench, shape: ConvShape, batch: int, what: str, precision: str, algorithm: str) -> float:
    cnnx.set_conv_algorithm(algorithm)
    try:
        with bench.computed_in(precision):
            return bench.time(cnnx_step(shape, batch, what, "cuda"), cnnx.cuda.synchronize)
    finally:
        cnnx.set_conv_algorithm("auto")


def time_torch_convolution(bench: Bench, shape: ConvShape, batch: int, what: str, precision: str) -> float:
    dtype = precision if precision in HALVES else "float32"
    with bench.computed_in(precision):
        step = torch_step(shape, batch, what, bench.torch_device, dtype, precision != "float32")
        return bench.time(step, bench.wait_for_torch)


def measure_pass(
    bench: Bench, ratios: dict[str, list[float]], net: str, shape: ConvShape, batch: int, what: str, precision: str
) -> None:
    """One pass of a convolution; adds its ratios to those of the pass."""
    size = f"{shape.in_channels}->{shape.out_channels} {shape.size}^2 {shape.kernel}x{shape.kernel}/{shape.stride}"
    name = f"{net} {size} {batch} {what} {precision}"
    case = (bench, shape, batch, what, precision)
    mine = bench.attempt(f"{name}: cnnx", lambda: time_convolution(*case, "auto"))
    if mine is None:
        return
    line = f"{name}: {mine * 1e3:.3f} ms, {shape.flops(batch) / mine / 1e12:.2f} TFLOP/s"
    times = {"": mine}
    if cnnx.cuda.cudnn_version() is not None and precision not in HALVES:
        own = bench.attempt(f"{name}: cnnx's own kernels", lambda: time_convolution(*case, "implicit_gemm"))
        if own is not None:
            times[", cnnx's own kernels"] = own
            line += f", cnnx's own kernels {own * 1e3:.3f} ms"
    other = bench.attempt(f"{name}: torch", lambda: time_torch_convolution(*case)) if bench.torch else None
    if other is not None:
        for kernels, seconds in times.items():
            ratios.setdefault(f"{what} {precision}{kernels}", []).append(other / seconds)
        bench.note(f"conv {precision}", other / mine)
        line += f", torch / cnnx {other / mine:.2f}"
    bench.say(line)


def time_convolutions(bench: Bench, precision: str) -> None:
    """Every convolution that the networks have, once: by what cnnx chooses, by its own kernels, by PyTorch."""
    end = time.perf_counter() + bench.minutes * 60 / len(bench.precisions)
    shapes: dict[ConvShape, str] = {}
    for net, case in bench.plan.layers.items():
        if bench.only not in net:
            continue
        with cnnx.no_grad():
            for shape in convolutions(case.build(), cnnx.zeros(1, *case.shape)):
                shapes.setdefault(shape, net)
    ratios: dict[str, list[float]] = {}
    cases = [(shape, batch) for shape in shapes for batch in bench.plan.batches]
    random.Random(0).shuffle(cases)
    for done, (shape, batch) in enumerate(cases):
        if time.perf_counter() > end and not bench.dry:
            bench.say(f"{precision}: {done} of {len(cases)} convolutions in the time that there was")
            break
        for what in PASSES:
            measure_pass(bench, ratios, shapes[shape], shape, batch, what, precision)
        bench.free()
    for text, values in ratios.items():
        bench.say(f"{text}: geometric mean {geometric_mean(values):.3f}")


# ---- Training steps


@dataclass
class Step:
    """Seconds a training step, and the most bytes of device memory that it took."""

    seconds: float
    peak: int


def cnnx_training(bench: Bench, net: str, batch: int, precision: str, how: str) -> Step:
    """`how` names what is used: "graph", "autotune", both or neither."""
    case = NETS[net]
    model = case.build().to("cuda")
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    images = cnnx.randn(batch, *case.shape, device="cuda")
    labels = cnnx.tensor(np.arange(batch) % case.classes).to("cuda")

    def step(images: cnnx.Tensor, labels: cnnx.Tensor) -> cnnx.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    with bench.computed_in(precision), cnnx.autotune("autotune" in how):
        step(images, labels)  # chooses algorithms, which takes memory of its own
        run = cnnx.cuda.graph(step) if "graph" in how else step
        cnnx.cuda.memory.reset_peak()
        seconds = bench.time(lambda: run(images, labels), cnnx.cuda.synchronize)
    return Step(seconds, cnnx.cuda.memory.peak())


def torch_training(bench: Bench, net: str, batch: int, precision: str, compiled: bool) -> Step:
    torch, device = bench.torch, bench.torch_device
    case = NETS[net]
    layout = torch.contiguous_format if precision == "float32" else torch.channels_last
    model = to_torch(case.build()).train().to(device, memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    images = torch.randn(batch, *case.shape, device=device).contiguous(memory_format=layout)
    labels = torch.arange(batch, device=device) % case.classes
    if not compiled:
        call = model
    elif device == "cuda":
        call = torch.compile(model, mode="reduce-overhead")
    else:
        call = torch.compile(model, backend="eager")

    def step() -> None:
        optimizer.zero_grad()
        half = getattr(torch, precision) if precision in HALVES else torch.bfloat16
        with torch.autocast(device, dtype=half, enabled=precision in HALVES):
            loss = torch.nn.functional.cross_entropy(call(images), labels)
        loss.backward()
        optimizer.step()

    with bench.computed_in(precision):
        step()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = bench.time(step, bench.wait_for_torch)
    return Step(seconds, torch.cuda.max_memory_allocated() if device == "cuda" else 0)


def time_training(bench: Bench, net: str, batch: int, precision: str, is_small: bool) -> None:
    name = f"{net} {batch} training step {precision}"
    mine: dict[str, Step] = {}
    theirs: dict[str, Step] = {}

    def keep(steps: dict[str, Step], how: str, run: Callable[[], Step]) -> None:
        def measure() -> float:
            steps[how] = run()
            return steps[how].seconds

        if bench.attempt(f"{name}, {how}", measure) is not None:
            bench.free()
            bench.say(f"{name}, {how}: {steps[how].seconds * 1e3:.3f} ms, peak {steps[how].peak / 2**20:.1f} MiB")

    for how in (
        ("one by one", "graph", "graph, autotune") if is_small else ("one by one", "autotune", "graph, autotune")
    ):
        keep(mine, f"cnnx {how}", lambda how=how: cnnx_training(bench, net, batch, precision, how))
    if bench.torch:
        for how in ("eager", "compiled") if is_small else ("eager",):
            keep(
                theirs, f"torch {how}", lambda how=how: torch_training(bench, net, batch, precision, how == "compiled")
            )
    if not mine or not theirs:
        return
    best = min(mine, key=lambda how: mine[how].seconds)
    for how, step in theirs.items():
        ratio = step.seconds / mine[best].seconds
        bench.say(f"{name}: {how} / {best} {ratio:.2f}")
        bench.note(f"{net} {how.split()[1]}" if is_small else f"{net} {precision}", ratio)
    if "torch eager" in theirs and theirs["torch eager"].peak:
        share = mine[best].peak / theirs["torch eager"].peak
        bench.say(f"{name}: peak memory {share:.2f} of torch eager's")
        bench.note("peak", share)


# ---- The run


def versions(bench: Bench) -> dict[str, str]:
    found = {"cnnx": cnnx.__version__, "cnnx's cuDNN": str(cnnx.cuda.cudnn_version())}
    found["cnnx's tensor cores"] = str(cnnx.cuda.tensor_cores())
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        found["gpu"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    if bench.torch:
        found |= {"torch": bench.torch.__version__, "torch's CUDA": str(bench.torch.version.cuda)}
        found["torch's cuDNN"] = str(bench.torch.backends.cudnn.version())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="everything once, on tiny shapes")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS[:3]), choices=PRECISIONS)
    parser.add_argument("--seconds", type=float, default=0.02, help="that a measurement takes, about")
    parser.add_argument("--minutes", type=float, default=4, help="that convolutions take, about")
    parser.add_argument("--save", default="", help="write results/NAME.json")
    options = parser.parse_args()
    bench = Bench(options)
    start = time.perf_counter()
    os.environ.setdefault("CNNX_AUTOTUNE_CACHE", "")  # measures anew
    cnnx.zeros(1, device="cuda")  # says what is missing
    cnnx.manual_seed(0)
    for name, version in versions(bench).items():
        bench.say(f"{name}: {version}")
    time_memory_bound(bench)
    for plan, is_small in ((bench.plan.launch_bound, True), (bench.plan.large, False)):
        for net, batch in plan.items():
            if bench.only in net:
                for precision in ["float32"] if is_small else bench.precisions:
                    time_training(bench, net, batch, precision, is_small)
    for precision in bench.precisions:
        time_convolutions(bench, precision)
    bench.say(f"\n{'goal':66} wanted   found" + (" (a dry run's mean nothing)" if bench.dry else ""))
    for goal in bench.goals.values():
        bench.say(goal.row())
    bench.say(f"\n{time.perf_counter() - start:.0f} s")
    if options.save:
        report = {"versions": versions(bench), "lines": bench.lines}
        path = Path(__file__).parent / "results" / f"{options.save}.json"
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
