"""Command line of the benchmarks.

python -m benchmarks                 all networks, training and inference, against all peers that are installed
python -m benchmarks --quick         the same in less than three minutes: small networks, and large ones image by image
python -m benchmarks --only resnet   the rows whose name contains a text
python -m benchmarks.layers          every algorithm on every convolution of the networks

Peers (each optional): torch in both layouts and, in training and without --quick, compiled; ONNX Runtime, OpenVINO, ncnn with pnnx. Exporting the networks takes torch. Every
figure comes from a process of its own, peers in turns; a ratio is the peer's time over cnnx's, above 1 in favour of cnnx.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .cases import CASES, NETS, QUICK, Case
from .peers import PEERS, SCORERS, SLOW, TRAINERS

HERE = Path(__file__).resolve().parent
_MODULES = {"torch_nhwc": "torch", "torch_compile": "torch"}
Row = dict[str, dict[str, Any]]


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(": ", 1)[1]
    except OSError:
        pass
    return platform.processor()


def machine() -> dict[str, str]:
    return {"cpu": cpu_name(), "system": platform.platform(), "python": platform.python_version()}


def run(module: str, arguments: list[str], threads: int) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "CNNX_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, env=environment)
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "no output")
    return result.stdout


def measure(case: Case, peers: list[str], models: Path, options: argparse.Namespace) -> Row:
    net = NETS[case.net]
    shape = [str(length) for length in (case.batch, *net.shape)]
    flags = ["--classes", str(net.classes), "--seconds", str(options.seconds)]
    rounds: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for _ in range(options.rounds):
        for peer in peers:
            worker = [peer, case.net, str(models), *shape, *flags, *(["--train"] if case.train else [])]
            try:
                rounds[peer].append(json.loads(run("worker", worker, options.threads).splitlines()[-1]))
            except RuntimeError as error:
                print(f"{case.name}: {peer} failed: {error}", file=sys.stderr)
    return {
        peer: {
            "median_ms": statistics.median(r["median_ms"] for r in results),
            "min_ms": min(r["min_ms"] for r in results),
            "peak_mib": max(r["peak_mib"] for r in results),
            "version": results[0]["version"],
        }
        for peer, results in rounds.items()
        if results
    }


def best_peer(row: Row) -> str:
    return min((peer for peer in row if peer != "cnnx"), key=lambda peer: row[peer]["median_ms"])


def print_row(case: Case, row: Row) -> None:
    cells = "".join(f"{row[peer]['median_ms']:14.3f}" if peer in row else f"{'-':>14}" for peer in PEERS)
    text = f"{case.name:20}{cells}"
    if "cnnx" in row and len(row) > 1:
        peer = best_peer(row)
        times, least = ([row[p][key] for p in (peer, "cnnx")] for key in ("median_ms", "min_ms"))
        memory = [row[p]["peak_mib"] for p in ("cnnx", "torch") if p in row]
        share = f"{memory[0] / memory[1]:8.2f}" if len(memory) == 2 else f"{'-':>8}"
        text += f"{times[0] / times[1]:8.2f}{least[0] / least[1]:8.2f}{share}  {peer}"
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument(
        "--peers", nargs="+", choices=PEERS, help="default all; with --quick none that is slow to start"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, help="a process measures; default 1, with --quick 0.3")
    parser.add_argument("--rounds", type=int, help="processes a figure; default 3, with --quick 1")
    parser.add_argument("--save", default="", help="write results/NAME.json")
    options = parser.parse_args()
    options.seconds = options.seconds or (0.3 if options.quick else 1.0)
    options.rounds = options.rounds or (1 if options.quick else 3)
    wanted = options.peers or [peer for peer in PEERS if not (options.quick and peer in SLOW)]
    peers = [peer for peer in wanted if importlib.util.find_spec(_MODULES.get(peer, peer))]
    cases = [case for case in (QUICK if options.quick else CASES) if options.only in case.name]
    rows: dict[str, Row] = {}
    print(f"{machine()['cpu']}, {options.threads} threads; medians in ms; ratios of the best peer's time to cnnx's")
    print(f"{'':20}" + "".join(f"{peer:>14}" for peer in PEERS) + "   ratio  of min  memory/torch")
    with tempfile.TemporaryDirectory() as folder:
        if len(peers) > 1:
            run("export", [folder, *dict.fromkeys(case.net for case in cases)], options.threads)
        for case in cases:
            chosen = [peer for peer in peers if peer in (TRAINERS if case.train else SCORERS)]
            rows[case.name] = measure(case, chosen, Path(folder), options)
            print_row(case, rows[case.name])
    versions = {peer: result["version"] for row in rows.values() for peer, result in row.items()}
    print(f"versions: {versions}")
    if options.save:
        report = {"machine": machine(), "threads": options.threads, "versions": versions, "results": rows}
        for row in rows.values():
            for result in row.values():
                del result["version"]
        path = HERE / "results" / f"{options.save}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
