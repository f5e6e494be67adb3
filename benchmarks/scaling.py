"""How the time of a net grows with batch, image size, channels and depth, on one thread and on several.

python -m benchmarks.scaling [--save NAME] [--plot FILE]

The net is a row of 3x3 convolutions with ReLU, global average pooling and a linear layer. One quantity varies at a time, the others
stay as in BASE.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cnnx
import cnnx.functional as F

from .__main__ import HERE, machine
from .worker import measure

BASE = {"batch": 4, "size": 64, "channels": 32, "depth": 4}
SERIES = {
    "batch": (1, 2, 4, 8, 16, 32, 64, 128, 256),
    "size": (32, 64, 128, 256, 512),
    "channels": (4, 8, 16, 32, 64, 128, 256),
    "depth": (1, 2, 4, 8, 16, 32),
}
_TITLES = {"batch": "images in the batch", "size": "height and width", "channels": "channels", "depth": "convolutions"}
_CLASSES = 10


def make_step(batch: int, size: int, channels: int, depth: int, train: bool) -> Callable[[], object]:
    layers: list[cnnx.Module] = []
    for _ in range(depth):
        layers += [cnnx.Conv2d(channels, channels, 3, padding=1), cnnx.ReLU()]
    net = cnnx.Sequential(*layers, cnnx.AdaptiveAvgPool2d(1), cnnx.Flatten(), cnnx.Linear(channels, _CLASSES))
    x = cnnx.randn(batch, channels, size, size)
    if not train:
        return cnnx.no_grad()(lambda: net(x))
    labels = cnnx.tensor([i % _CLASSES for i in range(batch)])
    optimizer = cnnx.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimizer.step()

    return step


def run(threads: list[int], seconds: float) -> list[dict[str, Any]]:
    points = []
    for name, values in SERIES.items():
        for value in values:
            for count in threads:
                cnnx.set_num_threads(count)
                for train in (False, True):
                    result = measure(make_step(**{**BASE, name: value}, train=train), seconds)
                    point = {"series": name, "value": value, "threads": count, "train": train, **result}
                    points.append(point)
                    print(
                        f"{name:9}{value:4}  threads {count}  {'train' if train else 'infer'}  {result['median_ms']:10.3f} ms"
                    )
    return points


def plot(points: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots(2, 2)
    for ax, name in zip(axes.flat, SERIES, strict=True):
        mine = [p for p in points if p["series"] == name]
        for count in sorted({p["threads"] for p in mine}):
            for train in (False, True):
                line = [p for p in mine if p["threads"] == count and p["train"] == train]
                label = f"{'training step' if train else 'scores'}, {count} thread{'s' if count > 1 else ''}"
                ax.plot(
                    [p["value"] for p in line],
                    [p["median_ms"] for p in line],
                    "o-" if count > 1 else "o--",
                    ms=3,
                    label=label,
                )
        ax.set(xscale="log", yscale="log", xlabel=_TITLES[name], ylabel="ms")
        ax.set_xticks(SERIES[name], [str(value) for value in SERIES[name]])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.2, help="a point is measured")
    parser.add_argument("--save", default="", help="write results/NAME.json")
    parser.add_argument("--plot", type=Path, help="draw the series into a picture")
    options = parser.parse_args()
    points = run(sorted({1, len(os.sched_getaffinity(0))}), options.seconds)
    if options.save:
        report = {"machine": machine(), "cnnx": cnnx.__version__, "base": BASE, "points": points}
        (HERE / "results" / f"{options.save}.json").write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        plot(points, options.plot)


if __name__ == "__main__":
    main()
