"""Which instructions of tensor cores are used: wgmma where the check of it passes, mma.sync elsewhere. See test_cuda.py.

A device is checked once a process, so these are processes of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import needs_cuda
from test_cuda_cudnn import needs_host
from test_cuda_devices import run_with

import cnnx

MULTIPLY = """
import numpy as np, cnnx
import cnnx.functional as F
x = cnnx.tensor(np.arange(2 * 5 * 9 * 7) % 7 - 3.0, dtype="float32").reshape(2, 5, 9, 7)
w = cnnx.tensor(np.arange(70 * 5 * 9) % 5 - 2.0, dtype="float32").reshape(70, 5, 3, 3)
with cnnx.autocast("cuda", "bfloat16"):
    images = F.conv2d(x.to("cuda"), w.to("cuda"), padding=1)
    scores = w.reshape(70, 45).to("cuda") @ w.reshape(45, 70).to("cuda")
print((images.to("cpu") - F.conv2d(x, w, padding=1)).abs().max().item())
print((scores.to("cpu") - w.reshape(70, 45) @ w.reshape(45, 70)).abs().max().item())
print(cnnx.cuda.tensor_cores())
"""


def test_tensor_cores():
    assert cnnx.cuda.tensor_cores() in ("wgmma", "mma.sync", None)
    if not cnnx.cuda.is_available():
        assert cnnx.cuda.tensor_cores("cuda:7") is None


@needs_cuda
def test_a_device_that_is_not_there():
    with pytest.raises(RuntimeError, match=r"got device \"cuda:60\""):
        cnnx.cuda.tensor_cores("cuda:60")


@needs_cuda
def test_without_wgmma():
    assert run_with(MULTIPLY, CNNX_WGMMA="0").split() in (["0.0", "0.0", "mma.sync"], ["0.0", "0.0", "None"])


@needs_cuda
@needs_host
@pytest.mark.parametrize(
    ("environment", "used"),
    [
        ({}, "wgmma"),
        ({"CNNX_CUDA_HOST_CAPABILITIES": "10.0"}, "mma.sync"),
        ({"CNNX_CUDA_HOST_CAPABILITIES": "8.9"}, "mma.sync"),
        ({"CNNX_CUDA_HOST_WGMMA": "wrong"}, "mma.sync"),
        ({"CNNX_CUDA_HOST_SHARED": "0"}, "mma.sync"),  # no kernel of wgmma starts
    ],
    ids=["Hopper", "later", "before", "wrong sums", "no start"],
)
def test_what_is_used(environment, used):
    assert run_with(MULTIPLY, **environment).split() == ["0.0", "0.0", used]


@needs_cuda
@needs_host
def test_devices_differ():
    code = "import cnnx; print([cnnx.cuda.tensor_cores(f'cuda:{i}') for i in range(3)])"
    out = run_with(code, CNNX_CUDA_HOST_DEVICES="3", CNNX_CUDA_HOST_CAPABILITIES="8.0,7.5,9.0")
    assert out.strip() == "['mma.sync', None, 'wgmma']"


@needs_cuda
@needs_host
def test_a_graph_may_hold_the_first_product_of_its_device():
    """The check cannot run while it is captured, so it does before."""
    code = """
import cnnx
x = cnnx.randn(40, 70, device="cuda")
with cnnx.autocast("cuda", "float16"):
    captured = cnnx.cuda.graph(lambda: x @ x.T, warmup=0, device="cuda")()
    print(captured.tolist() == (x @ x.T).tolist(), cnnx.cuda.tensor_cores())
"""
    assert run_with(code, CNNX_CUDA_HOST_LAZY="1").split() == ["True", "wgmma"]


@needs_cuda
@needs_host
def test_the_tests_of_precision_pass_without_wgmma():
    file = str(Path(__file__).parent / "test_cuda_precision.py")
    code = f"import pytest, sys; sys.exit(pytest.main(['-x', {file!r}]))"
    assert " passed" in run_with(code, CNNX_WGMMA="0")
