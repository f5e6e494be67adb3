"""cuDNN: convolutions with and without it, a part of it that is missing, and a call that fails. See test_cuda.py.

The library that stands in for a GPU has cuDNN's interface too. cnnx looks for cuDNN once, so these are processes of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers import needs_cuda
from test_cuda_devices import run_with

import cnnx

PARTS = ["", "_graph", "_ops", "_cnn", "_heuristic", "_engines_precompiled", "_engines_runtime_compiled"]
LIBRARY = os.environ.get("CNNX_CUDA_LIBRARY", "")
needs_host = pytest.mark.skipif("host" not in LIBRARY, reason="this is for the stand-in")

CONVOLVE = """
import numpy as np, cnnx
import cnnx.functional as F
print("version", cnnx.cuda.cudnn_version())
try:
    x, w = cnnx.ones(1, 2, 4, 5, device="cuda"), cnnx.ones(3, 2, 3, 3, device="cuda")
    print("sum", F.conv2d(x, w).sum().item())
except RuntimeError as error:
    print(error)
"""


def install(folder: Path, missing: str = "none") -> str:
    """cuDNN's files; the name of the first."""
    for part in PARTS:
        if part != missing:
            (folder / f"libcudnn{part}.so.9").symlink_to(Path(LIBRARY).resolve())
    return str(folder / "libcudnn.so.9")


def test_without_cudnn():
    out = run_with(CONVOLVE, CNNX_CUDNN="0")
    assert "version None" in out
    if cnnx.cuda.is_available():
        assert "sum 324.0" in out


@needs_cuda
@needs_host
def test_cudnn_is_found_and_used(tmp_path):
    file = install(tmp_path)
    out = run_with(CONVOLVE, CNNX_CUDNN=file)
    assert "version 91300" in out
    assert "sum 324.0" in out
    out = run_with(CONVOLVE, CNNX_CUDNN=file, CNNX_CUDNN_HOST_FAIL="run")
    assert "[conv2d] cuDNN's forward pass failed: CUDNN_STATUS_EXECUTION_FAILED (status 5000). CNNX_CUDNN=0 does" in out
    out = run_with(CONVOLVE, CNNX_CUDNN=file, CNNX_CUDNN_HOST_FAIL="create")
    assert "[conv2d] cuDNN's initialisation failed: CUDNN_STATUS_OTHER (status 1001). CNNX_CUDNN=0 does without" in out
    out = run_with(CONVOLVE, CNNX_CUDNN=file, CNNX_CUDNN_HOST_FAIL="support")  # left to cnnx's own kernels
    assert "sum 324.0" in out


@needs_cuda
@needs_host
@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_counts_as_no_cudnn(part, tmp_path):
    out = run_with(CONVOLVE, CNNX_CUDNN=install(tmp_path, part), CNNX_CUDNN_HOST_FAIL="run")
    assert "version None" in out
    assert "sum 324.0" in out


@needs_cuda
@needs_host
@pytest.mark.parametrize(
    ("lazy", "names", "chosen"),
    [
        ("0", ["", "_precision"], "conv"),
        ("1", ["_graphs", "_models"], "bits or gradients or fuses or training or follows"),
    ],
    ids=["operations", "graphs"],
)
def test_the_tests_of_convolutions_pass_on_cudnn(lazy, names, chosen, tmp_path):
    files = [str(Path(__file__).parent / f"test_cuda{name}.py") for name in names]
    code = f"import pytest, sys; sys.exit(pytest.main(['-x', '-k', {chosen!r}, *{files!r}]))"
    assert " passed" in run_with(code, CNNX_CUDNN=install(tmp_path), CNNX_CUDA_HOST_LAZY=lazy)


@needs_cuda
@needs_host
def test_a_graph_may_hold_the_first_product_and_convolution_of_its_device(tmp_path):
    """Handles cannot be made while it is captured, so they are before."""
    code = """
import cnnx
import cnnx.functional as F
cnnx.set_conv_algorithm("cudnn")
x, w = cnnx.randn(1, 500, 6, 6, device="cuda"), cnnx.randn(8, 500, 1, 1, device="cuda")
for function in (lambda: F.linear(x.reshape(36, 500), w.reshape(8, 500)), lambda: F.conv2d(x, w)):
    try:
        captured = cnnx.cuda.graph(function, warmup=0, device="cuda")().tolist()
        print(captured == function().tolist())
    except RuntimeError as error:
        print(error)
"""
    settings = {"CNNX_CUBLAS_LIBRARY": LIBRARY, "CNNX_CUDNN": install(tmp_path)}
    assert run_with(code, **settings).split() == ["True", "True"]
    product, convolution = run_with(code, CNNX_CUDNN_HOST_FAIL="run", **settings).splitlines()
    assert product == "True"
    assert "cuDNN's forward pass failed" in convolution
