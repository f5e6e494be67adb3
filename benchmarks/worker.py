"""Times one peer on one case in a process of its own and prints JSON. Run by __main__.py."""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def measure(step: Callable[[], object], seconds: float) -> dict[str, float]:
    """Median and minimum of a call in milliseconds: warm-up for a third of the time and two calls at least, then measured
    for the time and three calls at least.
    """
    end = time.perf_counter() + seconds / 3
    calls = 0
    while time.perf_counter() < end or calls < 2:
        step()
        calls += 1
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"median_ms": statistics.median(times) * 1e3, "min_ms": min(times) * 1e3, "runs": len(times)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("net")
    parser.add_argument("models", type=Path)
    parser.add_argument("shape", type=int, nargs=4)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--train", action="store_true")
    arguments = parser.parse_args()
    peer: Any = importlib.import_module(f".peers.{arguments.peer}_peer", __package__)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(arguments.shape, np.float32)
    if arguments.train:
        labels = rng.integers(0, arguments.classes, arguments.shape[0])
        step = peer.training(arguments.net, arguments.models, x, labels)
    else:
        step = peer.inference(arguments.net, arguments.models, x)
    result = measure(step, arguments.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"version": peer.version(), "peak_mib": round(peak / 1024), **result}))


if __name__ == "__main__":
    main()
