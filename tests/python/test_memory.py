"""The allocator's books, the "meta" device, predicted memory, the workspace limit."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import cnnx
import cnnx.functional as F
from cnnx.analysis import memory_report, suggest_batch_size

MakeModel = Callable[[], cnnx.Module]


def sgd(params: object) -> cnnx.optim.Optimizer:
    return cnnx.optim.SGD(params, lr=0.01, momentum=0.9)


def adam(params: object) -> cnnx.optim.Optimizer:
    return cnnx.optim.Adam(params, lr=0.01)


def real_peaks(
    make: MakeModel, shape: tuple[int, ...], batch: int, mode: str, optimizer: Callable[[object], object] = sgd
) -> tuple[int, int]:
    """Peaks of live and of resident bytes of a real run."""
    gc.collect()
    cnnx.memory.empty_cache()
    live, resident = cnnx.memory.current(), cnnx.memory.resident()
    model = make().train(mode == "train")
    x = cnnx.randn(batch, *shape)
    targets = cnnx.zeros(batch, dtype="int64")
    cnnx.memory.empty_cache()
    cnnx.memory.reset_peak()
    if mode == "train":
        rule = optimizer(model.parameters())
        for _ in range(4):
            rule.zero_grad()
            loss = F.cross_entropy(model(x), targets)
            loss.backward()
            rule.step()
    else:
        del targets
        cnnx.memory.reset_peak()
        with cnnx.no_grad():
            for _ in range(4):
                model(x)
    return cnnx.memory.peak() - live, cnnx.memory.resident_peak() - resident


def checkpointed_resnet() -> cnnx.Module:
    model = cnnx.models.resnet18(10)
    for stage in (model.layer1, model.layer2):
        cnnx.checkpoint(stage)
    return model


class PythonNet(cnnx.Module):
    """With functions between the layers and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = cnnx.Conv2d(3, 8, 3, padding=1)
        self.drop = cnnx.Dropout(0.3)
        self.head = cnnx.Linear(8, 10)

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        x = F.relu(self.conv(x))
        return self.head(self.drop(x + x * 2).mean((2, 3)))


def narrow_vgg() -> cnnx.Module:
    """VGG-11's features at an eighth of their width."""
    layers: list[cnnx.Module] = []
    channels = 3
    for width, depth in ((8, 1), (16, 1), (32, 2), (64, 2)):
        for _ in range(depth):
            layers += [cnnx.Conv2d(channels, width, 3, padding=1), cnnx.ReLU()]
            channels = width
        layers.append(cnnx.MaxPool2d(2))
    return cnnx.Sequential(*layers, cnnx.Flatten(), cnnx.Linear(64 * 16, 128), cnnx.ReLU(), cnnx.Linear(128, 10))


MODELS: list[tuple[str, MakeModel, tuple[int, ...], int]] = [
    ("lenet", cnnx.models.lenet5, (1, 32, 32), 64),
    ("cifar", cnnx.models.cifar_net, (3, 32, 32), 16),
    ("resnet", lambda: cnnx.models.resnet18(10), (3, 48, 48), 4),
    ("checkpointed", checkpointed_resnet, (3, 48, 48), 4),
    ("vgg", narrow_vgg, (3, 64, 64), 8),
    ("inception", lambda: cnnx.models.googlenet(10, variant="2014"), (3, 64, 64), 2),
    ("python", PythonNet, (3, 17, 19), 5),
]


@pytest.mark.parametrize(("make", "shape", "batch"), [case[1:] for case in MODELS], ids=[case[0] for case in MODELS])
@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("threads", [1, 2])
def test_predicted_peak_is_exact(make: MakeModel, shape: tuple[int, ...], batch: int, mode: str, threads: int) -> None:
    cnnx.set_num_threads(threads)
    report = memory_report(make(), shape, batch, mode=mode)
    peak, resident = real_peaks(make, shape, batch, mode)
    assert report.peak == peak
    assert abs(report.resident - resident) <= 16_384  # what earlier users of a block touched of its end
    assert sum(report.parts.values()) == report.peak


def test_predicted_peak_knows_optimizer_limit_and_algorithm() -> None:
    peaks = set()
    for optimizer in (sgd, adam):
        for algorithm in ("auto", "im2col"):
            for limit in (None, 100_000):
                cnnx.set_conv_algorithm(algorithm)
                cnnx.memory.set_workspace_limit(limit)
                report = memory_report(cnnx.models.cifar_net(), (3, 32, 32), 8, optimizer=optimizer)
                peak, _ = real_peaks(cnnx.models.cifar_net, (3, 32, 32), 8, "train", optimizer)
                cnnx.memory.set_workspace_limit(None)
                assert report.peak == peak
                peaks.add(peak)
    assert len(peaks) > 2


@pytest.mark.skipif(sys.platform != "linux", reason="pages are moved by a call of Linux")
def test_large_blocks_take_no_more_than_what_lives() -> None:
    """Each size is of another class, so that none is served by the blocks that an earlier size left."""
    gc.collect()
    cnnx.memory.empty_cache()
    cnnx.memory.reset_peak()
    before, live = cnnx.memory.resident(), cnnx.memory.current()
    mib = 2**20
    for size in (40, 50, 60, 70, 90):
        values = [cnnx.full((size * mib // 8,), float(size + i)) for i in range(2)]
        assert all((value.numpy() == size + i).all() for i, value in enumerate(values))
        del values
    assert cnnx.memory.peak() - live < 220 * mib
    assert cnnx.memory.resident_peak() - before <= (90 + 16 + 4) * mib
    assert cnnx.memory.resident() - before == cnnx.memory.cached()
    kept = cnnx.full((30 * mib // 4,), 7.0)  # in pages of the blocks above
    cnnx.memory.empty_cache()
    assert (kept.numpy() == 7).all()


def test_small_blocks_make_room_for_large_ones() -> None:
    gc.collect()
    cnnx.memory.empty_cache()
    mib = 2**20
    for _ in range(3):
        small = [cnnx.zeros(7 * mib // 4) for _ in range(30)]
        del small
        large = [cnnx.zeros(16 * mib // 4) for _ in range(14)]
        live = cnnx.memory.current()
        del large
        assert cnnx.memory.resident() <= 1.25 * live + 64 * mib


def test_blocks_keep_their_values_whatever_pages_they_get() -> None:
    rng = np.random.default_rng(3)
    mib = 2**20
    held: list[tuple[cnnx.Tensor, float]] = []
    for step in range(300):
        if len(held) > 5 or (held and rng.random() < 0.4):
            value, expected = held.pop(int(rng.integers(len(held))))
            assert (value.numpy()[:: mib // 16] == expected).all()
            del value
        else:
            size = int(rng.integers(1, 40)) * mib // 4
            held.append((cnnx.full((size,), float(step)), float(step)))
    assert all((value.numpy() == expected).all() for value, expected in held)


def test_report_leaves_no_trace() -> None:
    model = PythonNet()
    cnnx.manual_seed(3)
    expected = cnnx.randn(4).numpy()
    cnnx.manual_seed(3)
    before = cnnx.memory.current(), cnnx.memory.peak()
    weights = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    memory_report(model, (3, 16, 16), 8)
    assert (cnnx.memory.current(), cnnx.memory.peak()) == before
    assert cnnx.memory.current("meta") == 0
    np.testing.assert_array_equal(cnnx.randn(4).numpy(), expected)
    assert model.training
    assert all(np.array_equal(weights[name], value.numpy()) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_parts_are_the_notes_three() -> None:
    report = memory_report(cnnx.models.lenet5(), (1, 32, 32), 32, optimizer="momentum")
    parameters = 61_706 * 4
    assert report.parameter_bytes == parameters
    assert parameters <= report.parameters < 1.25 * parameters + 640
    assert report.state_bytes == 3 * report.parameters  # parameters, gradients, momentum
    assert memory_report(cnnx.models.lenet5(), (1, 32, 32), 32, optimizer="sgd").state_bytes == 2 * report.parameters
    # Adam also counts its steps, one number a parameter
    steps = len(list(cnnx.models.lenet5().parameters())) * 64
    assert memory_report(cnnx.models.lenet5(), (1, 32, 32), 32, "adam").state_bytes == 4 * report.parameters + steps
    assert report.batch == 32 * 32 * 32 * 4 + 256
    assert "activations and their gradients" in str(report)
    assert report.to_dict()["parts"] == report.parts


def test_activations_grow_with_the_batch_alone() -> None:
    small, large = (memory_report(cnnx.models.lenet5(), (1, 32, 32), n) for n in (64, 128))
    assert large.activations == pytest.approx(2 * small.activations, rel=0.1)  # but for the rounding to size classes
    assert large.state_bytes == small.state_bytes


def test_suggested_batch_size_is_the_largest_that_fits() -> None:
    model = cnnx.models.lenet5()
    for mode in ("train", "infer"):
        batch = suggest_batch_size(model, (1, 32, 32), "20 MB", mode=mode)
        assert memory_report(model, (1, 32, 32), batch, mode=mode).resident <= 20 * 2**20
        assert memory_report(model, (1, 32, 32), batch + 1, mode=mode).resident > 20 * 2**20
    assert suggest_batch_size(model, (1, 32, 32), 2**40, largest=100) == 100
    # far more than this machine has, which a dry run does not mind
    assert memory_report(cnnx.models.vgg16(10), (3, 224, 224), 10_000).peak > 4 * 10**11


RSS_SCRIPT = """
import sys, cnnx, cnnx.functional as F

def high_water():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024

make, shape = getattr(cnnx.models, sys.argv[1]), tuple(map(int, sys.argv[2].split("x")))
batch, mode = int(sys.argv[3]), sys.argv[4]

def run(model, x):
    model.train(mode == "train")
    if mode == "infer":
        with cnnx.no_grad():
            for _ in range(2):
                model(x)
        return
    targets = cnnx.zeros(len(x), dtype="int64")
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), targets)
        loss.backward()
        optimizer.step()

run(cnnx.models.lenet5(), cnnx.zeros(1, 1, 32, 32))  # loads code, starts threads
F.linear(cnnx.zeros(256, 128), cnnx.zeros(128, 128))  # BLAS has buffers of its own
cnnx.memory.empty_cache()
base = high_water() - cnnx.memory.resident()
run(make(), cnnx.randn(batch, *shape))
print(base, high_water())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("name", "shape", "batch", "mode"),
    [
        ("lenet5", "1x32x32", 1024, "train"),
        ("lenet5", "1x32x32", 1024, "infer"),
        ("resnet18", "3x224x224", 2, "train"),
        ("resnet18", "3x224x224", 2, "infer"),
        ("vgg16", "3x224x224", 1, "train"),
        ("vgg16", "3x224x224", 1, "infer"),
    ],
)
def test_process_takes_what_was_predicted(name: str, shape: str, batch: int, mode: str) -> None:
    """The resident memory of a process of its own, with what Python and the library's code take measured apart."""
    output = subprocess.run(
        [sys.executable, "-c", RSS_SCRIPT, name, shape, str(batch), mode], check=True, capture_output=True, text=True
    ).stdout
    base, peak = (int(number) for number in output.split()[-2:])
    with cnnx.Device("meta"):
        model = getattr(cnnx.models, name)()
    report = memory_report(model, tuple(int(size) for size in shape.split("x")), batch, mode=mode)
    assert abs(base + report.resident - peak) < 0.05 * peak


# ---- The "meta" device


def test_meta_tensors_have_shapes_and_no_values() -> None:
    with cnnx.Device("meta"):
        x = cnnx.randn(2, 3, 8, 8, requires_grad=True)
        y = F.conv2d(x, cnnx.ones(4, 3, 3, 3))
        y.sum().backward()
    assert (y.shape, str(y.device), x.grad.shape) == ((2, 4, 6, 6), "meta", (2, 3, 8, 8))
    assert repr(y) == "tensor(..., shape=(2, 4, 6, 6), device=meta, op=conv2d)"
    assert str(cnnx.zeros(1).device) == "cpu"
    for read in (y.detach().numpy, y.sum().item, lambda: y.to("cpu"), lambda: np.asarray(y.detach())):
        with pytest.raises(ValueError, match='a tensor on "meta" has a shape but no values'):
            read()
    assert str(cnnx.zeros(3).to("meta").device) == "meta"
    assert str(cnnx.tensor([1.0, 2.0], device="meta").device) == "meta"


def test_meta_device_takes_no_memory() -> None:
    before = cnnx.memory.current(), cnnx.memory.resident()
    with cnnx.Device("meta"):
        model = cnnx.models.vgg19()
        scores = model(cnnx.zeros(1000, 3, 224, 224))
    assert scores.shape == (1000, 1000)
    assert (cnnx.memory.current(), cnnx.memory.resident()) == before
    assert cnnx.memory.current("meta") > 143_667_240 * 4


def test_copies_of_models_do_not_allocate_twice() -> None:
    model = cnnx.Linear(1000, 1000)
    cnnx.memory.reset_peak()
    before = cnnx.memory.current()
    twin = copy.deepcopy(model)
    size = cnnx.memory.current() - before
    assert cnnx.memory.peak() - before == size >= 4_000_000
    np.testing.assert_array_equal(twin.weight.detach().numpy(), model.weight.detach().numpy())


# ---- The workspace limit


@pytest.mark.parametrize("limit", [1_000_000, 50_000, 5_000, 1])
def test_workspace_limit_is_kept_and_changes_no_value(limit: int) -> None:
    cnnx.manual_seed(0)
    x, weight = cnnx.randn(2, 16, 20, 20, requires_grad=True), cnnx.randn(8, 16, 3, 3, requires_grad=True)
    expected = F.conv2d(x, weight, padding=1)
    expected.sum().backward()
    gradients = x.grad.numpy().copy(), weight.grad.numpy().copy()
    x.grad = weight.grad = None
    with cnnx.no_grad():
        column = 16 * 9 * 4 + 64  # of one output position
    cnnx.memory.set_workspace_limit(limit)
    try:
        assert cnnx.memory.workspace_limit() == limit
        cnnx.memory.reset_peak()
        before = cnnx.memory.current()
        with cnnx.no_grad():
            y = F.conv2d(x, weight, padding=1)
        workspace = cnnx.memory.peak() - before - (cnnx.memory.current() - before)
        assert workspace <= 1.25 * max(limit, column) + 64
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), atol=1e-4)
        F.conv2d(x, weight, padding=1).sum().backward()
    finally:
        cnnx.memory.set_workspace_limit(None)
    for got, want in zip((x.grad, weight.grad), gradients, strict=True):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-3)


FLAT_SCRIPT = """
import random, cnnx, cnnx.functional as F

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

random.seed(1)
def step():
    n, c, h, w = random.randint(1, 8), random.randint(1, 16), random.randint(3, 64), random.randint(3, 64)
    x = cnnx.ones(n, c, h, w, requires_grad=True)
    weight = cnnx.ones(random.randint(1, 4), c, 3, 3, requires_grad=True)
    F.relu(F.conv2d(x, weight, padding=1)).sum().backward()

for _ in range(4000):  # by then, most size classes have been met
    step()
early = resident()
for _ in range(6000):
    step()
print(early, resident())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_memory_stays_flat_over_random_shapes() -> None:
    output = subprocess.run([sys.executable, "-c", FLAT_SCRIPT], check=True, capture_output=True, text=True).stdout
    early, late = (int(number) for number in output.split()[-2:])
    assert late < 1.05 * early + 2**20


def test_checkpointing_saves_memory_and_the_report_knows() -> None:
    def deep() -> cnnx.Sequential:
        return cnnx.Sequential(
            *(
                cnnx.Sequential(*(cnnx.Sequential(cnnx.Conv2d(3, 3, 3, padding=1), cnnx.ReLU()) for _ in range(4)))
                for _ in range(4)
            ),
            cnnx.Flatten(),
            cnnx.Linear(3 * 32 * 32, 10),
        )

    def checkpointed() -> cnnx.Sequential:
        model = deep()
        for block in list(model)[:4]:
            cnnx.checkpoint(block)
        return model

    plain, saving = (memory_report(make(), (3, 32, 32), 64) for make in (deep, checkpointed))
    assert saving.activations < 0.7 * plain.activations
    assert saving.peak == real_peaks(checkpointed, (3, 32, 32), 64, "train")[0]
