"""Compares cnnx with PyTorch: each library in processes of its own, in turns, with the same threads and random data.

Usage: python benchmarks/run.py [--threads N] [--seconds S] [--rounds R] [--only TEXT] [--save NAME]

Prints a table, ratios above 1 are in favour of cnnx; --save writes benchmarks/results/NAME.json with the machine's data. Of
all rounds, each case's median is the median of medians, its minimum the smallest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIBRARIES = ("cnnx", "torch")


def run_worker(library: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "worker.py"), library, "--threads", str(arguments.threads)]
    command += ["--seconds", str(arguments.seconds), "--only", arguments.only]
    threads = {"OMP_NUM_THREADS": str(arguments.threads), "CNNX_NUM_THREADS": str(arguments.threads)}
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=HERE, env={**os.environ, **threads}
    )
    worker: dict[str, Any] = json.loads(result.stdout)
    return worker


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(": ", 1)[1]
    except OSError:
        pass
    return platform.processor()


def combine(rounds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "median_ms": statistics.median(r["results"][name]["median_ms"] for r in rounds),
            "min_ms": min(r["results"][name]["min_ms"] for r in rounds),
        }
        for name in rounds[0]["results"]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--save", default="")
    arguments = parser.parse_args()
    rounds: dict[str, list[dict[str, Any]]] = {library: [] for library in LIBRARIES}
    for _ in range(arguments.rounds):
        for library in LIBRARIES:
            rounds[library].append(run_worker(library, arguments))
    report = {
        "machine": {"cpu": cpu_name(), "system": platform.platform(), "python": platform.python_version()},
        "threads": arguments.threads,
        "versions": {library: runs[0]["version"] for library, runs in rounds.items()},
        "peak_kib": {library: max(run["peak_kib"] for run in runs) for library, runs in rounds.items()},
        "results": {library: combine(runs) for library, runs in rounds.items()},
    }
    ours, theirs = (report["results"][library] for library in LIBRARIES)
    print(f"{report['machine']['cpu']}, {arguments.threads} threads, {report['versions']}")
    print(f"{'case':34} {'cnnx ms':>10} {'torch ms':>10} {'torch / cnnx':>13} {'of minima':>10}")
    for name in ours:
        a, b = ours[name], theirs[name]
        ratios = b["median_ms"] / a["median_ms"], b["min_ms"] / a["min_ms"]
        print(f"{name:34} {a['median_ms']:10.3f} {b['median_ms']:10.3f} {ratios[0]:13.2f} {ratios[1]:10.2f}")
    print("peak memory of the process, MiB:", {name: kib // 1024 for name, kib in report["peak_kib"].items()})
    if arguments.save:
        path = HERE / "results" / f"{arguments.save}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
