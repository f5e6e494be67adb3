"""Summaries with the notes' numbers, the linter's rules, the commands."""

from __future__ import annotations

import collections
import importlib.util
import json
import queue
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import meta_model

import cnnx
from cnnx.analysis import check_sizes, summary
from cnnx.analysis._units import format_bytes, format_count, parse_bytes
from cnnx.cli import app

# ---- summary

# The notes' table of VGG-16: name, volume, memory, weights.
VGG16 = [
    ("CONV3-64", (64, 224, 224), "3.2M", 1_728),
    ("CONV3-64", (64, 224, 224), "3.2M", 36_864),
    ("POOL2", (64, 112, 112), "800K", 0),
    ("CONV3-128", (128, 112, 112), "1.6M", 73_728),
    ("CONV3-128", (128, 112, 112), "1.6M", 147_456),
    ("POOL2", (128, 56, 56), "400K", 0),
    ("CONV3-256", (256, 56, 56), "800K", 294_912),
    ("CONV3-256", (256, 56, 56), "800K", 589_824),
    ("CONV3-256", (256, 56, 56), "800K", 589_824),
    ("POOL2", (256, 28, 28), "200K", 0),
    ("CONV3-512", (512, 28, 28), "400K", 1_179_648),
    ("CONV3-512", (512, 28, 28), "400K", 2_359_296),
    ("CONV3-512", (512, 28, 28), "400K", 2_359_296),
    ("POOL2", (512, 14, 14), "100K", 0),
    ("CONV3-512", (512, 14, 14), "100K", 2_359_296),
    ("CONV3-512", (512, 14, 14), "100K", 2_359_296),
    ("CONV3-512", (512, 14, 14), "100K", 2_359_296),
    ("POOL2", (512, 7, 7), "25K", 0),
    ("FC", (4096,), "4096", 102_760_448),
    ("FC", (4096,), "4096", 16_777_216),
    ("FC", (1000,), "1000", 4_096_000),
]


def test_vgg16_is_the_notes_table() -> None:
    table = summary(meta_model("vgg16"), (3, 224, 224), style="notes")
    assert [(r.label, r.output_shape, format_count(r.activations), r.weights) for r in table.volumes] == VGG16
    assert (table.weights, table.biases, table.parameters) == (138_344_128, 13_416, 138_357_544)
    assert table.volume_values == 15_237_608
    text = str(table)
    lines = text.split("\n")
    assert lines[0].split() == ["INPUT:", "[224x224x3]", "memory:", "224*224*3=150K", "weights:", "0"]
    assert "(3*3*3)*64 = 1,728" in lines[1]
    assert lines[19].endswith("weights: 7*7*512*4096 = 102,760,448")
    assert "15,237,608 values * 4 bytes = 58.1 MiB" in text
    assert "TOTAL weights: 138,344,128, and 13,416 biases: 138,357,544 parameters" in text
    # 15.47 G multiply-adds, which is what others report for VGG-16
    convolutions = sum(row.flops for row in table.rows if row.type in ("Conv2d", "Linear"))
    assert convolutions == 2 * 15_470_264_320 + sum(r.activations for r in table.rows if r.type in ("Conv2d", "Linear"))


def test_alexnet_first_layer() -> None:
    first = summary(meta_model("alexnet", variant="notes"), (3, 227, 227)).rows[0]
    assert first.output_shape == (96, 55, 55)
    assert first.activations == 290_400
    assert (first.weights, first.biases, first.parameters) == (34_848, 96, 34_944)
    assert first.unshared_parameters == 290_400 * 364 == 105_705_600
    assert first.flops == 2 * 34_848 * 55 * 55 + 290_400


def test_three_layers_of_the_notes_memory_compromise() -> None:
    with cnnx.Device("meta"):
        net = cnnx.Sequential(*(cnnx.Conv2d(c, 64, 3, padding=1) for c in (3, 64, 64)))
    table = summary(net, (3, 224, 224))
    assert table.activations == 3 * 224 * 224 * 64 == 9_633_792  # about 10 M, 72 MB with gradients
    assert table.memory == 38_535_168
    assert 2 * table.memory / 2**20 == pytest.approx(73.5)


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [("resnet18", (3, 64, 64), 11_689_512), ("googlenet", (3, 64, 64), 6_624_904), ("lenet5", (1, 32, 32), 61_706)],
)
def test_totals_and_shapes_are_those_of_a_real_run(name: str, shape: tuple[int, ...], parameters: int) -> None:
    model = getattr(cnnx.models, name)().eval()
    table = summary(model, shape)
    assert table.parameters == parameters
    with cnnx.no_grad():
        assert table.rows[-1].output_shape == tuple(model(cnnx.zeros(1, *shape)).shape[1:])
    assert {row.path for row in table.rows} <= {name for name, _ in model.named_modules()}
    assert json.loads(json.dumps(table.to_dict()))["parameters"] == parameters


class Shared(cnnx.Module):
    """One layer called twice, a parameter of its own, and a function between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = cnnx.Conv2d(2, 2, 3, padding=1)
        self.scale = cnnx.Parameter(cnnx.ones(2, 1, 1))

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        return self.conv(self.conv(x)) * self.scale


def test_shared_layers_count_once_and_own_parameters_too() -> None:
    table = summary(Shared(), (2, 8, 8))
    assert [(row.path, row.weights, row.biases) for row in table.rows] == [("conv", 36, 2), ("conv", 0, 0), ("", 2, 0)]
    assert table.parameters == 40
    assert all(row.receptive_field is None for row in table.rows)  # a product is no layer
    assert "conv" in str(table)


def test_summary_leaves_the_model_alone() -> None:
    model = cnnx.Sequential(cnnx.Conv2d(1, 2, 3), cnnx.BatchNorm2d(2))
    cnnx.checkpoint(model[0])
    state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    summary(model, (1, 8, 8))
    assert model.training
    assert model[0].checkpointed
    assert all(np.array_equal(value, model.state_dict()[name].numpy()) for name, value in state.items())


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0"), (4096, "4096"), (25_088, "25K"), (150_528, "150K"), (802_816, "800K"), (3_211_264, "3.2M")),
        *((999_999, "1.0M"), (12_345_678, "12M"), (138_344_128, "140M")),
    ],
)
def test_counts_are_written_as_in_the_notes(count: int, text: str) -> None:
    assert format_count(count) == text


def test_bytes_are_read_and_written() -> None:
    assert [parse_bytes("x", text) for text in ("6 GB", "1.5GiB", "10 kb", "7", 7, 2.0)] == [
        *(6 * 2**30, 3 * 2**29, 10 * 2**10, 7, 7, 2),
    ]
    assert [format_bytes(n) for n in (12, 1024, 60_950_432, 3 * 2**40)] == ["12 B", "1.0 KiB", "58.1 MiB", "3072.0 GiB"]


# ---- check_sizes


def rules(model: cnnx.Module, shape: tuple[int, ...]) -> list[str]:
    return [finding.rule for finding in check_sizes(model, shape)]


def test_vgg_is_clean_but_for_its_linear_layers() -> None:
    (finding,) = check_sizes(meta_model("vgg16"), (3, 224, 224))
    assert (finding.rule, finding.path) == ("linear-parameters", "classifier.0")
    assert "123,642,856 of 138,357,544 parameters (89%)" in finding.message
    assert rules(meta_model("all_convolutional"), (3, 32, 32)).count("linear-parameters") == 0


CLEAN = cnnx.Sequential(cnnx.Conv2d(3, 8, 3, padding=1), cnnx.ReLU(), cnnx.MaxPool2d(2))


def behind(*layers: cnnx.Module) -> cnnx.Sequential:
    return cnnx.Sequential(cnnx.Conv2d(3, 8, 3, padding=1), *layers)


CASES = [
    (CLEAN, (3, 32, 32), []),
    # the image can be halved as often as the network halves it
    (cnnx.Sequential(CLEAN, cnnx.Conv2d(8, 8, 2, stride=2)), (3, 32, 32), []),
    (cnnx.Sequential(CLEAN, cnnx.Conv2d(8, 8, 2, stride=2)), (3, 36, 34), ["input-size", "lost-pixels"]),
    # filters keep the size
    (behind(cnnx.Conv2d(8, 8, 5, padding=2)), (3, 16, 16), []),
    (behind(cnnx.Conv2d(8, 8, 5, padding=4, dilation=2)), (3, 16, 16), []),
    (behind(cnnx.Conv2d(8, 8, 5)), (3, 16, 16), ["changed-size"]),
    (behind(cnnx.Conv2d(8, 8, 1, padding=1)), (3, 16, 16), ["changed-size"]),
    (behind(cnnx.Conv2d(8, 8, (3, 1), padding=(0, 0))), (3, 16, 16), ["changed-size"]),
    (behind(cnnx.Conv2d(8, 8, 16)), (3, 16, 16), []),  # stands for a linear layer
    # strides that fit
    (behind(cnnx.MaxPool2d(3, 2)), (3, 17, 17), ["input-size", "input-size"]),
    (behind(cnnx.MaxPool2d(3, 2)), (3, 16, 16), ["lost-pixels"]),
    (behind(cnnx.MaxPool2d(3, 2, fit="ceil")), (3, 16, 16), ["uneven-windows"]),
    (behind(cnnx.MaxPool2d(3, 2, 1)), (3, 16, 16), ["uneven-windows"]),
    (behind(cnnx.Conv2d(8, 8, 1, stride=2)), (3, 16, 16), ["skipped-pixels"]),
    (behind(cnnx.Conv2d(8, 8, 2, stride=2)), (3, 16, 16), []),
    # pooling
    (behind(cnnx.AvgPool2d(4)), (3, 16, 16), ["large-pool"]),
    (behind(cnnx.AvgPool2d(16)), (3, 16, 16), []),  # of the whole image
    (behind(cnnx.AdaptiveAvgPool2d(1)), (3, 16, 16), []),
    # large filters
    (cnnx.Sequential(cnnx.Conv2d(3, 8, 7, padding=3)), (3, 16, 16), []),
    (behind(cnnx.Conv2d(8, 8, 7, padding=3)), (3, 16, 16), ["large-filter"]),
    # linear layers
    (cnnx.Sequential(CLEAN, cnnx.Flatten(), cnnx.Linear(512, 10)), (3, 16, 16), ["linear-parameters"]),
    (cnnx.Sequential(CLEAN, cnnx.AdaptiveAvgPool2d(1), cnnx.Flatten(), cnnx.Linear(8, 10)), (3, 16, 16), []),
    (cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(768, 10)), (3, 16, 16), []),  # no convnet
]


@pytest.mark.parametrize(("model", "shape", "expected"), CASES, ids=range(len(CASES)))
def test_rules(model: cnnx.Module, shape: tuple[int, ...], expected: list[str]) -> None:
    findings = check_sizes(model, shape)
    assert [finding.rule for finding in findings] == expected
    for finding in findings:
        assert all((finding.message, finding.reason, finding.suggestion))
        assert finding.to_dict()["rule"] == finding.rule


def test_lost_pixels_are_really_lost() -> None:
    """What the linter says is never read has no influence: changing it changes nothing."""
    net = cnnx.Sequential(cnnx.Conv2d(1, 1, 3, stride=4))
    (finding,) = [f for f in check_sizes(net, (1, 13, 13)) if f.rule == "lost-pixels"]
    assert "(13 - 3 + 0) / 4 + 1 = 3.5 is not an integer: rows and columns 11 to 12 of the input" in finding.message
    assert finding.suggestion == "Give this layer an input of 11 or 15, or change its padding."
    x = np.random.default_rng(0).normal(size=(1, 1, 13, 13)).astype(np.float32)
    y = net(cnnx.tensor(x)).detach().numpy()
    changed = x.copy()
    changed[..., 11:] = changed[:, :, 11:] = 99.0
    np.testing.assert_array_equal(net(cnnx.tensor(changed)).detach().numpy(), y)
    changed[..., 10] = 99.0
    assert not np.array_equal(net(cnnx.tensor(changed)).detach().numpy(), y)


def test_notes_example_that_does_not_fit() -> None:
    (finding,) = [
        f for f in check_sizes(cnnx.Sequential(cnnx.Conv2d(1, 1, 3, stride=2)), (1, 10, 10)) if f.rule == "lost-pixels"
    ]
    assert "(10 - 3 + 0) / 2 + 1 = 4.5" in finding.message
    assert "input of 9 or 11" in finding.suggestion


def test_axes_are_told_apart() -> None:
    findings = check_sizes(behind(cnnx.MaxPool2d((2, 2))), (3, 16, 15))
    assert [(f.rule, f.path) for f in findings] == [("input-size", ""), ("lost-pixels", "1")]
    assert "width of 15" in findings[0].message
    assert "columns 14 of the input" in findings[1].message


# ---- Commands


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    app(list(arguments), standalone_mode=False)
    return capsys.readouterr().out


def test_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = run(capsys, "summary", "vgg16", "--input", "3x224x224", "--style", "notes")
    assert "138,344,128" in out
    assert "627" in run(capsys, "summary", "resnet18")
    out = run(capsys, "memory", "lenet5", "--batch-size", "64", "--optimizer", "adam")
    assert "training step, batch of 64" in out
    assert "largest batch within 20 MB has" in run(capsys, "memory", "lenet5", "--limit", "20 MB", "--mode", "infer")
    assert "linear-parameters: classifier.0" in run(capsys, "check", "vgg16")
    assert "1 finding\n" in run(capsys, "check", "cifar_net")
    assert run(capsys, "summary", "LeNet5") == run(capsys, "summary", "lenet5")
    saved = tmp_path / "net.safetensors"
    cnnx.save(cnnx.models.lenet5(), saved)
    assert "61,706 parameters" in run(capsys, "summary", str(saved), "--input", "1x32x32")
    for arguments, message in (
        (
            ("summary", "vgg17"),
            r"\[cnnx\] there is neither a model nor a file 'vgg17'\. Did you mean vgg\d+\? Models are alexnet",
        ),
        (("check", "vgg16", "--input", "3,224"), r"\[cnnx\] --input must be a shape such as 3x224x224; got '3,224'"),
        (("summary", ""), r"\[cnnx\] there is neither a model nor a file ''\. Models are"),
        (("check", str(tmp_path)), "there is neither a model nor a file"),
        (("memory", str(saved)), "does not say which images it takes"),
        (("summary", "lenet5", "--style", "plain"), r"\[summary\] style must be"),
    ):
        with pytest.raises(ValueError, match=message):
            run(capsys, *arguments)


def test_commands_take_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    pattern = "INPUT -> [CONV -> RELU -> POOL]*2 -> FC32 -> RELU -> FC10"
    assert "Conv2d" in run(capsys, "summary", pattern, "--input", "3x32x32")


class _Attributes(cnnx.Module):
    """With what cannot be copied, and lists of its layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = cnnx.Conv2d(1, 4, 3), cnnx.Conv2d(4, 4, 3)
        self.layers = [self.first, self.second]
        self.optimizer = cnnx.optim.SGD(self.parameters(), lr=0.1)
        self.lock, self.queue = threading.Lock(), queue.Queue()
        self.first.lock = threading.Lock()
        self.steps = (i for i in range(3))

    def forward(self, x):
        with self.lock:
            for layer in self.layers:
                x = layer(x)
        return x


def test_models_whose_attributes_cannot_be_copied():
    model = _Attributes()
    assert cnnx.analysis.summary(model, (1, 8, 8)).parameters == 188
    assert cnnx.analysis.memory_report(model, (1, 8, 8), mode="infer").parameter_bytes == 4 * 188
    pytest.importorskip("matplotlib")
    cnnx.viz.activation_maps(model, np.zeros((1, 8, 8)))
    assert not model.lock.locked()


class _Tools(cnnx.Module):
    """With containers that hold what cannot be copied beside what a run changes."""

    def __init__(self, wrap):
        super().__init__()
        self.norm, self.log = cnnx.BatchNorm2d(1), []
        self.parts = wrap(self.norm, self.log, threading.Lock())

    def forward(self, x):
        norm, log, _ = self.tools()
        log.append(tuple(x.shape))
        return norm(x)

    def tools(self):
        return self.parts


class _InDict(_Tools):
    def tools(self):
        return self.parts["tools"].values()


class _InCycle(_Tools):
    def tools(self):
        return self.parts[0][1:]


class _InModule(_Tools):
    def tools(self):
        return self.parts[0].tools


def _cycle(*tools):
    outer: list = []
    outer += [[outer, *tools], threading.Lock()]
    return outer


def _module(*tools):
    inner = cnnx.Identity()
    inner.tools = tools
    return [inner]


@pytest.mark.parametrize(
    "model",
    [
        _Tools(lambda *tools: list(tools)),
        _Tools(lambda *tools: tools),
        _Tools(lambda *tools: collections.deque(tools)),
        _InDict(lambda *tools: {"tools": dict(zip("abc", tools, strict=True))}),
        _InCycle(_cycle),
        _InModule(_module),
    ],
    ids=["list", "tuple", "deque", "dict", "cycle", "module"],
)
def test_runs_leave_no_trace_beside_what_cannot_be_copied(model):
    assert cnnx.analysis.summary(model, (1, 8, 8)).parameters == 2
    if importlib.util.find_spec("matplotlib"):
        cnnx.viz.activation_maps(model, np.zeros((1, 8, 8)))
    assert (model.log, model.norm.num_batches_tracked.item(), model.norm.training) == ([], 0, True)
