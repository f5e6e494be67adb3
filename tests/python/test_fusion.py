"""Layers that Sequential and Residual run in one pass, and weights kept in an algorithm's own order: same results."""

from __future__ import annotations

import copy
import itertools
import re

import numpy as np
import pytest
from helpers import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F


def _one_by_one(modules, x):
    for module in modules:
        x = module(x)
    return x


def _net(dtype):
    net = cnnx.Sequential(
        cnnx.Conv2d(3, 20, 3, padding=1),
        cnnx.BatchNorm2d(20),
        cnnx.ReLU(),
        cnnx.Conv2d(20, 18, 3, stride=2, bias=False),
        cnnx.BatchNorm2d(18),
        cnnx.Conv2d(18, 12, 1),
        cnnx.ReLU(),
        cnnx.ReLU(),
        cnnx.BatchNorm2d(12, affine=False),
        cnnx.ReLU(),
        cnnx.Conv2d(12, 8, 3, groups=4, padding=1),
    )
    for norm in (net[1], net[4]):
        cnnx.init.uniform_(norm.weight, 0.5, 1.5)
        cnnx.init.uniform_(norm.bias, -1, 1)
    for _ in range(3):
        net(cnnx.randn(4, 3, 9, 8))  # gives the running statistics values of their own
    return net.to(dtype)


def _gradients(run, net, x):
    net.zero_grad()
    x = x.detach()
    x.requires_grad = True
    y = run(x)
    (y * y).sum().backward()
    return [y, x.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_chain_in_evaluation_equals_its_layers(algorithm, dtype):
    net = _net(dtype).eval()
    cnnx.set_conv_algorithm(algorithm)
    x = cnnx.randn(2, 3, 11, 10).to(dtype)
    expected = _one_by_one(net, x)
    assert_close(net(x), expected.numpy(), dtype, scale=20)
    with cnnx.no_grad():
        for _ in range(2):  # the second time with weights that are in order already
            assert_close(net(x), expected.numpy(), dtype, scale=20)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_chain_equal_those_of_its_layers(training):
    net = _net("float64").train(training)
    x = cnnx.randn(3, 3, 7, 8).to("float64")
    twin = copy.deepcopy(net)
    fused = _gradients(net, net, x)
    plain = _gradients(lambda x: _one_by_one(twin, x), twin, x)
    for a, b in zip(fused, plain, strict=True):
        assert_close(a, b.numpy(), "float64", scale=20)
    for (name, a), (_, b) in zip(net.named_buffers(), twin.named_buffers(), strict=True):
        assert_close(a, b.numpy(), "float64"), name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ends_in", ["convolution", "norm", "activation", "pool"])
def test_a_residual_equals_its_layers(training, ends_in):
    body = [cnnx.Conv2d(4, 6, 3, padding=1), cnnx.BatchNorm2d(6)]
    body = {
        "convolution": body[:1],
        "norm": body,
        "activation": [*body, cnnx.ReLU()],
        "pool": [*body, cnnx.AvgPool2d(3, stride=1, padding=1)],
    }[ends_in]
    shortcut = cnnx.Conv2d(4, 6, 1)
    block = cnnx.Residual(*body, downsample=shortcut).to("float64").train(training)
    twin = copy.deepcopy(block)
    children = dict(twin.named_children())
    down = children.pop("downsample")
    x = cnnx.randn(3, 4, 6, 5).to("float64")
    fused = _gradients(block, block, x)
    plain = _gradients(lambda x: F.relu(_one_by_one(children.values(), x) + down(x)), twin, x)
    for a, b in zip(fused, plain, strict=True):
        assert_close(a, b.numpy(), "float64", scale=20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pool", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1, "fit": "ceil"}])
def test_pooling_before_the_activation_changes_no_bit(dtype, pool):
    """Small whole numbers, so that values tie, whole windows are negative and sums have no rounding to differ in."""

    def whole(*shape):
        return cnnx.tensor(rng.integers(-2, 3, shape)).to(dtype)

    rng = np.random.default_rng(5)
    net = cnnx.Sequential(cnnx.Conv2d(3, 6, 3), cnnx.ReLU(), cnnx.MaxPool2d(**pool), cnnx.Conv2d(6, 2, 2)).to(dtype)
    for parameter in net.parameters():
        np.copyto(parameter.numpy(), whole(*parameter.shape).numpy())
    x = whole(2, 3, 12, 11)
    twin = copy.deepcopy(net)
    for a, b in zip(_gradients(net, net, x), _gradients(lambda x: _one_by_one(twin, x), twin, x), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_windows_without_a_pixel_stay_what_they_are():
    """A dilated window can miss the image: it is -inf, also where a ReLU comes before."""
    net = cnnx.Sequential(cnnx.Conv2d(1, 1, 1), cnnx.ReLU(), cnnx.MaxPool2d(2, stride=1, padding=1, dilation=2))
    wide = cnnx.Sequential(cnnx.Conv2d(1, 1, 1), cnnx.ReLU(), cnnx.MaxPool2d(2, stride=2, padding=1, dilation=2))
    for each in (net, wide):
        x = cnnx.ones(1, 1, 1, 1)
        np.testing.assert_array_equal(each(x).numpy(), _one_by_one(each, x).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pooling_before_the_activation_keeps_what_is_not_finite(dtype):
    net = cnnx.Sequential(cnnx.Conv2d(1, 2, 1, bias=False), cnnx.ReLU(), cnnx.MaxPool2d(2)).to(dtype)
    x = np.random.default_rng(0).standard_normal((1, 1, 8, 8))
    x[0, 0, 1, 1], x[0, 0, 3, 6], x[0, 0, 6, 2] = np.nan, np.inf, -np.inf
    x = cnnx.tensor(x).to(dtype)
    twin = copy.deepcopy(net)
    for a, b in zip(_gradients(net, net, x), _gradients(lambda x: _one_by_one(twin, x), twin, x), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_pooling_before_the_activation_spares_the_larger_map():
    net = cnnx.Sequential(cnnx.Conv2d(1, 16, 3, padding=1), cnnx.ReLU(), cnnx.MaxPool2d(2))
    x = cnnx.randn(4, 1, 64, 64)
    kept = []
    for run in (net, lambda x: _one_by_one(net, x)):
        before = cnnx.memory.current()
        y = run(x)
        kept.append(cnnx.memory.current() - before)
        del y
    assert kept[1] - kept[0] >= 4 * 16 * 64 * 64 * 4


#: Algorithms of convolution that can pool what they compute.
_POOLING = ["direct", "direct_small", "winograd", "winograd_2x2"]


@st.composite
def _towers(draw):
    """Stages of convolution, perhaps batch normalization, ReLU and 2x2 pooling, and a shape that they take."""
    channels = draw(st.sampled_from([1, 3, 16]))
    shape = (draw(st.integers(1, 3)), channels, *draw(st.tuples(st.integers(28, 45), st.integers(28, 45))))
    stages, smallest = [], min(shape[2:])
    for _ in range(draw(st.integers(1, 4))):
        width, kernel = draw(st.sampled_from([5, 16, 32, 48, 64])), draw(st.sampled_from([3, 3, 5]))
        padding, pools = draw(st.integers(0, 4)), draw(st.booleans())
        smallest = (smallest + 2 * padding - kernel + 1) // (2 if pools else 1)
        if smallest < 1:
            break
        layers = [cnnx.Conv2d(channels, width, kernel, padding=padding, bias=draw(st.booleans()))]
        if draw(st.booleans()):
            layers.append(cnnx.BatchNorm2d(width))
            cnnx.init.uniform_(layers[-1].weight, -1.5, 1.5)
        layers += [cnnx.ReLU()] * draw(st.booleans())
        stages.append((layers, pools))
        channels = width
    return stages, shape


@pytest.mark.parametrize("algorithm", ["auto", *_POOLING])
@given(case=_towers(), dtype=st.sampled_from(["float32", "float64"]), threads=st.integers(1, 3), nan=st.booleans())
@settings(max_examples=40)
def test_convolutions_that_hand_on_blocks_change_no_bit(algorithm, case, dtype, threads, nan):
    stages, shape = case
    cnnx.set_conv_algorithm(algorithm)
    cnnx.set_num_threads(threads)
    parts = [cnnx.Sequential(*layers).to(dtype).eval() for layers, _ in stages]
    x = np.random.default_rng(1).standard_normal(shape)
    if nan:
        x[0, 0, 7, 9] = np.nan
    x = cnnx.tensor(x).to(dtype)
    with cnnx.no_grad():
        expected, whole = x, []
        for part, (_, pools) in zip(parts, stages, strict=True):
            expected = part(expected)
            whole += list(part)
            if pools:
                expected = F.max_pool2d(expected, 2)
                whole.append(cnnx.MaxPool2d(2))
        for _ in range(2):  # the second time with weights that are in order already
            np.testing.assert_array_equal(cnnx.Sequential(*whole)(x).numpy(), expected.numpy())


@pytest.mark.parametrize("algorithm", _POOLING)
@given(
    filters=st.sampled_from([1, 5, 16, 33]),
    kernel=st.sampled_from([3, 5]),
    options=st.fixed_dictionaries(
        {
            "padding": st.integers(0, 3),
            "stride": st.sampled_from([1, 1, 2]),
            "dilation": st.sampled_from([1, 1, 2]),
            "groups": st.sampled_from([1, 1, 3]),
        }
    ),
    size=st.tuples(st.integers(12, 70), st.integers(12, 70)),
    dtype=st.sampled_from(["float32", "float64"]),
    threads=st.integers(1, 3),
    nan=st.booleans(),
)
@settings(max_examples=40)
def test_pooling_in_the_convolution_changes_no_bit(algorithm, filters, kernel, options, size, dtype, threads, nan):
    cnnx.set_conv_algorithm(algorithm)
    cnnx.set_num_threads(threads)
    filters *= options["groups"]
    layers = [cnnx.Conv2d(3, filters, kernel, **options), cnnx.ReLU(), cnnx.MaxPool2d(2)]
    net = cnnx.Sequential(*layers, cnnx.Conv2d(filters, 2, 1)).to(dtype)
    x = np.random.default_rng(2).standard_normal((2, 3, *size))
    if nan:
        x[1, 2, 3, 4] = np.nan
    x = cnnx.tensor(x).to(dtype)
    twin = copy.deepcopy(net)
    fused, plain = _gradients(net, net, x), _gradients(lambda x: _one_by_one(twin, x), twin, x)
    for i, (a, b) in enumerate(zip(fused, plain, strict=True)):
        if i == 3 and not nan:  # a sum of fewer values
            assert_close(a, b.numpy(), dtype, scale=20)
        elif i != 3:
            np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("trained", ["input", "weight", "bias"])
def test_pooling_in_a_convolution_that_is_trained_in_part(trained):
    net = cnnx.Sequential(cnnx.Conv2d(16, 16, 3, padding=1), cnnx.ReLU(), cnnx.MaxPool2d(2)).requires_grad_(False)
    x = cnnx.randn(2, 16, 12, 12)
    wanted = x if trained == "input" else getattr(net[0], trained)
    wanted.requires_grad = True
    for algorithm in _POOLING:
        cnnx.set_conv_algorithm(algorithm)
        grads = []
        for run in (net, lambda x: _one_by_one(net, x)):
            for _ in range(2):  # the second time with weights that are in order already
                wanted.grad = None
                y = run(x)
                (y * y).sum().backward()
            grads.append(wanted.grad)
        assert_close(grads[0], grads[1].numpy(), "float32", scale=20)


def _peaks(net, x):
    """Memory that the second call of the net takes, and that of its layers."""
    net(x)
    peaks = []
    for run in (net, lambda x: _one_by_one(net, x)):
        cnnx.memory.reset_peak()
        before = cnnx.memory.current()
        run(x)
        peaks.append(cnnx.memory.peak() - before)
    return peaks


@pytest.mark.parametrize("algorithm", _POOLING)
def test_the_map_before_pooling_takes_no_memory(algorithm):
    net = cnnx.Sequential(cnnx.Conv2d(3, 16, 3, padding=1), cnnx.ReLU(), cnnx.MaxPool2d(2))
    cnnx.set_conv_algorithm(algorithm)
    x = cnnx.randn(4, 3, 128, 128)
    fused, plain = _peaks(net, x)
    assert plain - fused >= 0.9 * 4 * 16 * 128 * 128 * 4  # sizes are rounded


def test_pooling_in_a_sequence_obeys_the_fit():
    net = cnnx.Sequential(
        *[layer for i in (3, 16) for layer in (cnnx.Conv2d(i, 16, 3), cnnx.ReLU(), cnnx.MaxPool2d(2))]
    )
    cnnx.set_conv_algorithm("winograd")
    with cnnx.no_grad():
        for size, fit in itertools.product((31, 32, 33, 34), ("floor", "ceil", "strict")):
            x = cnnx.randn(1, 3, size, size)
            with cnnx.fit_mode(fit):
                try:
                    expected = _one_by_one(net, x).numpy()
                except ValueError as error:
                    with pytest.raises(ValueError, match=re.escape(str(error)[:40])):
                        net(x)
                else:
                    np.testing.assert_array_equal(net(x).numpy(), expected)


def test_sequences_write_no_wide_border():
    net = cnnx.Sequential(cnnx.Conv2d(3, 64, 3, padding=1), cnnx.ReLU(), cnnx.Conv2d(64, 4, 3, padding=200))
    cnnx.set_conv_algorithm("winograd")
    x = cnnx.randn(1, 3, 16, 16)
    with cnnx.no_grad():
        fused, plain = _peaks(net, x)
    assert fused <= plain


@pytest.mark.parametrize("padding", [2**29, 2**31 - 648])
def test_sequences_with_endless_padding_raise(padding):
    cnnx.set_conv_algorithm("winograd")
    for last in (cnnx.Conv2d(16, 16, 3), cnnx.MaxPool2d(2)):
        net = cnnx.Sequential(cnnx.Conv2d(3, 16, 3, padding=padding), cnnx.ReLU(), last)
        with pytest.raises(ValueError, match=r"too many elements; at 0 \(Conv2d\)"):
            net(cnnx.randn(1, 3, 8, 8))
        with cnnx.no_grad(), pytest.raises(ValueError, match=r"too many elements; at 0 \(Conv2d\)"):
            net(cnnx.randn(1, 3, 8, 8))


def test_a_sequence_tells_which_of_its_layers_does_not_fit():
    net = cnnx.Sequential(cnnx.Conv2d(3, 16, 3), cnnx.ReLU(), cnnx.Conv2d(16, 16, 3), cnnx.Conv2d(8, 16, 3))
    with cnnx.no_grad(), pytest.raises(ValueError, match=r"(?s)expected 8 input channels.*3 \(Conv2d\)"):
        net(cnnx.randn(1, 3, 32, 32))


def test_a_weight_of_no_axes_before_batch_normalization_is_the_convolutions_error():
    net = cnnx.Sequential(cnnx.Conv2d(3, 16, 3), cnnx.BatchNorm2d(16)).eval()
    net[0].weight = cnnx.Parameter(cnnx.tensor(1.0))
    with (
        cnnx.no_grad(),
        pytest.raises(ValueError, match=r"expected a weight of shape.*got shape \(\); at 0 \(Conv2d\)"),
    ):
        net(cnnx.randn(1, 3, 32, 32))


def test_what_python_overrides_is_called():
    class Doubling(cnnx.ReLU):
        def forward(self, x):
            return super().forward(x) * 2.0

    conv, x = cnnx.Conv2d(1, 2, 3), cnnx.randn(1, 1, 5, 5)
    y = cnnx.Sequential(conv, Doubling())(x)
    np.testing.assert_array_equal(y.numpy(), (F.relu(conv(x)) * 2.0).numpy())


_CHANGES = {
    "through a NumPy view": lambda layer: np.copyto(layer.weight.numpy(), 0.5),
    "by an initialiser": lambda layer: cnnx.init.constant_(layer.weight, 0.5),
    "by load_state_dict": lambda layer: layer.load_state_dict({"weight": np.full(layer.weight.shape, 0.5, np.float32)}),
    "by assignment": lambda layer: setattr(layer, "weight", cnnx.Parameter(cnnx.full(layer.weight.shape, 0.5))),
}


def _step(layer):
    """Ends at 0.5 whatever the weight was."""
    layer.weight.grad = layer.weight.detach() - 0.5
    cnnx.optim.SGD([layer.weight], lr=1.0).step()


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@pytest.mark.parametrize("change", [*_CHANGES.values(), _step], ids=[*_CHANGES, "by an optimizer"])
def test_a_changed_weight_is_seen(algorithm, change):
    cnnx.set_conv_algorithm(algorithm)
    layer, x = cnnx.Conv2d(5, 17, 3, padding=1, bias=False), cnnx.randn(2, 5, 9, 9)
    expected = F.conv2d(x, cnnx.full(layer.weight.shape, 0.5), padding=1).numpy()
    with cnnx.no_grad():
        before = layer(x).numpy().copy()
        change(layer)
        after = layer(x).numpy()
    assert np.abs(before - expected).max() > 0.1
    np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
def test_a_live_numpy_view_of_the_weight_is_obeyed(algorithm):
    cnnx.set_conv_algorithm(algorithm)
    layer, x = cnnx.Conv2d(3, 4, 3, bias=False), cnnx.randn(1, 3, 6, 6)
    view = layer.weight.detach().numpy()
    with cnnx.no_grad():
        for value in (1.0, 2.0, 3.0):
            view[...] = value
            expected = F.conv2d(x, cnnx.full(layer.weight.shape, value)).numpy()
            np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
def test_views_of_one_weight_with_other_shapes(algorithm):
    cnnx.set_conv_algorithm(algorithm)
    weight = cnnx.randn(8, 4, 3, 3)
    calls = [
        (weight, cnnx.randn(1, 4, 7, 7), 1),
        (weight, cnnx.randn(1, 8, 7, 7), 2),
        (weight.reshape(16, 2, 3, 3), cnnx.randn(1, 2, 7, 7), 1),
        (weight.reshape(4, 8, 3, 3), cnnx.randn(1, 8, 7, 7), 1),
    ]
    for w, x, groups in calls * 2:
        expected = F.conv2d(x, cnnx.tensor(w.numpy().copy(), requires_grad=True), groups=groups)
        np.testing.assert_allclose(F.conv2d(x, w, groups=groups).numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", ["norm", "all", "none"])
def test_gradients_pass_through_a_norm_in_evaluation(frozen):
    net = cnnx.Sequential(cnnx.Conv2d(3, 6, 3), cnnx.BatchNorm2d(6, affine=frozen != "none"), cnnx.ReLU())
    net(cnnx.randn(4, 3, 8, 8) * 3.0)  # gives the running statistics values of their own
    net = net.to("float64").eval()
    if frozen != "none":
        (net[1] if frozen == "norm" else net).requires_grad_(False)
    x = cnnx.randn(2, 3, 6, 6).to("float64")
    x.requires_grad = True
    results = []
    for run in (net, lambda x: _one_by_one(net, x)):
        net.zero_grad()
        x.grad = None
        y = run(x)
        (y * y).sum().backward()
        results.append([y, x.grad, *(p.grad for p in net.parameters() if p.grad is not None)])
    assert len(results[0]) >= 2
    for a, b in zip(*results, strict=True):
        assert_close(a, b.numpy(), "float64", scale=20)


def test_layers_whose_parameters_were_replaced_raise_as_they_do_alone():
    x = cnnx.randn(1, 3, 6, 6)
    with cnnx.no_grad():
        for name, value in (("weight", cnnx.ones(4)), ("bias", cnnx.ones(9)), ("running_var", cnnx.ones(4))):
            net = cnnx.Sequential(cnnx.Conv2d(3, 8, 3), cnnx.BatchNorm2d(8)).eval()
            setattr(net[1], name, value if name == "running_var" else cnnx.Parameter(value))
            with pytest.raises(ValueError, match=r"\[batch_norm\]"):
                net(x)
        net = cnnx.Sequential(cnnx.Conv2d(3, 8, 3, bias=False), cnnx.BatchNorm2d(8)).eval()
        net[0].weight = cnnx.Parameter(cnnx.randn(16, 3, 3, 3))
        with pytest.raises(ValueError, match=r"\[batch_norm\]"):
            net(x)
        net = cnnx.Sequential(cnnx.Conv2d(3, 8, 3), cnnx.BatchNorm2d(8, dtype="float64")).eval()
        with pytest.raises((ValueError, TypeError)):
            net(x)


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
def test_deep_sums_have_the_same_bits_for_any_number_of_threads(algorithm):
    cnnx.set_conv_algorithm(algorithm)
    x, w = cnnx.randn(2, 128, 28, 28), cnnx.randn(40, 128, 3, 3)
    results = []
    for threads in (1, 2, 3):
        cnnx.set_num_threads(threads)
        for stride in (1, 2):
            results.append(F.conv2d(x, w, stride=stride, padding=1).numpy())
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result, results[i % 2])
