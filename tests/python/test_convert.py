"""Linear layers as convolutions, convolutions as matrices, and scores of all windows of an image."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
from helpers import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnx
from cnnx import models
from cnnx.convert import conv_to_linear, linear_to_conv, sliding_scores


@pytest.fixture(autouse=True)
def _no_grad():
    with cnnx.no_grad():
        yield


def _unpadded(width: int = 3) -> cnnx.Sequential:
    """AlexNet's windows without any padding: 224 pixels give 3x3, and a step there is 32 pixels."""
    features = cnnx.Sequential(
        *(cnnx.Conv2d(3, width, 11, stride=4), cnnx.ReLU(), cnnx.MaxPool2d(3, 2)),
        *(cnnx.Conv2d(width, width, 5), cnnx.ReLU(), cnnx.MaxPool2d(3, 2)),
        *(cnnx.Conv2d(width, width, 3), cnnx.ReLU(), cnnx.MaxPool2d(3, 2)),
    )
    head = cnnx.Sequential(cnnx.Dropout(), cnnx.Linear(width * 9, 7), cnnx.ReLU(), cnnx.Linear(7, 5))
    return cnnx.Sequential({"features": features, "flatten": cnnx.Flatten(), "classifier": head}).eval()


_SEES = 195  # pixels that one score of _unpadded sees; of 224, the windows' strides leave the last rows out


def _padded(width: int = 4) -> cnnx.Sequential:
    """VGG-16's windows with few filters."""
    text = "INPUT -> " + " -> ".join(f"[CONV3-{width} -> RELU]*{depth} -> POOL2" for depth in (2, 2, 3, 3, 3))
    features = cnnx.pattern(text, input_shape=(3, 224, 224))
    head = cnnx.Sequential(cnnx.Linear(width * 49, 6), cnnx.ReLU(), cnnx.Dropout(), cnnx.Linear(6, 4))
    for layer in features:  # so that values neither vanish nor grow with depth
        if isinstance(layer, cnnx.Conv2d):
            cnnx.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    avgpool, flatten = cnnx.AdaptiveAvgPool2d(7), cnnx.Flatten()
    return cnnx.Sequential({"features": features, "avgpool": avgpool, "flatten": flatten, "classifier": head}).eval()


def _crop(images, top, left, height=None, width=None) -> cnnx.Tensor:
    height, width = height or images.shape[2], width or height or images.shape[3]
    return cnnx.tensor(np.asarray(images)[:, :, top : top + height, left : left + width])


def _crops(model, images, size, stride):
    """Scores of every crop, one at a time: (N, classes, rows, columns)."""
    pixels = np.asarray(images)
    height, width = pixels.shape[2:]
    rows, columns = (height - size) // stride + 1, (width - size) // stride + 1
    scores = [[model(_crop(pixels, i * stride, j * stride, size)).numpy() for j in range(columns)] for i in range(rows)]
    return np.transpose(np.array(scores), (2, 3, 0, 1))


# ---- linear_to_conv


_NETS = [
    (lambda: models.lenet5(), (1, 32, 32)),
    (lambda: models.small_convnet(), (1, 8, 8)),
    (lambda: models.cifar_net(), (3, 32, 32)),
    (lambda: models.all_convolutional(), (3, 32, 32)),
    (lambda: models.resnet18(5), (3, 96, 96)),
    (lambda: models.googlenet(5), (3, 96, 96)),
    (lambda: models.googlenet(5, "2014", aux_logits=True), (3, 97, 97)),
    (_unpadded, (3, 224, 224)),
    (_padded, (3, 224, 224)),
    (lambda: cnnx.pattern("INPUT -> FC", input_shape=(3, 8, 6), classes=4), (3, 8, 6)),
]


@pytest.mark.parametrize(("make", "shape"), _NETS)
def test_scores_stay_the_same(make, shape):
    cnnx.manual_seed(0)
    model = make().eval()
    made = linear_to_conv(model, shape)
    assert not any(isinstance(module, cnnx.Linear | cnnx.Flatten) for module in made.modules())
    x = cnnx.randn(2, *shape)
    scores = model(x).numpy()
    assert_close(made(x), scores[:, :, np.newaxis, np.newaxis], scale=max(1.0, float(np.abs(scores).max())))


def test_names_and_memory_are_shared():
    model = _padded()
    made = linear_to_conv(model, (3, 224, 224))
    assert list(made.state_dict()) == list(model.state_dict())
    assert [name for name, _ in made.named_children()] == ["features", "classifier"]
    assert made.features[0] is model.features[0]
    assert made.classifier.get_submodule("0").weight.shape == (6, 4, 7, 7)
    model.classifier[0].weight.detach().fill_(3.0)
    model.classifier[3].bias.detach().fill_(4.0)
    assert set(np.unique(made.classifier[0].weight)) == {3.0}
    assert set(np.unique(made.classifier[3].bias)) == {4.0}
    apart = copy.deepcopy(made)
    model.classifier[0].weight.detach().fill_(5.0)
    assert set(np.unique(apart.classifier[0].weight)) == {3.0}


def test_modes_and_frozen_weights_are_kept():
    model = _padded().train()
    model.features.eval()
    model.classifier[0].requires_grad_(False)
    made = linear_to_conv(model, (3, 224, 224))
    assert [module.training for module in (model, model.features, model.classifier, model.features[0])] == [
        *(True, False, True, False)
    ]
    assert [made.training, made.features.training, made.classifier.training] == [True, False, True]
    assert not made.classifier[0].weight.requires_grad
    assert not made.classifier[0].bias.requires_grad
    assert made.classifier[3].weight.requires_grad


def test_converted_nets_train_save_and_load(tmp_path):
    made = linear_to_conv(models.lenet5(), (1, 32, 32))
    with cnnx.enable_grad():
        made(cnnx.randn(2, 1, 40, 40)).mean().backward()
    assert all(p.grad is not None for p in made.parameters())
    cnnx.save(made.eval(), tmp_path / "net.safetensors")
    x = cnnx.randn(1, 1, 36, 36)
    assert np.array_equal(cnnx.load(tmp_path / "net.safetensors")(x), made(x))


def test_without_bias_in_float64_and_with_softmax():
    model = cnnx.Sequential(
        cnnx.Conv2d(1, 2, 3), cnnx.Flatten(), cnnx.Linear(32, 3, bias=False), cnnx.Flatten(), cnnx.Softmax()
    ).to("float64")
    made = linear_to_conv(model, (1, 6, 6))
    assert repr(made[1]) == "Conv2d(2, 3, kernel_size=(4, 4), stride=(1, 1), bias=False, dtype='float64')"
    x = cnnx.randn(2, 1, 6, 6, dtype="float64")
    assert_close(made(x).flatten(1), model(x), "float64")


def test_alexnet_and_vgg_at_384():
    """The real nets: six by six scores of a thousand classes."""
    alexnet = linear_to_conv(models.alexnet(), (3, 224, 224)).eval()
    assert alexnet.classifier.get_submodule("1").weight.shape == (4096, 256, 6, 6)
    assert alexnet(cnnx.zeros(1, 3, 384, 384)).shape == (1, 1000, 6, 6)
    notes = linear_to_conv(models.alexnet(variant="notes"), (3, 227, 227)).eval()
    assert notes(cnnx.zeros(0, 3, 387, 387)).shape == (0, 1000, 6, 6)
    vgg = linear_to_conv(models.vgg16(), (3, 224, 224)).eval()
    assert vgg.classifier.get_submodule("0").weight.shape == (4096, 512, 7, 7)
    assert vgg.classifier.get_submodule("3").weight.shape == (4096, 4096, 1, 1)
    assert vgg(cnnx.zeros(0, 3, 384, 384)).shape == (0, 1000, 6, 6)


def test_averaging_nets_slide_as_well():
    """ResNet averages 7x7 places: so does the converted net, at every place."""
    made = linear_to_conv(models.resnet18(4), (3, 224, 224)).eval()
    assert repr(made.avgpool).startswith("AvgPool2d(kernel_size=7, stride=1,")
    assert made(cnnx.zeros(0, 3, 384, 384)).shape == (0, 4, 6, 6)


def test_equal_to_36_crops_for_an_unpadded_trunk():
    cnnx.manual_seed(1)
    model = _unpadded()
    images = cnnx.randn(1, 3, 384, 384)
    scores = linear_to_conv(model, (3, 224, 224))(images)
    assert scores.shape == (1, 5, 6, 6)
    assert_close(scores, _crops(model, images, 224, 32))


def test_equal_to_36_windows_of_one_feature_map_for_a_padded_trunk():
    """Where the trunk pads, a crop's border sees zeros and the image's does not: equal are windows of the same features."""
    cnnx.manual_seed(1)
    model = _padded()
    images = cnnx.randn(1, 3, 384, 384)
    scores = linear_to_conv(model, (3, 224, 224))(images).numpy()
    features = model.features(images)
    assert features.shape == (1, 4, 12, 12)
    windows = _crops(lambda window: model.classifier(window.flatten(1)), features, 7, 1)
    assert scores.shape == (1, 4, 6, 6)
    assert_close(scores, windows)

    of_crops = model.features(_crop(images, 96, 96, 224)).numpy()
    of_image = features.numpy()[:, :, 3:10, 3:10]
    differs = np.abs(of_crops - of_image).max(axis=(0, 1)) > 1e-3 * np.abs(of_image).max()
    assert differs[[0, -1]].any()
    assert differs[:, [0, -1]].any()
    assert np.abs(scores - _crops(model, images, 224, 32)).max() > 1e-4


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: cnnx.ReLU(), (1, 4, 4), "expected a Sequential, whose layers are known; got ReLU."),
        (_padded, (3, 224), "input_shape must be (channels, height, width), at least 1 each; got (3, 224)."),
        (_padded, (1, 224, 224), 'input_shape does not fit layer "features.0": [conv2d] expected 3 input channels'),
        (lambda: _padded()[1:], (4, 9, 9), 'layer "avgpool" pools (9, 9) to (7, 7), by windows of different sizes.'),
        (lambda: cnnx.Sequential(cnnx.Linear(4, 2)), (1, 4, 4), 'layer "0" has no Flatten before it: Linear('),
        (lambda: cnnx.Sequential(cnnx.Flatten(2)), (1, 4, 4), 'layer "0" must flatten all axes but the first;'),
        (
            lambda: cnnx.Sequential(cnnx.Concat(cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(16, 4)))),
            (1, 4, 4),
            'layer "0" has Flatten(start_dim=1, end_dim=-1) inside; only a chain can be converted.',
        ),
        (
            lambda: cnnx.Sequential(cnnx.Flatten(), cnnx.Residual(cnnx.Linear(16, 16))),
            (1, 4, 4),
            'layer "1" behind Flatten has no form for volumes: Residual(',
        ),
    ],
)
def test_errors_of_linear_to_conv(make, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        linear_to_conv(make(), shape)


@pytest.mark.parametrize("kind", [cnnx.Flatten, cnnx.Linear, cnnx.AdaptiveAvgPool2d, cnnx.Softmax, cnnx.ReLU])
@pytest.mark.parametrize("of_class", [True, False])
def test_layers_with_a_forward_of_their_own_are_refused(kind, of_class):
    def forward(x):
        return kind.forward(layer, x) * 2

    cls = type("Doubled", (kind,), {"forward": lambda self, x: forward(x)}) if of_class else kind
    arguments = {cnnx.Linear: (16, 16), cnnx.AdaptiveAvgPool2d: (4,), cnnx.Softmax: (1,)}
    layer = cls(*arguments.get(kind, ()))
    if not of_class:
        layer.forward = forward
    front = [cnnx.Flatten()] if kind in (cnnx.Linear, cnnx.Softmax, cnnx.ReLU) else []
    net = cnnx.Sequential(*front, layer)
    with pytest.raises(ValueError, match=rf'layer "{len(front)}" .*has no form for volumes'):
        linear_to_conv(net, (1, 4, 4))


def test_convolutions_with_a_forward_of_their_own_are_no_matrices():
    class Doubled(cnnx.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    with pytest.raises(ValueError, match="expected a Conv2d; got Doubled with a forward of its own"):
        conv_to_linear(Doubled(1, 1, 3), (1, 4, 4))


def test_a_sequential_with_a_forward_of_its_own_is_refused():
    class Doubled(cnnx.Sequential):
        def forward(self, x):
            return 2 * super().forward(x)

    with pytest.raises(ValueError, match="expected a Sequential, whose layers are known; got Doubled"):
        linear_to_conv(Doubled(cnnx.Flatten(), cnnx.Linear(4, 2)), (1, 2, 2))


# ---- sliding_scores


def test_stride_16_is_the_crops_at_stride_16():
    cnnx.manual_seed(2)
    model = _unpadded()
    images = cnnx.randn(2, 3, 272, 256)
    made = linear_to_conv(model, (3, 224, 224))
    for stride in (16, 8):
        scores = sliding_scores(made, images, stride).numpy()
        rows, columns = (272 - _SEES) // stride + 1, (256 - _SEES) // stride + 1
        assert scores.shape == (2, 5, rows, columns)
        crops = _crops(model, images, 224, stride)
        assert_close(scores[:, :, : 48 // stride + 1, : 32 // stride + 1], crops)
    both = sliding_scores(model, images.numpy(), (16, 32), (3, 224, 224))
    assert_close(both, scores[:, :, ::2, ::4])


def test_stride_32_is_one_pass():
    made = linear_to_conv(_padded(), (3, 224, 224))
    images = cnnx.randn(1, 3, 300, 260)
    assert np.array_equal(sliding_scores(made, images, 32), made(images))


def test_padded_nets_are_interleaved():
    made = linear_to_conv(_padded(), (3, 224, 224))
    images = cnnx.randn(1, 3, 384, 384)
    scores = sliding_scores(made, images).numpy()
    assert scores.shape == (1, 4, 11, 11)
    for top in (0, 16):
        for left in (0, 16):
            part = scores[:, :, top // 16 :: 2, left // 16 :: 2]
            assert np.array_equal(part, made(_crop(images, top, left)))


@settings(max_examples=15)
@given(st.integers(32, 50), st.integers(32, 50), st.sampled_from([1, 2, 4]))
def test_sliding_scores_of_lenet(height, width, stride):
    model = _LENET
    images = cnnx.randn(1, 1, height, width)
    with cnnx.no_grad():
        assert_close(sliding_scores(model, images, stride, (1, 32, 32)), _crops(model, images, 32, stride))


_LENET = models.lenet5(4).eval()


def test_modes_are_restored_and_nothing_is_recorded():
    model = models.lenet5().train()
    with cnnx.enable_grad():
        scores = sliding_scores(model, cnnx.randn(1, 1, 36, 36), 2, (1, 32, 32))
    assert all(module.training for module in model.modules())
    assert not scores.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sliding_scores(_LENET, cnnx.zeros(1, 1, 40, 40), 3, (1, 32, 32)),
            "must divide the net's own, 4; got 3.",
        ),
        (
            lambda: sliding_scores(_LENET, cnnx.zeros(1, 1, 40, 40), 0, (1, 32, 32)),
            "stride must be an integer of at least 1; got 0.",
        ),
        (
            lambda: sliding_scores(_LENET, cnnx.zeros(1, 40, 40)),
            "expected images of shape (N, C, H, W); got (1, 40, 40).",
        ),
        (lambda: sliding_scores(_LENET, cnnx.zeros(1, 1, 32, 32)), "the model must give a map of scores"),
        (lambda: sliding_scores(_LENET, cnnx.zeros(1, 1, 30, 40), 2, (1, 32, 32)), "more than the padded height of"),
        (
            lambda: sliding_scores(cnnx.AdaptiveAvgPool2d(2), cnnx.zeros(1, 1, 8, 8)),
            "the scores do not get more with larger images",
        ),
    ],
)
def test_errors_of_sliding_scores(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


# ---- conv_to_linear


@st.composite
def _convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    padding = draw(
        st.one_of(st.integers(0, 2), st.tuples(*[st.integers(0, 2)] * 4), st.sampled_from(["same", "valid"]))
    )
    stride = (1, 1) if padding == "same" else draw(pair)
    conv = cnnx.Conv2d(
        *(groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), draw(pair)),
        stride=stride,
        padding=padding,
        dilation=draw(pair),
        groups=groups,
        bias=draw(st.booleans()),
        fit=draw(st.sampled_from(["floor", "ceil"])),
        dtype="float64",
    )
    return conv, (conv.in_channels, draw(st.integers(5, 8)), draw(st.integers(5, 8)))


@given(_convolutions())
def test_block_matrix_equals_the_convolution(case):
    conv, shape = case
    try:
        expected = conv(cnnx.randn(0, *shape, dtype="float64"))
    except ValueError:
        return
    linear = conv_to_linear(conv, shape)
    x = cnnx.randn(2, *shape, dtype="float64")
    with cnnx.no_grad():
        assert_close(linear(x.flatten(1)), conv(x).flatten(1), "float64")
    assert linear.weight.shape == (int(np.prod(expected.shape[1:])), int(np.prod(shape)))


def test_block_matrix_is_mostly_zeros_and_shares_weights():
    conv = cnnx.Conv2d(1, 1, 3, bias=False)
    conv.weight.detach().copy_(cnnx.arange(1, 10).reshape(1, 1, 3, 3).to("float32"))
    matrix = conv_to_linear(conv, (1, 6, 6)).weight.detach().numpy()
    assert matrix.shape == (16, 36)
    assert np.count_nonzero(matrix) == 16 * 9
    for row in matrix:
        assert sorted(row[row != 0]) == list(range(1, 10))
    np.testing.assert_array_equal(matrix[1, 1:], matrix[0, :-1])


def test_there_and_back():
    """A convolution as a matrix, and that as a convolution over the whole image, computes the same."""
    conv = cnnx.Conv2d(2, 3, 3, stride=2, padding=1)
    net = cnnx.Sequential(cnnx.Flatten(), conv_to_linear(conv, (2, 6, 5)))
    x = cnnx.randn(2, 2, 6, 5)
    assert_close(linear_to_conv(net, (2, 6, 5))(x).flatten(1), conv(x).flatten(1))


def test_errors_of_conv_to_linear():
    with pytest.raises(ValueError, match="expected a Conv2d; got Linear"):
        conv_to_linear(cnnx.Linear(1, 1), (1, 1, 1))
    with pytest.raises(ValueError, match=r"the matrix would have 161,\d+,\d+,\d+ values; the limit is 268,435,456\."):
        conv_to_linear(cnnx.Conv2d(1, 64, 3, padding=1), (1, 224, 224))
    with pytest.raises(ValueError, match="expected 2 input channels"):
        conv_to_linear(cnnx.Conv2d(2, 1, 3), (1, 8, 8))


def test_images_and_numbers_of_numpy():
    net = cnnx.models.lenet5().eval()
    images = np.random.default_rng(0).normal(size=(1, 1, 40, 36))  # float64, as NumPy makes them
    expected = cnnx.convert.sliding_scores(net, cnnx.tensor(images, dtype="float32"), 2, (1, 32, 32))
    shape = np.array([1, 32, 32])
    scores = cnnx.convert.sliding_scores(net, images, np.int64(2), shape)
    assert scores.dtype == cnnx.float32
    np.testing.assert_array_equal(scores.numpy(), expected.numpy())
    assert cnnx.convert.sliding_scores(net, images, (np.int32(4), 2), shape).shape == (1, 10, 3, 3)
    assert cnnx.convert.conv_to_linear(net[0], shape).in_features == 1024


def test_a_model_without_values_is_converted_anywhere():
    with cnnx.Device("meta"):
        net = cnnx.models.lenet5()
    made = cnnx.convert.linear_to_conv(net, (1, 32, 32))
    assert all(parameter.device.type == "meta" for parameter in made.parameters())
    assert cnnx.analysis.summary(made, (1, 48, 40)).rows[-1].output_shape == (10, 5, 3)
