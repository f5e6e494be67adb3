"""CUDA devices: copies, memory, processes, and what is said where something is missing. See test_cuda.py."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import needs_cuda

import cnnx


def run_with(code: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return run.stdout


@needs_cuda
def test_copies_between_devices():
    x = cnnx.randn(5, 4, requires_grad=True)
    y = x.to("cuda")
    assert y.device == "cuda"
    assert y.to("cuda") is y or y.to("cuda").device == "cuda"
    (y * 3.0).sum().backward()
    assert x.grad.device == "cpu"
    np.testing.assert_array_equal(np.asarray(x.grad), 3.0)
    assert repr(y.detach()) == repr(x.detach())[:-1] + ", device=cuda:0)"
    assert cnnx.zeros(0, 3, device="cuda").to("cpu").shape == (0, 3)
    with pytest.raises(ValueError, match="expected all tensors on"):
        x + y
    if cnnx.cuda.device_count() > 1:
        z = y.detach().to("cuda:1")
        assert z.device == "cuda:1"
        np.testing.assert_array_equal(np.asarray(z + 1.0), np.asarray(x.detach()) + 1)
        np.testing.assert_array_equal(np.asarray(z.to("cuda:0")), np.asarray(x.detach()))


@needs_cuda
def test_memory_is_counted_reused_and_refused():
    memory = cnnx.cuda.memory
    gc.collect()
    memory.empty_cache()
    before = memory.current()
    x = cnnx.zeros(1 << 20, device="cuda")
    assert memory.current() - before == 4 << 20
    memory.reset_peak()
    del x
    assert memory.current() == before
    assert memory.peak() == before + (4 << 20)
    assert memory.cached() >= 4 << 20
    memory.empty_cache()
    assert memory.cached() == 0
    free, total = memory.info()
    assert 0 < free <= total
    with pytest.raises(MemoryError, match=r"MiB could not be allocated on cuda:0: \d+ of \d+ MiB are free"):
        cnnx.zeros(total, device="cuda")
    np.testing.assert_array_equal(np.asarray(cnnx.ones(3, device="cuda")), 1.0)  # the process stays usable
    cnnx.cuda.synchronize()


@needs_cuda
def test_anomalies_are_found_on_the_gpu():
    with cnnx.detect_anomaly(), pytest.raises(RuntimeError, match="1 NaN and 0 infinite values"):
        cnnx.ReLU()(cnnx.tensor([1.0, float("nan")], device="cuda"))


@needs_cuda
def test_wrong_devices_are_refused():
    with pytest.raises(RuntimeError, match=r'\[cuda\] there (is|are) \d+ CUDA devices?; got device "cuda:63"'):
        cnnx.zeros(1, device="cuda:63")
    with pytest.raises(ValueError, match='a block may be under "cpu" or "meta"'), cnnx.Device("cuda"):
        pass


@needs_cuda
def test_an_optimizer_steps_on_one_device():
    params = [cnnx.ones(2, device=device, requires_grad=True) for device in ("cpu", "cuda")]
    optimizer = cnnx.optim.Adam([{"params": params[:1]}, {"params": params[1:]}], lr=0.5)
    for param in params:
        param.grad = cnnx.ones(2, device=param.device)
    with pytest.raises(ValueError, match=r"\[Adam\] expected all tensors on cpu; got one on cuda:0"):
        optimizer.step()
    assert [p.tolist() for p in params] == [[1.0, 1.0]] * 2
    params[0].grad = None
    optimizer.step()  # no gradient, no part in it
    np.testing.assert_allclose(params[1].tolist(), 0.5, rtol=1e-6)


@needs_cuda
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_is_told_and_does_not_crash():
    code = """
import os, cnnx
x = cnnx.ones(3, device="cuda")
child = os.fork()
if child == 0:
    try:
        x + 1.0
    except RuntimeError as error:
        del x
        os._exit(7 if "forked" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_with(code).split()[-1] == "7"


@needs_cuda
def test_products_are_the_same_with_and_without_cublas():
    code = """
import numpy as np, cnnx
rng = np.random.default_rng(0)
for m, n, k in [(3, 5, 7), (40, 70, 33)]:
    a, b, bias = (rng.standard_normal(s) for s in [(2, m, k), (2, k, n), (n,)])
    for dtype in ("float32", "float64"):
        x, y, z = (cnnx.tensor(v, dtype=dtype, device="cuda").requires_grad_() for v in (a, b, bias))
        ((x @ y) * (x @ y)).sum().backward()
        np.testing.assert_allclose(np.asarray(x @ y), a @ b, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.asarray(x.grad), 2 * (a @ b) @ b.transpose(0, 2, 1), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(np.asarray(y.grad), 2 * a.transpose(0, 2, 1) @ (a @ b), rtol=1e-3, atol=1e-3)
        got = cnnx.functional.linear(x, y[0].transpose(0, 1), z)
        np.testing.assert_allclose(np.asarray(got), a @ b[0] + bias, rtol=1e-4, atol=1e-4)
print("same")
"""
    assert "same" in run_with(code, CNNX_CUBLAS_LIBRARY="none")
    library = os.environ.get("CNNX_CUDA_LIBRARY", "")
    if "host" in library:  # it has products with cuBLAS's interface too
        assert "same" in run_with(code, CNNX_CUBLAS_LIBRARY=library)


TRY = """
import cnnx
print(cnnx.cuda.is_available(), cnnx.cuda.device_count())
try:
    cnnx.zeros(1).to("cuda")
except RuntimeError as error:
    print(error)
"""


def test_a_missing_library_is_named():
    out = run_with(TRY, CNNX_CUDA_LIBRARY="/nowhere/libcnnx_cuda.so")
    assert "False 0" in out
    assert "the CUDA part of cnnx could not be loaded: /nowhere/libcnnx_cuda.so" in out
    assert "CNNX_CUDA=ON" in out


def test_another_library_is_refused():
    import ctypes.util

    out = run_with(TRY, CNNX_CUDA_LIBRARY=ctypes.util.find_library("m") or "libm.so.6")
    assert "is not the CUDA part of cnnx" in out


@needs_cuda
@pytest.mark.skipif("host" not in os.environ.get("CNNX_CUDA_LIBRARY", ""), reason="this is a real GPU")
def test_no_device_is_named():
    out = run_with(TRY, CNNX_CUDA_HOST_DEVICES="0")
    assert "False 0" in out
    assert "[cuda] the NVIDIA driver finds no GPU." in out
