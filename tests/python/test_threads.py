"""Threads and processes: the same bits with any number of threads, fork, several Python threads, torch beside us."""

from __future__ import annotations

import contextlib
import copy
import itertools
import operator
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import needs_torch

import cnnx
import cnnx.functional as F


def _work() -> list[np.ndarray]:
    """Outputs and gradients of everything that runs in parallel, on sizes that are cut into many chunks."""
    cnnx.manual_seed(3)
    x = cnnx.randn(6, 8, 40, 41, requires_grad=True)
    w, dw = cnnx.randn(16, 8, 3, 3, requires_grad=True), cnnx.randn(16, 1, 3, 3, requires_grad=True)
    gamma, beta = cnnx.ones(16, requires_grad=True), cnnx.zeros(16, requires_grad=True)
    y = F.conv2d(x, w, padding=1)
    y = F.conv2d(y, dw, groups=16, padding=1)
    y = F.relu(F.batch_norm(y, None, None, gamma, beta, training=True))
    y = F.dropout(F.max_pool2d(y, 3, 2), 0.2)
    y = F.gelu(F.avg_pool2d(y, 2)).flatten(1)
    head = cnnx.randn(50, y.shape[1], requires_grad=True)
    scores = F.linear(y, head) * 0.01
    loss = F.cross_entropy(scores, cnnx.tensor([1, 2, 3, 4, 5, 49])) + F.softmax(scores, 0).max() + y.mean()
    loss.backward()
    return [t.detach().numpy().copy() for t in (loss, scores)] + [
        t.grad.numpy().copy() for t in (x, w, dw, gamma, beta, head)
    ]


def _other_layers() -> list[np.ndarray]:
    """The same for the layers beside those of a plain convnet."""
    cnnx.manual_seed(4)
    shapes = [(6, 8, 40, 41), (8, 6, 3, 3), (19, 20, 4, 8, 3, 3), (4, 19, 20), (8,), (8,), (40, 41), (40, 41)]
    x, up, local, bias, gamma, beta, g, b = parameters = [cnnx.randn(*shape, requires_grad=True) for shape in shapes]
    columns = F.im2col(x, 3, stride=2)
    outputs = [
        F.conv_transpose2d(x, up, stride=2),
        F.locally_connected2d(x, local, bias, stride=2),
        F.group_norm(x, 4, gamma, beta),
        F.group_norm(F.upsample(x, 300), 2, gamma, beta),
        F.layer_norm(x, (40, 41), g, b),
        F.instance_norm(x, weight=gamma),
        F.upsample(x, scale_factor=1.7, mode="bilinear"),
        F.pad(x, (5, 6, 7, 8), "reflect"),
        F.dropout2d(x, 0.3),
        F.col2im(columns, (40, 41), 3, stride=2),
    ]
    for y in outputs:
        (y * y).mean().backward(retain_graph=True)
    return [t.detach().numpy().copy() for t in outputs] + [t.grad.numpy().copy() for t in parameters]


@pytest.mark.parametrize("work", [_work, _other_layers])
def test_results_do_not_depend_on_the_number_of_threads(work):
    results = []
    for threads in (1, 2, 3, 7):
        cnnx.set_num_threads(threads)
        results.append(work())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_python_threads_run_forwards_at_once():
    net = cnnx.models.lenet5().eval()
    x = cnnx.randn(8, 1, 32, 32)
    expected = net(x).tolist()
    results: list[list[bool]] = [[] for _ in range(4)]

    def work(mine: list[bool]) -> None:
        with cnnx.no_grad():
            for _ in range(20):
                mine.append(net(x).tolist() == expected)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(mine) == 20 and all(mine) for mine in results)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process")
def test_forked_child_computes():
    expected = _work()
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = all(np.array_equal(a, b) for a, b in zip(expected, _work(), strict=True))
        finally:
            os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _run(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return result.stdout.strip()


def test_environment_sets_threads_and_instruction_set():
    code = "import cnnx; print(cnnx.get_num_threads(), cnnx.cpu_isa())"
    assert _run(code, CNNX_NUM_THREADS="3", CNNX_ISA="generic") == "3 generic"


@pytest.mark.parametrize("isa", ["generic", "avx2"])
def test_every_instruction_set_gives_the_same_answers(isa):
    code = (
        "import cnnx, cnnx.functional as F; cnnx.manual_seed(0); net = cnnx.models.small_convnet(10, width=8).eval();"
        "x = cnnx.randn(4, 1, 8, 8); print(*[round(v, 4) for row in net(x).tolist() for v in row])"
    )
    assert np.allclose(np.fromstring(_run(code, CNNX_ISA=isa), sep=" "), np.fromstring(_run(code), sep=" "), atol=2e-3)


@needs_torch
@pytest.mark.parametrize("order", ["import torch, cnnx", "import cnnx, torch"])
def test_lives_with_torch_in_either_order(order):
    code = order + (
        "; a = torch.randn(64, 64); b = cnnx.from_dlpack(a); torch.set_num_threads(2);"
        "c = [(a @ a).numpy(), (b @ b).numpy()]; print(abs(c[0] - c[1]).max() < 1e-3)"
    )
    assert _run(code) == "True"


def test_denormals_are_flushed_inside_and_the_caller_keeps_his():
    tiny = np.full(8, 1e-40, np.float32)
    (F.relu(cnnx.tensor(tiny)) * 1.0).sum()
    assert (tiny * np.float32(1)).sum() > 0


def test_optimizer_steps_beside_other_threads():
    """Steps, state dicts and gradients dropped at the same time: any order is right, a crash is not."""
    code = """
import threading, time, cnnx
model = cnnx.Sequential(cnnx.Conv2d(1, 8, 3), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(288, 10))
optimizer, x, end = cnnx.optim.Adam(model.parameters()), cnnx.randn(4, 1, 8, 8), time.time() + 2
def train():
    while time.time() < end:
        try:
            model(x).sum().backward()
        except RuntimeError as error:  # the other thread's step came between forward and backward
            assert "changed in place" in str(error), error
        optimizer.step()
def restore():
    while time.time() < end:
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.zero_grad()
        optimizer.add_param_group({"params": [cnnx.ones(2, requires_grad=True)]})
threads = [threading.Thread(target=f) for f in (train, train, restore)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "Error" not in result.stderr


@pytest.mark.parametrize("name", ["zero_grad", "step_zero_grad", "to", "save", "state_dict"])
def test_walks_over_modules_that_change_meanwhile(name, tmp_path):
    model = cnnx.Sequential(*(cnnx.Linear(4, 4) for _ in range(20)))
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.1)
    walk = {
        "zero_grad": model.zero_grad,
        "step_zero_grad": optimizer.zero_grad,
        "to": lambda: model.to("float32"),
        "save": lambda: cnnx.save(model, tmp_path / "model.safetensors"),
        "state_dict": lambda: model.load_state_dict(model.state_dict(), strict=False),
    }[name]
    done = threading.Event()

    def walk_on():
        while not done.is_set():
            with contextlib.suppress(ValueError):  # no file can describe a layer with a buffer more
                walk()

    threads = [threading.Thread(target=walk_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(300):
        model.add_module("more", cnnx.Linear(4, 4))
        optimizer.add_param_group({"params": model[-1].parameters()})
        model[0].weight.grad = cnnx.ones(4, 4)
        del model[-1]
        model[0].register_buffer(f"b{i % 3}", cnnx.ones(3))
        delattr(model[0], f"b{i % 3}")
    done.set()
    for thread in threads:
        thread.join()


def test_weights_assigned_while_a_model_runs():
    """Batch normalization of 8 channels becomes part of a convolution with 8 filters, never of one with 64."""
    model = cnnx.Sequential(cnnx.Conv2d(4, 8, 3, bias=False), cnnx.BatchNorm2d(8)).eval()
    conv, x, end = model[0], cnnx.randn(1, 4, 6, 6), time.time() + 1
    weights = [cnnx.Parameter(cnnx.ones(filters, 4, 3, 3)) for filters in (8, 64)]
    channels = set()

    def assign():
        while time.time() < end:
            for weight in weights:
                conv.weight = weight

    def run():
        with cnnx.no_grad():
            while time.time() < end:
                with contextlib.suppress(ValueError):
                    channels.add(model(x).shape[1])

    previous = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for work in (run, run, run, run, assign, assign)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(previous)
    assert channels <= {8}


def test_threads_write_rows_of_one_tensor():
    for _ in range(50):
        x = cnnx.zeros(8, 400)

        def write(i, x=x):
            x[i] = i + 1

        threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert x.numpy()[:, 0].tolist() == list(range(1, 9))


@pytest.mark.parametrize(
    "work",
    [
        "x + 1",
        "large @ large",
        "model(x).sum().backward()",
        "optimizer.step(lambda: model(x))",
        "cnnx.analysis.summary(model, (2, 8))",
        "x.numpy()",
    ],
)
def test_python_ends_while_daemon_threads_work(work):
    code = f"""
import threading, time, cnnx
class Scale(cnnx.Module):
    def forward(self, x):
        for _ in range(100):
            x = x * 1.0
        return x
def run():
    x, large = cnnx.randn(2, 8), cnnx.randn(300, 300)
    model = cnnx.Sequential(cnnx.Linear(8, 8), Scale())
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.1)
    while True:
        {work}
for _ in range(2):
    threading.Thread(target=run, daemon=True).start()
time.sleep(0.2)
"""
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("work", ["cnnx.zeros(2).numpy()", "cnnx.tensor([1.0])"])
def test_python_ends_while_a_daemon_thread_imports_numpy(work):
    code = f"""
import threading, time, cnnx
threading.Thread(target=lambda: {work}, daemon=True).start()
time.sleep(0.03)
"""
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert (result.returncode, result.stderr) == (0, "")


# ---- The GIL


def _lets_others_run(call) -> bool:
    """Whether another thread gets the GIL during the call; nobody takes it away."""
    ran, lock = [], threading.Lock()

    def wait():
        with lock:
            ran.append(True)

    other = threading.Thread(target=wait)
    with lock:
        other.start()
        time.sleep(0.01)  # it waits for the lock now, and for the GIL below
    call()
    result = bool(ran)
    other.join()
    return result


@pytest.mark.parametrize(
    "name",
    [
        "to_dtype", "slice", "step", "column", "assign", "rows", "transpose", "copy", "fill", "clone", "deepcopy", "tensor", "module_to",
        "load", "save", "metadata", "full", "arange", "gradient",
    ],
)  # fmt: skip
def test_work_on_values_releases_the_gil(name, tmp_path):
    array = np.ones((2048, 2048), np.float32)
    x = cnnx.tensor(array)
    module = cnnx.Linear(2048, 2048, bias=False)
    state = {"weight": cnnx.zeros(2048, 2048)}
    path = tmp_path / "model.safetensors"
    cnnx.save(module, path)
    rows = list(range(2048))
    dtypes = itertools.cycle(["float64", "float32"])
    product = cnnx.Linear(2048, 2048)

    def gradient():
        product.zero_grad()
        product(x[:8]).sum().backward()
        return product.weight.grad.numpy  # a product of two matrices until here

    calls = {
        "to_dtype": lambda: x.to("float64"),
        "slice": lambda: x[1:],
        "step": lambda: x[::-1],
        "column": lambda: x[:, 1:],
        "assign": lambda: operator.setitem(x, np.s_[:, 1:], 2),
        "rows": lambda: x[rows],
        "transpose": lambda: x.T,
        "copy": lambda: x.copy_(state["weight"]),
        "fill": lambda: x.fill_(2.0),
        "clone": lambda: cnnx.tensor(x),
        "deepcopy": lambda: copy.deepcopy(x),
        "tensor": lambda: cnnx.tensor(array),
        "module_to": lambda: module.to(next(dtypes)),
        "load": lambda: module.load_state_dict(state),
        "save": lambda: cnnx.save(module, path),
        "metadata": lambda: cnnx.load_metadata(path),
        "full": lambda: cnnx.full((2048, 2048), 1),
        "arange": lambda: cnnx.arange(4_000_000),
    }
    previous = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        assert any(_lets_others_run(gradient() if name == "gradient" else calls[name]) for _ in range(20))
    finally:
        sys.setswitchinterval(previous)
