"""Compiles every CUDA source with nvcc and prints what each kernel takes: registers, shared memory, spills.

A spill fails, and so do products of wgmma that ptxas makes wait for each other. Without nvcc there is nothing to check,
which the last line says. No GPU is needed.

    python tools/check_cuda_kernels.py [--architectures 80 90] [--jobs 2]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = [
    "-std=c++20",
    "-O3",
    "--expt-relaxed-constexpr",
    "--extended-lambda",
    "-Xptxas=-v",
    "-DCNNX_BUILDING",
    "-DCNNX_ISA=cuda",
]


@dataclass(frozen=True)
class Kernel:
    """What ptxas says of one kernel on one architecture."""

    name: str
    architecture: str
    registers: int
    shared: int
    spilled: int


def sources(variable: str) -> list[Path]:
    """The sources that the build names."""
    listed = re.search(rf"set\({variable}(.*?)\)", (ROOT / "cpp/cmake/cnnxCUDA.cmake").read_text(), re.DOTALL)
    assert listed
    return [ROOT / name for name in listed[1].split()]


def find_nvcc() -> str | None:
    beside = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin/nvcc"
    return shutil.which("nvcc") or (str(beside) if beside.exists() else None)


def read_report(text: str) -> list[Kernel]:
    kernels = []
    name = architecture = ""
    spilled = 0
    for line in text.splitlines():
        if found := re.search(r"Compiling entry function '(\S+)' for '(\S+)'", line):
            name, architecture = found[1], found[2]
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(found[1]) + int(found[2])
        elif found := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            kernels.append(Kernel(name, architecture, int(found[1]), int(shared[1]) if shared else 0, spilled))
    return kernels


def readable(names: list[str]) -> list[str]:
    """Demangled names without what every one of them has."""
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if not tool:
        return names
    text = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    short = re.sub(
        r"cnnx::cuda::|\(anonymous namespace\)::|_GLOBAL__N__\w+::|\(int\)|\(bool\)|\(cnnx::Precision\)", "", text
    )
    return [re.sub(r"\(.*", "", line.removeprefix("void "))[:110] for line in short.splitlines()]


def compile_one(nvcc: str, source: Path, architectures: list[str], include: str, out: str) -> tuple[Path, str, bool]:
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    paths = [f"-I{ROOT / 'cpp/include'}", f"-I{ROOT / 'cpp/src'}", f"-I{include}"]
    target = f"{out}/{'_'.join(source.relative_to(ROOT).parts)}.o"
    run = subprocess.run(
        [nvcc, *FLAGS, *targets, *paths, "-c", str(source), "-o", target], capture_output=True, text=True, check=False
    )
    return source, run.stderr + run.stdout, run.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["80", "90"])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("skipped: there is no nvcc here (CUDA 12.4 or later has it)")
        return 0
    kernels: list[Kernel] = []
    jobs = [(source, options.architectures) for source in sources("cnnx_cuda_sources")]
    if "90" in options.architectures:
        jobs += [(source, ["90a"]) for source in sources("cnnx_hopper_sources")]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cnnx").mkdir()
        (Path(folder) / "cnnx/version.h").write_text('#pragma once\n#define CNNX_VERSION "0"\n')
        with ThreadPoolExecutor(options.jobs) as pool:
            runs = pool.map(lambda job: compile_one(nvcc, *job, folder, folder), jobs)
            for source, report, compiled in runs:
                if not compiled:
                    print(f"{source.relative_to(ROOT)} does not compile:\n{report}")
                    return 1
                if serialized := re.search(r".*wgmma.*serialized.*", report):
                    print(f"{source.relative_to(ROOT)}: {serialized[0]}")
                    return 1
                kernels += read_report(report)
    print(f"{'registers':>9} {'shared':>7} {'spilled':>7}  kernel")
    for name, kernel in sorted(
        zip(readable([k.name for k in kernels]), kernels, strict=True), key=lambda pair: pair[0]
    ):
        print(f"{kernel.registers:>9} {kernel.shared:>7} {kernel.spilled:>7}  {name} ({kernel.architecture})")
    spilling = sum(kernel.spilled > 0 for kernel in kernels)
    print(f"{len(kernels)} kernels, {spilling} of them spill registers")
    return 1 if spilling or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())
