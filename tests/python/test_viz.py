"""Pictures: what is drawn equals what the library computes, nothing is left behind in models, files are written."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import cnnx
from cnnx import viz
from cnnx.training import Epoch, History

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from cnnx.cli import app
from cnnx.viz.architecture import volumes_of


def _drawn(ax):
    return np.ma.filled(ax.images[0].get_array().astype(np.float64), np.nan)


def _net():
    return cnnx.Sequential(
        cnnx.Conv2d(1, 4, 3, padding=1),
        cnnx.BatchNorm2d(4),
        cnnx.ReLU(),
        cnnx.MaxPool2d(2),
        cnnx.Dropout(0.5),
        cnnx.Conv2d(4, 6, 3),
        cnnx.Flatten(),
        cnnx.Linear(24, 5),
    )


def _image(seed=0):
    return np.random.default_rng(seed).random((1, 8, 8)).astype(np.float32)


# ---- Filters


@pytest.mark.parametrize("scale", ["each", "all"])
def test_filters_in_colour(scale):
    layer = cnnx.Conv2d(3, 10, (5, 4))
    weight = layer.weight.detach().numpy()
    pixels = _drawn(viz.filter_grid(layer, scale=scale, columns=4).axes[0])
    assert pixels.shape == (3 * 6 - 1, 4 * 5 - 1, 3)
    for k in range(10):
        tile = pixels[k // 4 * 6 : k // 4 * 6 + 5, k % 4 * 5 : k % 4 * 5 + 4].transpose(2, 0, 1)
        largest = np.abs(weight[k] if scale == "each" else weight).max()
        np.testing.assert_allclose(tile, 0.5 + weight[k] / (2 * largest), atol=1e-6)
    np.testing.assert_array_equal(pixels[12:, 10:], 1)  # the last line has two filters
    np.testing.assert_array_equal(pixels[5], 1)


def test_filters_over_many_channels_have_lines():
    net = cnnx.Sequential(cnnx.Conv2d(1, 4, 3), cnnx.Sequential(cnnx.Conv2d(4, 2, 3)))
    weight = net[1][0].weight.detach().numpy()
    ax = viz.filter_grid(net, "1.0").axes[0]
    pixels = _drawn(ax)
    assert pixels.shape == (7, 15)
    shown = pixels[4:7, 8:11]
    np.testing.assert_allclose(shown, 0.5 + weight[1, 2] / (2 * np.abs(weight[1]).max()), rtol=1e-6)
    assert np.isnan(pixels[3]).all()
    assert ax.get_title() == "1.0: 2 filters of 3x3x4"
    assert viz.filter_grid(net).axes[0].get_title() == "0: 4 filters of 3x3x1"


def test_filters_of_zeros_are_grey():
    np.testing.assert_array_equal(_drawn(viz.filter_grid(np.zeros((1, 1, 2, 2))).axes[0]), 0.5)


# ---- Activations


def test_layer_outputs_are_those_of_the_layers():
    net, image = _net(), _image()
    net.train()
    buffers = [b.numpy().copy() for b in net.buffers()]
    outputs = viz.layer_outputs(net, image)
    assert net.training
    for before, after in zip(buffers, net.buffers(), strict=True):
        np.testing.assert_array_equal(before, after.numpy())
    assert list(outputs) == [str(i) for i in range(8)]
    net.eval()
    x = cnnx.tensor(image[None])
    with cnnx.no_grad():
        for i, layer in enumerate(net):
            x = layer(x)
            np.testing.assert_allclose(outputs[str(i)], x.numpy(), rtol=1e-5, atol=1e-6)


class _Twice(cnnx.Module):
    def __init__(self):
        super().__init__()
        self.conv = cnnx.Conv2d(1, 1, 1, bias=False)
        self.inner = cnnx.Sequential(cnnx.ReLU())

    def forward(self, x):
        return self.inner(self.conv(self.conv(x)))


def test_layer_outputs_of_layers_called_twice_and_of_containers():
    net, image = _Twice(), _image()
    w = net.conv.weight.item()
    outputs = viz.layer_outputs(net, image[0])  # (H, W)
    assert list(outputs) == ["conv", "conv#2", "inner.0"]
    np.testing.assert_allclose(outputs["conv#2"][0], image * w * w, rtol=1e-5)
    assert list(viz.layer_outputs(net, image, ["inner"])) == ["inner"]
    assert viz.layer_outputs(net, (image * 255).astype(np.uint8))["conv"].max() < 1


def test_activation_maps_show_the_outputs():
    net, image = _net(), _image()
    outputs = viz.layer_outputs(net, image)
    figure = viz.activation_maps(net, image, maps=3, classes=list("abcde"), top=2)
    titles = [ax.get_title().replace("\n", " ") for ax in figure.axes]
    assert titles == ["input", "Conv2d 0", "BatchNorm2d 1", "ReLU 2", "MaxPool2d 3", "Conv2d 5", "scores 7"]
    np.testing.assert_array_equal(_drawn(figure.axes[0]), image[0])
    pool = outputs["3"][0].astype(np.float64)
    pixels = _drawn(figure.axes[4])  # maps of 4x4, each value 15 pixels wide, 5 between maps
    assert pixels.shape == (3 * 60 + 2 * 5, 60)
    for k in range(3):
        wanted = (pool[k] - pool.min()) / (pool.max() - pool.min())
        np.testing.assert_allclose(pixels[65 * k : 65 * k + 60][7::15, 7::15], wanted, rtol=1e-6)
    scores = outputs["7"][0]
    best = np.argsort(-scores)[:2]
    bars = figure.axes[-1].patches
    np.testing.assert_allclose([bar.get_width() for bar in bars], scores[best], rtol=1e-6)
    assert [label.get_text() for label in figure.axes[-1].get_yticklabels()] == ["abcde"[i] for i in best]
    assert len(viz.activation_maps(net, image, ["3"], top=0).axes) == 2


def test_activation_maps_of_deep_models_choose_layers():
    figure = viz.activation_maps(cnnx.Sequential(*(cnnx.ReLU() for _ in range(70))), _image())
    assert len(figure.axes) == 33
    assert figure.axes[1].get_title() == "ReLU\n0"
    assert figure.axes[-1].get_title() == "ReLU\n69"


# ---- Saliency


def test_saliency_is_the_gradient_of_the_score():
    net = _net().to("float64").eval()
    image = _image().astype(np.float64)
    net(cnnx.tensor(image[None], dtype="float64")).sum().backward()
    before = [p.grad.numpy().copy() for p in net.parameters()]
    net.train()
    shown = viz.saliency_map(net, image, target=2)
    assert net.training
    for grad, parameter in zip(before, net.parameters(), strict=True):
        np.testing.assert_array_equal(grad, parameter.grad.numpy())
    net.eval()
    wanted = np.zeros((8, 8))
    for place in np.ndindex(8, 8):
        score = []
        for change in (-1e-6, 1e-6):
            moved = image.copy()
            moved[(0, *place)] += change
            score.append(net(cnnx.tensor(moved[None], dtype="float64")).detach().numpy()[0, 2])
        wanted[place] = abs(score[1] - score[0]) / 2e-6
    np.testing.assert_allclose(shown, wanted, rtol=1e-4, atol=1e-7)
    with cnnx.no_grad():
        figure = viz.saliency(net, image, target=2, classes=list("abcde"))
    np.testing.assert_array_equal(_drawn(figure.axes[1]), shown)
    assert figure.axes[0].get_title().startswith("c: score")


def test_saliency_takes_the_largest_channel_and_the_highest_score():
    net = cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(12, 2, bias=False))
    weight = np.arange(24, dtype=np.float32).reshape(2, 12) - 11
    net.load_state_dict({"1.weight": weight})
    image = np.ones((3, 2, 2), np.float32)
    np.testing.assert_array_equal(viz.saliency_map(net, image), np.abs(weight[1].reshape(3, 2, 2)).max(axis=0))
    cnnx.freeze(net)
    np.testing.assert_array_equal(viz.saliency_map(net, image, 0), np.abs(weight[0].reshape(3, 2, 2)).max(axis=0))


def test_saliency_through_checkpoints_and_blocks():
    inner = cnnx.Residual({"0": cnnx.Conv2d(4, 4, 3, padding=1), "1": cnnx.BatchNorm2d(4)})
    net = cnnx.Sequential(cnnx.Conv2d(1, 4, 3, padding=1), inner, cnnx.AdaptiveAvgPool2d(1), cnnx.Flatten())
    wanted = viz.saliency_map(net, _image(), 1)
    assert wanted.max() > 0
    cnnx.checkpoint(inner)
    np.testing.assert_allclose(viz.saliency_map(net, _image(), 1), wanted, rtol=1e-5)
    assert inner.checkpointed


# ---- Receptive fields


def test_receptive_field_covers_the_pixels_that_matter():
    net = cnnx.Sequential(
        cnnx.Conv2d(1, 2, 5, stride=2, padding=1), cnnx.MaxPool2d(2), cnnx.Conv2d(2, 1, 3, padding=1, dilation=2)
    )
    for each in (net[0], net[2]):
        each.weight.detach().numpy()[:] = 1
    figure = viz.receptive_field(net, (1, 40, 32), ["2"], at=(20, 17))
    field = figure.axes[0].patches[1]
    x = cnnx.tensor(1 + np.random.default_rng(0).random((1, 1, 40, 32)), dtype="float64", requires_grad=True)
    y = net.to("float64")(x)
    assert tuple(y.shape[2:]) == (7, 5)
    center = cnnx.analysis.receptive_field(net, (1, 40, 32)).center
    i, j = round((20 - center[0]) / 4), round((17 - center[1]) / 4)
    mask = np.zeros(y.shape)
    mask[0, 0, i, j] = 1
    (y * cnnx.tensor(mask, dtype="float64")).sum().backward()
    rows, columns = np.nonzero(x.grad.numpy()[0, 0])
    left, top = field.get_xy()
    assert left <= columns.min() - 0.5
    assert columns.max() + 0.5 <= left + field.get_width()
    assert top <= rows.min() - 0.5
    assert rows.max() + 0.5 <= top + field.get_height()
    assert field.get_width() == field.get_height() == 23
    assert columns.max() - columns.min() >= 23 - 6  # max pooling takes one of its 2x2 values, 2 pixels apart


def test_receptive_fields_over_an_image():
    figure = viz.receptive_field(cnnx.models.lenet5(), np.zeros((1, 32, 32)))
    ax = figure.axes[0]
    assert len(ax.images) == 1
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["0 (Conv2d): 5x5", "2 (MaxPool2d): 6x6", "3 (Conv2d): 14x14", "5 (MaxPool2d): 16x16"]
    widths = [patch.get_width() for patch in ax.patches]
    assert widths == [32, 5, 6, 14, 16]


# ---- Training and mistakes


def test_training_curves():
    history = History([Epoch(i, 1 / i, i / 5, 1.0, 1.0, 2 / i, i / 10) for i in range(1, 5)], interrupted=True)
    loss, accuracy = viz.training_curves(history, log=True).axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2, 1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [10, 20, 30, 40])
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    assert loss.get_yscale() == "log"
    assert [t.get_text() for t in accuracy.get_legend().get_texts()] == [
        "training: 80.00% at the end",
        "held out: 40.00% at the end",
    ]
    assert loss.figure.get_suptitle() == "interrupted after 4 epochs"


def test_confusion_matrix():
    counts = np.array([[6, 2, 0], [0, 0, 0], [1, 0, 3]])
    figure = viz.confusion_matrix(cnnx.training.Evaluation(0.1, 0.75, counts), ["a", "long name", "c"], percent=True)
    ax = figure.axes[0]
    np.testing.assert_allclose(_drawn(ax), [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]])
    assert [text.get_text() for text in ax.texts] == ["75", "25", "0", "0", "0", "0", "25", "0", "75"]
    assert [text.get_position() for text in ax.texts][1] == (1, 0)
    assert ax.get_title() == "accuracy 75.00% of 12 images"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "long name", "c"]
    assert len(viz.confusion_matrix(np.eye(30, dtype=int)).axes[0].texts) == 0


# ---- Architectures


def _volumes(name, shape):
    with cnnx.Device("meta"):
        net = getattr(cnnx.models, name)()
    return [(v.label, v.shape, v.count) for v in volumes_of(net, shape)]


def test_volumes_of_vgg16_are_those_of_the_notes():
    assert _volumes("vgg16", (3, 224, 224)) == [
        ("INPUT", (3, 224, 224), 1),
        *(("CONV3", (64, 224, 224), 2), ("POOL2", (64, 112, 112), 1)),
        *(("CONV3", (128, 112, 112), 2), ("POOL2", (128, 56, 56), 1)),
        *(("CONV3", (256, 56, 56), 3), ("POOL2", (256, 28, 28), 1)),
        *(("CONV3", (512, 28, 28), 3), ("POOL2", (512, 14, 14), 1)),
        *(("CONV3", (512, 14, 14), 3), ("POOL2", (512, 7, 7), 1)),
        *(("FC", (4096,), 2), ("FC", (1000,), 1)),
    ]


def test_volumes_of_blocks_are_one_each():
    resnet = _volumes("resnet50", (3, 224, 224))
    assert [(label, count) for label, _, count in resnet[3:7]] == [("RESIDUAL", n) for n in (3, 4, 6, 3)]
    google = _volumes("googlenet", (3, 224, 224))
    assert sum(count for label, _, count in google if label == "CONCAT") == 9
    assert ("CONCAT", (480, 28, 28), 1) in google


def test_architecture_draws_every_volume():
    with cnnx.Device("meta"):
        net = cnnx.models.lenet5()
    figure = viz.architecture(net, (1, 32, 32), name="LeNet-5")
    ax = figure.axes[0]
    assert ax.get_title() == "LeNet-5 on 32x32x1"
    assert [text.get_text() for text in ax.texts][1::2] == [
        *("32x32x1", "28x28x6", "14x14x6", "10x10x16", "5x5x16", "1x1x120", "1x1x84", "1x1x10")
    ]
    assert len(ax.patches) == 3 * 8
    fronts = [patch.get_xy() for patch in ax.patches[::3]]
    heights = [front[:, 1].max() - front[:, 1].min() for front in fronts]
    np.testing.assert_allclose(heights[2] / heights[1], (14 / 28) ** 0.5, rtol=1e-6)
    lefts = [front[:, 0].min() for front in fronts]
    assert lefts == sorted(lefts)  # one line
    narrow = viz.architecture(net, (1, 32, 32), per_line=5).axes[0]
    lefts = [patch.get_xy()[:, 0].min() for patch in narrow.patches[::3]]
    assert lefts != sorted(lefts)


# ---- What they share


def test_names_are_drawn_as_they_are():
    names = [*"abcdefgh", "$x$", "\\frac $"]
    figure = viz.confusion_matrix(np.eye(10, dtype=int), names)
    figure.savefig(io.BytesIO())
    drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert drawn[-2:] == [r"\$x\$", r"\frac \$"]  # for matplotlib: dollars and no formulas
    net = cnnx.models.lenet5()
    for picture in (
        viz.saliency(net, np.eye(32), 8, classes=names),
        viz.activation_maps(net, np.eye(32), classes=names, top=10),
        viz.architecture(net, (1, 32, 32), name="$\\frac$"),
    ):
        picture.savefig(io.BytesIO())


def test_axes_of_the_caller():
    figure = Figure()
    axes = figure.subplots(2, 2).ravel()
    assert viz.filter_grid(cnnx.Conv2d(1, 4, 3), ax=axes[0]) is figure
    assert viz.confusion_matrix(np.eye(2), ax=axes[1]) is figure
    assert viz.receptive_field(_net(), (1, 8, 8), ax=axes[2]) is figure
    inner = Figure()
    part = inner.subfigures(1, 2)[1]
    assert viz.confusion_matrix(np.eye(2), ax=part.subplots()) is inner


def test_pictures_leave_pyplot_alone_and_need_no_screen():
    code = (
        "import sys, numpy as np, cnnx; f = cnnx.viz.filter_grid(cnnx.Conv2d(3, 4, 3)); f.savefig(sys.argv[1]);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    target = "/dev/null" if sys.platform != "win32" else "nul"
    code = code.replace("sys.argv[1]", f"open({target!r}, 'wb'), format='png'")
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.split()[-1] == "False"


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    epochs = [Epoch(1, 1.0, 0.5, 1.0, 1.0)]
    for draw in (
        lambda: viz.filter_grid(cnnx.Conv2d(1, 1, 3)),
        lambda: viz.training_curves(epochs),
        lambda: viz.receptive_field(_net(), (1, 8, 8)),
        lambda: viz.architecture(_net(), (1, 8, 8)),
        lambda: viz.activation_maps(_net(), _image()),
    ):
        with pytest.raises(ImportError, match=r"\[viz\] pictures need matplotlib.*pip install 'cnnx\[viz\]'"):
            draw()
    viz.conv_demo(tmp_path / "demo.html")
    viz.saliency_map(_net(), _image())


# ---- Commands


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.safetensors"
    metadata = {
        "cnnx.input": '{"channels": 1, "height": 8, "width": 8}',
        "cnnx.classes": '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]',
    }
    cnnx.save(cnnx.models.small_convnet(10, width=4), path, metadata)
    return str(path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["filters", "MODEL"],
        ["activations", "MODEL", "--layer", "0", "--maps", "2"],
        ["saliency", "MODEL", "--target", "3"],
        ["receptive-field", "alexnet", "--at", "3", "5", "--layer", "features.3"],
        ["architecture", "INPUT -> [CONV -> RELU -> POOL]*2 -> FC10", "--input", "3x32x32"],
        ["confusion", "MODEL", "--percent"],
        ["conv-demo", "--size", "6", "--stride", "1"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands(digits_model, tmp_path, arguments):
    out = tmp_path / ("out.html" if arguments[0] == "conv-demo" else "out.png")
    arguments = [digits_model if argument == "MODEL" else argument for argument in arguments]
    result = CliRunner().invoke(app, ["viz", *arguments, "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "wrote" in result.output
    data = out.read_bytes()
    assert data.startswith(b"\x89PNG" if out.suffix == ".png" else b"<!DOCTYPE html>")
    assert len(data) > 4000


def test_train_draws_its_curves(tmp_path):
    files = [str(tmp_path / name) for name in ("model.safetensors", "curves.png")]
    result = CliRunner().invoke(app, ["train", "--epochs", "1", "--out", files[0], "--curves", files[1]])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_command_with_weights_and_an_image(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((40, 50), 90, np.uint8)).save(tmp_path / "image.png")
    net = cnnx.models.lenet5()
    cnnx.save_state(net.state_dict(), tmp_path / "weights.safetensors")
    options = ["--weights", str(tmp_path / "weights.safetensors"), "--out", str(tmp_path / "out.png")]
    result = CliRunner().invoke(
        app, ["viz", "saliency", "lenet5", str(tmp_path / "image.png"), *options], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["filters", "alexnet"], "[cnnx] alexnet is a model without values. Give a saved file, or --weights."),
        (["filters", "MODEL", "--weights", "x.npz"], "[cnnx] --weights is for models of cnnx.models"),
        (["saliency", "MODEL", "--imagenet"], "[cnnx] --imagenet is for models of 3 channels; this one has 1."),
        (["saliency", "MODEL", "--target", "10"], "[saliency] target must be a class from 0 to 9; got 10."),
    ],
)
def test_commands_refuse(digits_model, tmp_path, arguments, message):
    arguments = [digits_model if argument == "MODEL" else argument for argument in arguments]
    result = CliRunner().invoke(app, ["viz", *arguments, "--out", str(tmp_path / "out.png")])
    assert message in str(result.exception)
    assert not (tmp_path / "out.png").exists()
