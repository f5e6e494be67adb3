"""How time grows: python -m benchmarks.scaling [--save NAME] [--plot FILE.svg].

A stack of 3x3 convolutions with ReLU, scored and trained, while one of batch, image size, channels and depth grows and the
others stay. Each library and number of threads runs in a process of its own. PyTorch is optional; the plot takes matplotlib.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .__main__ import HERE, machine, run
from .worker import measure

BASE = {"batch": 8, "size": 64, "channels": 32, "depth": 4}
SERIES = {
    "batch": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "size": (16, 32, 64, 128, 256, 512),
    "channels": (4, 8, 16, 32, 64, 128, 256),
    "depth": (1, 2, 4, 8, 16, 32),
}
_LABELS = {"batch": "images", "size": "height and width", "channels": "channels", "depth": "layers"}
Step = Callable[[], object]
Point = dict[str, int]


def cnnx_steps(point: Point) -> dict[str, Step]:
    import cnnx

    channels = point["channels"]
    layers = [
        layer for _ in range(point["depth"]) for layer in (cnnx.Conv2d(channels, channels, 3, padding=1), cnnx.ReLU())
    ]
    net = cnnx.Sequential(*layers)
    x = cnnx.randn(point["batch"], channels, point["size"], point["size"])

    def train() -> None:
        net.zero_grad()
        net(x).mean().backward()

    return {"score": cnnx.no_grad()(lambda: net(x)), "train": train}


def torch_steps(point: Point) -> dict[str, Step]:
    import torch

    channels = point["channels"]
    layers = [
        layer
        for _ in range(point["depth"])
        for layer in (torch.nn.Conv2d(channels, channels, 3, padding=1), torch.nn.ReLU())
    ]
    net = torch.nn.Sequential(*layers)
    x = torch.randn(point["batch"], channels, point["size"], point["size"])

    def train() -> None:
        net.zero_grad()
        net(x).mean().backward()

    return {"score": torch.inference_mode()(lambda: net(x)), "train": train}


def work(library: str, seconds: float) -> None:
    """Prints {series: {value: {step: milliseconds}}} of one library."""
    steps_of = {"cnnx": cnnx_steps, "torch": torch_steps}[library]
    results: dict[str, dict[int, dict[str, float]]] = {}
    for name, values in SERIES.items():
        results[name] = {}
        for value in values:
            steps = steps_of({**BASE, name: value})
            results[name][value] = {what: measure(step, seconds)["median_ms"] for what, step in steps.items()}
    print(json.dumps(results))


def plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2).flat
    colours = {"cnnx": "tab:blue", "torch": "tab:orange"}
    for axis, (name, values) in zip(axes, SERIES.items(), strict=True):
        for run_name, series in results.items():
            library, threads = run_name.split()
            for what, line in (("score", "-"), ("train", "--")):
                times = [series[name][str(value)][what] for value in values]
                label = f"{library}, {what}, {threads} thread{'s' if threads != '1' else ''}"
                width = 1.8 if threads != "1" else 0.8
                axis.plot(values, times, line, color=colours[library], linewidth=width, marker=".", label=label)
        fixed = ", ".join(f"{_LABELS[key]} {value}" for key, value in BASE.items() if key != name)
        axis.set(xscale="log", yscale="log", xlabel=_LABELS[name], ylabel="milliseconds", title=f"{name} ({fixed})")
        axis.set_xticks(values, [str(value) for value in values], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="*", default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--seconds", type=float, default=0.15, help="a figure is measured")
    parser.add_argument("--save", default="", help="write results/NAME.json")
    parser.add_argument("--plot", type=Path, help="write this picture")
    parser.add_argument("--worker", choices=("cnnx", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.seconds)
        return
    results: dict[str, Any] = {}
    for library in ("cnnx", "torch"):
        for threads in options.threads if importlib.util.find_spec(library) else []:
            arguments = ["--worker", library, "--seconds", str(options.seconds)]
            results[f"{library} {threads}"] = json.loads(run("scaling", arguments, threads).splitlines()[-1])
    for name, values in SERIES.items():
        print(f"{name:10}{'':8}" + "".join(f"{value:>10}" for value in values))
        for run_name, series in results.items():
            for what in ("score", "train"):
                times = (series[name][str(value)][what] for value in values)
                print(f"  {run_name + ' ' + what:16}" + "".join(f"{time:10.2f}" for time in times))
    if options.save:
        report = {"machine": machine(), "base": BASE, "results": results}
        (HERE / "results" / f"{options.save}.json").write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
