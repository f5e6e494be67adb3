"""Autotune on a GPU: what is kept in the file, and for whom. See test_autotune.py and test_cuda.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers import needs_cuda
from test_cuda_cudnn import install, needs_host
from test_cuda_devices import run_with

import cnnx

_CODE = """
import cnnx, json, sys
for device in sys.argv[1:]:
    x, w = cnnx.ones(1, 4, 9, 9, device=device), cnnx.ones(4, 1, 3, 3, device=device)
    with cnnx.no_grad(), cnnx.autotune():
        cnnx.functional.conv2d(x, w, groups=4)
print(json.dumps(cnnx.autotune_choices()))
"""


def _run(cache: Path | str, *devices: str, **environment: str) -> list[dict]:
    settings = {**os.environ, "CNNX_AUTOTUNE_CACHE": str(cache), **environment}
    code = [sys.executable, "-c", _CODE, *devices]
    done = subprocess.run(code, env=settings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_cuda
def test_the_file_keeps_what_a_gpu_has_measured(tmp_path):
    cache = tmp_path / "choices.json"
    (measured,) = _run(cache, "cuda", "cuda")
    assert measured["source"] == "measured"
    assert set(measured["ms"]) >= {"direct", "implicit_gemm"}
    _run(cache, "cpu")
    assert len(json.loads(cache.read_text())["machines"]) == 2
    (read,) = _run(cache, "cuda")
    assert read == {**measured, "source": "file"}


@needs_cuda
@needs_host
def test_a_gpu_believes_its_own_kind_alone(tmp_path):
    cache = tmp_path / "choices.json"
    (first,) = _run(cache, "cuda:0", "cuda:1", CNNX_CUDA_HOST_NAMES="Big")
    software = "CUDA 13.0, driver for CUDA 13.0, cuDNN 0, wgmma"
    assert first["machine"].startswith(f"Big, compute capability 9.0, {software}, cnnx ")
    both = _run(cache, "cuda:0", "cuda:1", CNNX_CUDA_HOST_NAMES="Big,Small")
    assert [(c["machine"].split(",")[0], c["source"]) for c in both] == [("Big", "file"), ("Small", "measured")]
    assert both[0]["key"] == both[1]["key"]
    (small,) = _run(cache, "cuda:0", CNNX_CUDA_HOST_NAMES="Small")
    assert small == {**both[1], "source": "file"}
    (other,) = _run(cache, "cuda:0", CNNX_CUDA_HOST_NAMES="Small", CNNX_WGMMA="0")
    assert other["source"] == "measured"
    assert other["machine"] == small["machine"].replace("wgmma", "mma.sync")


@needs_cuda
def test_clear_forgets_the_gpus_too(tmp_path, monkeypatch):
    cache = tmp_path / "choices.json"
    _run(cache, "cuda")
    monkeypatch.setenv("CNNX_AUTOTUNE_CACHE", str(cache))
    cnnx.clear_autotune()
    assert json.loads(cache.read_text())["machines"] == {}


@needs_cuda
@needs_host
def test_an_algorithm_that_starts_slowly_is_not_given_up(tmp_path):
    """Kernels are loaded when they are first launched, which takes longer than most of them run."""
    settings = {"CNNX_CUDNN": install(tmp_path), "CNNX_CUDNN_HOST_FAIL": "start"}
    (choice,) = _run("", "cuda", **settings)
    assert 0 < choice["ms"]["cudnn"] < 30
    assert "cuDNN 91300" in choice["machine"]


@needs_cuda
@needs_host
def test_a_graph_takes_the_choice_of_the_file_at_once(tmp_path):
    """A capture cannot measure, but what the file says needs no measurement."""
    cache, settings = tmp_path / "choices.json", {"CNNX_CUDNN": install(tmp_path)}
    _run(cache, "cuda", **settings)
    code = """
import cnnx
w = cnnx.ones(4, 1, 3, 3, device="cuda")
with cnnx.no_grad(), cnnx.autotune():
    run = cnnx.cuda.graph(lambda x: cnnx.functional.conv2d(x, w, groups=4), warmup=0)
    print(run(cnnx.ones(1, 4, 9, 9, device="cuda")).sum().item(), end=" ")
print(*((c["source"], c["algorithm"]) for c in cnnx.autotune_choices()))
"""
    for algorithm in ("direct", "cudnn", "implicit_gemm"):
        content = json.loads(cache.read_text())
        for choices in content["machines"].values():
            for choice in choices.values():
                choice["algorithm"] = algorithm
        cache.write_text(json.dumps(content))
        out = run_with(code, CNNX_AUTOTUNE_CACHE=str(cache), **settings)
        assert out.strip() == f"1764.0 ('file', '{algorithm}')"


@needs_cuda
def test_weights_that_change_are_no_other_kind(monkeypatch):
    """No kernel of a GPU prepares weights."""
    monkeypatch.setenv("CNNX_AUTOTUNE_CACHE", "")
    cnnx.clear_autotune()
    x, w = cnnx.ones(1, 4, 11, 9, device="cuda"), cnnx.ones(4, 1, 3, 3, device="cuda", requires_grad=True)
    with cnnx.autotune():
        cnnx.functional.conv2d(x, w, groups=4)
        with cnnx.no_grad():
            cnnx.functional.conv2d(x, w, groups=4)
    assert len(cnnx.autotune_choices()) == 1
    cnnx.clear_autotune()


@needs_cuda
def test_a_busy_processor_does_not_matter():
    """What the library's threads do, here under another thread, takes nothing of the GPU."""
    code = """
import cnnx, threading
cnnx.set_num_threads(2)
volume, stop = cnnx.ones(16, 16, 128, 128), threading.Event()
def keep_busy():
    while not stop.is_set():
        cnnx.functional.max_pool2d(volume, 3, 1)
busy = threading.Thread(target=keep_busy)
busy.start()
w = cnnx.ones(4, 1, 3, 3, device="cuda")
with cnnx.autotune():
    for size in range(9, 29):
        cnnx.functional.conv2d(cnnx.ones(1, 4, size, 9, device="cuda"), w, groups=4)
stop.set()
busy.join()
print([choice["source"] for choice in cnnx.autotune_choices()] == ["measured"] * 20)
"""
    assert run_with(code, CNNX_AUTOTUNE_CACHE="").strip() == "True"
