"""Autotune: choices by measured time, their memory in the process and in the file, and what they must not disturb."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import randoms

import cnnx
import cnnx.functional as F


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without a file, unless a test names one, and with nothing remembered."""
    monkeypatch.setenv("CNNX_AUTOTUNE_CACHE", "")
    cnnx.clear_autotune()
    yield
    monkeypatch.setenv("CNNX_AUTOTUNE_CACHE", "")
    cnnx.clear_autotune()
    cnnx.autotune(False)


def _passes(dtype: str = "float32", size: int = 12) -> list[np.ndarray]:
    """Output and gradients of a convolution with bias."""
    arrays = randoms(5, (2, 6, size, size), (8, 6, 3, 3), (8,))
    x, w, b = (cnnx.tensor(a, dtype=dtype, requires_grad=True) for a in arrays)
    y = F.conv2d(x, w, b, padding=1)
    (y * y).sum().backward()
    return [y.numpy(), x.grad.numpy(), w.grad.numpy(), b.grad.numpy()]


def _chosen() -> dict[str, dict]:
    """Choices by pass."""
    return {choice["key"].split()[0].removeprefix("conv2d="): choice for choice in cnnx.autotune_choices()}


_CODE = """
import cnnx, json, sys
for size in map(int, sys.argv[1:]):
    x, w = cnnx.ones(1, 4, size, size), cnnx.ones(4, 4, 3, 3)
    with cnnx.no_grad():
        cnnx.functional.conv2d(x, w)
print(json.dumps(cnnx.autotune_choices()))
"""


def _start(cache: Path | str, *sizes: int, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *map(str, sizes)],
        env={**os.environ, "CNNX_AUTOTUNE": "1", "CNNX_AUTOTUNE_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> tuple[list[dict], str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out), err


def _run(cache: Path | str, *sizes: int, **environment: str) -> tuple[list[dict], str]:
    return _finish(_start(cache, *sizes, **environment))


def _entries(cache: Path) -> dict[str, dict]:
    machines = json.loads(cache.read_text())["machines"]
    assert len(machines) == 1
    return next(iter(machines.values()))


def test_is_off_at_first_and_restored():
    assert not cnnx.is_autotune_enabled()
    _passes()
    assert cnnx.autotune_choices() == []
    with cnnx.autotune():
        assert cnnx.is_autotune_enabled()
        with cnnx.autotune(False):
            assert not cnnx.is_autotune_enabled()
        assert cnnx.is_autotune_enabled()
    assert not cnnx.is_autotune_enabled()
    cnnx.autotune()
    assert cnnx.is_autotune_enabled()


def test_measures_each_pass_once_and_takes_the_fastest():
    with cnnx.autotune():
        _passes()
        first = cnnx.autotune_choices()
        _passes()
    assert cnnx.autotune_choices() == first  # the times too: nothing was measured again
    chosen = _chosen()
    assert set(chosen) == {"forward", "input", "weight"}
    for choice in chosen.values():
        assert choice["source"] == "measured"
        assert len(choice["ms"]) > 1
        assert set(choice["ms"]) <= set(cnnx.conv_algorithms())
        assert 0 < choice["ms"][choice["algorithm"]] <= min(choice["ms"].values()) / 0.96
    assert "im2col" in chosen["weight"]["ms"]
    assert "implicit_gemm" not in chosen["input"]["ms"]  # which has no such pass


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_are_those_of_the_chosen_algorithms(dtype):
    with cnnx.autotune():
        measuring, remembered = _passes(dtype), _passes(dtype)
    chosen = _chosen()
    for a, b in zip(measuring, remembered, strict=True):
        np.testing.assert_array_equal(a, b)
    for i, name in enumerate(("forward", "input", "weight")):
        cnnx.set_conv_algorithm("auto")
        rule = _passes(dtype)
        if name in chosen:
            cnnx.set_conv_algorithm(chosen[name]["algorithm"])
        if i == 0:
            np.testing.assert_array_equal(measuring[0], _passes(dtype)[0])
        else:  # the output's gradient must be the one that the output chosen above gives
            np.testing.assert_allclose(measuring[i], rule[i], rtol=1e-4, atol=1e-3 * np.abs(rule[i]).max())


def test_gradients_have_the_bits_of_the_chosen_algorithms():
    x, w, gy = (cnnx.tensor(a, dtype="float32") for a in randoms(2, (2, 6, 9, 9), (8, 6, 3, 3), (2, 8, 9, 9)))
    x.requires_grad = w.requires_grad = True

    def gradients() -> dict[str, np.ndarray]:
        x.grad = w.grad = None
        F.conv2d(x, w, padding=1).backward(gy)
        return {"input": x.grad.numpy().copy(), "weight": w.grad.numpy().copy()}

    with cnnx.autotune():
        found = gradients()
    for name, choice in _chosen().items():
        if name != "forward":
            cnnx.set_conv_algorithm(choice["algorithm"])
            np.testing.assert_array_equal(found[name], gradients()[name])


def test_gradcheck():
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in randoms(1, (1, 2, 5, 6), (3, 2, 3, 3), (3,))]
    with cnnx.autotune():
        assert cnnx.testing.gradcheck(lambda *a: F.conv2d(*a, padding=1), inputs)
        assert cnnx.testing.gradcheck(lambda x, w, b: F.conv_transpose2d(x, w.reshape(2, 3, 3, 3), b), inputs)


def test_prepared_weights_are_another_key_and_stay_right():
    conv, x = cnnx.Conv2d(8, 8, 3, padding=1), cnnx.randn(1, 8, 14, 14)
    expected = conv(x).numpy()
    with cnnx.autotune(), cnnx.no_grad():
        first = conv(x).numpy()
        np.testing.assert_allclose(first, expected, atol=1e-4)
        np.testing.assert_array_equal(conv(x).numpy(), first)
        conv.weight *= 2
        conv.bias *= 2
        np.testing.assert_allclose(conv(x).numpy(), 2 * expected, atol=1e-4)
    with cnnx.autotune():
        conv(x)
    assert sorted("prepared=1" in choice["key"] for choice in cnnx.autotune_choices()) == [False, True]


def test_fused_layers_keep_their_values():
    net = cnnx.Sequential(cnnx.Conv2d(4, 8, 3, padding=1), cnnx.BatchNorm2d(8), cnnx.ReLU()).eval()
    x = cnnx.randn(2, 4, 11, 11)
    with cnnx.no_grad():
        expected = net(x).numpy()
        with cnnx.autotune():
            np.testing.assert_allclose(net(x).numpy(), expected, atol=1e-4)


def test_checkpoint_chooses_alike():
    net = cnnx.Sequential(cnnx.Conv2d(4, 8, 3), cnnx.ReLU(), cnnx.Conv2d(8, 4, 3))
    x = cnnx.randn(2, 4, 12, 12)

    def gradients() -> list[np.ndarray]:
        net.zero_grad()
        (net(x) * 2).sum().backward()
        return [p.grad.numpy().copy() for p in net.parameters()]

    with cnnx.autotune():
        cnnx.checkpoint(net)
        first = gradients()
        count = len(cnnx.autotune_choices())
        np.testing.assert_equal(gradients(), first)
        assert len(cnnx.autotune_choices()) == count


def test_a_pin_wins():
    for name in set(cnnx.conv_algorithms()) - {"pointwise"}:  # which is for kernels of 1x1
        cnnx.set_conv_algorithm(name)
        expected = _passes()
        with cnnx.autotune():
            found = _passes()
        np.testing.assert_array_equal(found[0], expected[0])
    cnnx.clear_autotune()
    cnnx.set_conv_algorithm("im2col")  # which computes all passes
    with cnnx.autotune():
        _passes()
    assert cnnx.autotune_choices() == []


def test_respects_the_workspace_limit():
    def peak() -> int:
        cnnx.memory.reset_peak()
        start = cnnx.memory.current()
        F.conv2d(x, w, padding=1)
        return cnnx.memory.peak() - start

    x, w = cnnx.randn(1, 32, 32, 32), cnnx.randn(32, 32, 3, 3, requires_grad=True)
    y_bytes = 4 * 32 * 32 * 32
    with cnnx.autotune():
        peak()
        unlimited = cnnx.autotune_choices()
        cnnx.memory.set_workspace_limit("16 KB")
        try:
            assert peak() <= 2 * y_bytes + 16 * 1024  # the output, and while measuring another one
            assert peak() <= y_bytes + 16 * 1024
        finally:
            cnnx.memory.set_workspace_limit(None)
    assert all("limit=-1" in choice["key"] for choice in unlimited)
    assert all(set(c["ms"]).isdisjoint({"winograd"}) for c in cnnx.autotune_choices() if "limit=16384" in c["key"])


def test_what_fits_no_limit_is_measured_once():
    x, w = cnnx.randn(1, 8, 16, 16), cnnx.randn(8, 8, 3, 3)
    cnnx.memory.set_workspace_limit(1)
    try:
        with cnnx.autotune():
            F.conv2d(x, w, padding=1)
            first = cnnx.autotune_choices()
            F.conv2d(x, w, padding=1)
    finally:
        cnnx.memory.set_workspace_limit(None)
    assert cnnx.autotune_choices() == first


def test_measures_nothing_where_there_is_nothing_to_choose():
    with cnnx.autotune():
        F.conv2d(cnnx.zeros(1, 2, 5, 5, device="meta"), cnnx.zeros(3, 2, 3, 3, device="meta"))
        F.conv2d(cnnx.zeros(0, 2, 5, 5), cnnx.zeros(3, 2, 3, 3))
        cnnx.analysis.memory_report(cnnx.Conv2d(3, 4, 3), (3, 8, 8), mode="infer")
    assert cnnx.autotune_choices() == []


def test_threads_are_part_of_the_key():
    with cnnx.autotune():
        for count in (1, 2, 1):
            cnnx.set_num_threads(count)
            with cnnx.no_grad():
                F.conv2d(cnnx.ones(1, 4, 9, 9), cnnx.ones(4, 4, 3, 3))
    keys = [choice["key"] for choice in cnnx.autotune_choices()]
    assert [key.split("threads=")[1].split()[0] for key in keys] == ["1", "2"]


def test_python_threads_agree():
    x, w = cnnx.randn(2, 8, 20, 20), cnnx.randn(8, 8, 3, 3, requires_grad=True)
    start, results = threading.Barrier(4), []

    def work() -> None:
        start.wait()
        for _ in range(5):
            results.append(F.conv2d(x, w).numpy())

    with cnnx.autotune():
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(cnnx.autotune_choices()) == 1
    assert len(results) == 20
    for result in results:
        np.testing.assert_array_equal(result, results[0])


def test_does_not_measure_beside_another_thread(tmp_path, monkeypatch):
    cache = tmp_path / "choices.json"
    monkeypatch.setenv("CNNX_AUTOTUNE_CACHE", str(cache))
    cnnx.set_num_threads(2)
    volume, stop = cnnx.ones(16, 16, 128, 128), threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            F.max_pool2d(volume, 3, 1)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    w = cnnx.ones(4, 4, 3, 3)
    with cnnx.autotune():
        for size in range(9, 209):
            F.conv2d(cnnx.ones(1, 4, size, 9), w)
            by_rule = [choice for choice in cnnx.autotune_choices() if choice["source"] == "rule"]
            if by_rule:
                break
        stop.set()
        busy.join()
        F.conv2d(cnnx.ones(1, 4, size, 9), w)
    assert len(by_rule) == 1
    assert by_rule[0]["ms"] == {}
    assert by_rule[0] in cnnx.autotune_choices()  # stays, now that it could be measured
    _run(cache, 40)
    assert by_rule[0]["key"] not in _entries(cache)


def test_a_forked_child_goes_on():
    code = """
import cnnx, os, sys, threading
def work(size):
    with cnnx.no_grad():
        cnnx.functional.conv2d(cnnx.ones(1, 4, size, size), cnnx.ones(4, 4, 3, 3))
work(9)
busy = threading.Thread(target=lambda: [work(size) for size in range(20, 60)])
busy.start()
children = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        work(9), work(10)
        os._exit(0 if len(cnnx.autotune_choices()) == 2 else 1)
    children.append(child)
codes = [os.waitpid(child, 0)[1] for child in children]
busy.join()
print(codes)
"""
    environment = {**os.environ, "CNNX_AUTOTUNE": "1", "CNNX_AUTOTUNE_CACHE": ""}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[0, 0, 0, 0, 0]", done.stderr


# ---- The file


def test_another_process_reads_what_one_has_measured(tmp_path):
    cache = tmp_path / "new" / "folder" / "choices.json"
    measured, err = _run(cache, 9, 10)
    assert err == ""
    assert [choice["source"] for choice in measured] == ["measured"] * 2
    read, err = _run(cache, 9, 10)
    assert err == ""
    assert [choice["source"] for choice in read] == ["file"] * 2
    assert [(c["key"], c["algorithm"], c["ms"]) for c in read] == [
        (c["key"], c["algorithm"], c["ms"]) for c in measured
    ]
    more, _ = _run(cache, 9, 11)
    assert sorted(choice["source"] for choice in more) == ["file", "file", "measured"]
    assert len(_entries(cache)) == 3


def test_the_choice_in_the_file_is_taken(tmp_path):
    cache = tmp_path / "choices.json"
    _run(cache, 9)
    content = json.loads(cache.read_text())
    entries = next(iter(content["machines"].values()))
    entry = next(iter(entries.values()))
    assert len(entry["ms"]) > 3
    for name in list(entry["ms"]):
        entry["algorithm"] = name
        cache.write_text(json.dumps(content))
        assert [(c["algorithm"], c["source"]) for c in _run(cache, 9)[0]] == [(name, "file")]


def test_default_place(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "CNNX_AUTOTUNE_CACHE"}
    for variable, place in (("XDG_CACHE_HOME", "cnnx"), ("HOME", ".cache/cnnx")):
        home = tmp_path / variable
        settings = {**environment, "CNNX_AUTOTUNE": "1", "XDG_CACHE_HOME": "", variable: str(home)}
        subprocess.run([sys.executable, "-c", _CODE, "9"], env=settings, check=True, capture_output=True, timeout=120)
        assert len(_entries(home / place / "autotune.json")) == 1


def test_processes_add_to_each_other(tmp_path):
    cache = tmp_path / "choices.json"
    sizes = [(9, 10), (11, 12), (13, 14)]
    for process in [_start(cache, *pair) for pair in sizes]:
        _finish(process)
    found = {int(key.split(" h=")[1].split(",")[0]) for key in _entries(cache)}
    assert found == {9, 10, 11, 12, 13, 14}
    assert [path.name for path in tmp_path.iterdir()] == ["choices.json"]


@pytest.mark.parametrize("what", ["text", "list", "newer", "machines", "folder", "weights"])
def test_something_else_is_neither_believed_nor_lost(tmp_path, what):
    cache = tmp_path / "choices.json"
    contents = {
        "text": b"{ not JSON",
        "list": b"[1, 2]",
        "newer": b'{"cnnx_autotune": 2, "machines": {}}',
        "machines": b'{"cnnx_autotune": 1, "machines": []}',
        "weights": bytes(range(256)),
    }
    if what == "folder":
        cache.mkdir()
    else:
        cache.write_bytes(contents[what])
    choices, err = _run(cache, 9, 10)
    assert [choice["source"] for choice in choices] == ["measured"] * 2
    assert err.count("cnnx: warning: [autotune]") == 1
    assert f"{cache} is not a file of this version's autotune" in err
    assert cache.is_dir() if what == "folder" else cache.read_bytes() == contents[what]


def test_bad_entries_are_measured_anew(tmp_path):
    cache = tmp_path / "choices.json"
    _run(cache, 9)
    content = json.loads(cache.read_text())
    (machine,) = content["machines"]
    (key,) = content["machines"][machine]
    for entry in (
        None,
        [],
        {"algorithm": 3},
        {"algorithm": "magic"},
        {"ms": {}},
        {"algorithm": "magic", "ms": {"x": "y"}},
    ):
        cache.write_text(
            json.dumps({**content, "machines": {machine: {key: entry}, "another": {key: {"algorithm": "x"}}}})
        )
        choices, err = _run(cache, 9)
        assert err == ""
        assert [choice["source"] for choice in choices] == ["measured"]
        written = json.loads(cache.read_text())["machines"]
        assert written["another"] == {key: {"algorithm": "x"}}  # other machines' entries stay
        assert written[machine][key]["algorithm"] in cnnx.conv_algorithms()


def test_another_machine_is_not_believed(tmp_path):
    cache = tmp_path / "choices.json"
    _run(cache, 9)
    text = cache.read_text()
    (machine,) = json.loads(text)["machines"]
    assert cnnx.cpu_isa() in machine
    assert cnnx.__version__ in machine
    cache.write_text(text.replace(machine, "Another Processor 9000"))
    assert [choice["source"] for choice in _run(cache, 9)[0]] == ["measured"]
    if cnnx.cpu_isa() != "generic":
        assert [choice["source"] for choice in _run(cache, 9, CNNX_ISA="generic")[0]] == ["measured"]
    assert "Another Processor 9000" in json.loads(cache.read_text())["machines"]


def test_where_nothing_can_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    choices, err = _run(blocked / "folder" / "choices.json", 9)
    assert [choice["source"] for choice in choices] == ["measured"]
    assert err.count("cnnx: warning: [autotune] choices are not kept") == 1
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir()
        locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
        assert "choices are not kept" in _run(locked / "choices.json", 9)[1]


def test_clear(tmp_path, monkeypatch):
    cache = tmp_path / "choices.json"
    _run(cache, 9, 10)
    monkeypatch.setenv("CNNX_AUTOTUNE_CACHE", str(cache))
    cnnx.clear_autotune()
    assert json.loads(cache.read_text())["machines"] == {}
    with cnnx.autotune():
        _passes()
        assert len(cnnx.autotune_choices()) == 3
        cnnx.clear_autotune()
        assert cnnx.autotune_choices() == []
        _passes()
        assert len(cnnx.autotune_choices()) == 3
