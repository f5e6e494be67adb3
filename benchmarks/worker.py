"""Times one library on all cases in a process of its own and prints JSON. Run by run.py, which sets the thread counts."""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import CONV_CASES, NET_CASES


def measure(step: Callable[[], object], seconds: float) -> dict[str, float]:
    """Median and minimum of one call in milliseconds: warm-up for a fifth of the time, then until it is over."""
    end = time.perf_counter() + seconds / 5
    step()
    while time.perf_counter() < end:
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"median_ms": statistics.median(times) * 1e3, "min_ms": min(times) * 1e3, "runs": len(times)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=["cnnx", "torch"])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1, help="of the convolutions")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    library: Any = importlib.import_module(f"with_{arguments.library}")
    library.set_threads(arguments.threads)
    rng = np.random.default_rng(0)
    results = {}
    for case in NET_CASES:
        if arguments.only in case.name:
            images = rng.standard_normal((case.batch, *case.shape), np.float32)
            labels = rng.integers(0, 10, case.batch)
            results[case.name] = measure(library.net_step(case, images, labels), arguments.seconds)
    for case in CONV_CASES:
        x = rng.standard_normal((arguments.batch, case.in_channels, case.size, case.size), np.float32)
        w = rng.standard_normal(
            (case.out_channels, case.in_channels // case.groups, case.kernel, case.kernel), np.float32
        )
        for name, backward in ((f"{case.name}.forward", False), (f"{case.name}.backward", True)):
            if arguments.only in name:
                results[name] = measure(library.conv_step(case, x, w, backward), arguments.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps({"library": arguments.library, "version": library.version(), "peak_kib": peak, "results": results})
    )


if __name__ == "__main__":
    main()
