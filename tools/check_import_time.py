"""Fails if importing cnnx takes more than 1.5 times as long as importing NumPy alone."""

from __future__ import annotations

import subprocess
import sys
import time

LIMIT = 1.5


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> int:
    times: dict[str, list[float]] = {"import numpy": [], "import cnnx": []}
    for _ in range(15):  # interleaved: the machine's load hits both alike
        for code, values in times.items():
            values.append(seconds(code))
    numpy, cnnx = (min(values) for values in times.values())
    print(f"import numpy {numpy * 1e3:.0f} ms, import cnnx {cnnx * 1e3:.0f} ms: {cnnx / numpy:.2f} times as long")
    return 0 if cnnx <= LIMIT * numpy else 1


if __name__ == "__main__":
    sys.exit(main())
