"""Convolution: every algorithm against the naive reference and torch, the notes' examples, fit modes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import assume, given
from strategies import conv_cases, conv_output_size

import cnnx
import cnnx.functional as F


def _arrays(case, seed=0):
    x, w, b = randoms(
        seed,
        (case.batch, case.in_channels, *case.size),
        (case.out_channels, case.in_channels // case.groups, *case.kernel),
        (case.out_channels,),
    )
    return [x, w, b] if case.bias else [x, w]


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@pytest.mark.parametrize("fit", ["floor", "ceil"])
@given(case=conv_cases())
def test_forward_matches_reference(algorithm, fit, case):
    cnnx.set_conv_algorithm(algorithm)
    arrays = _arrays(case)
    for dtype in ("float32", "float64"):
        y = F.conv2d(*(cnnx.tensor(a, dtype=dtype) for a in arrays), **case.options, fit=fit)
        expected = reference.conv2d(*arrays, *([] if case.bias else [None]), **case.options, fit=fit)
        assert y.shape[2:] == conv_output_size(case, fit)
        assert_close(y, expected, dtype, scale=10)


@needs_torch
@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@given(case=conv_cases(symmetric=True))
def test_values_and_gradients_match_torch(algorithm, case):
    import torch

    cnnx.set_conv_algorithm(algorithm)
    options = {**case.options, "padding": (case.padding[0], case.padding[2])}
    for dtype in ("float32", "float64"):
        compare_with_torch(
            lambda *a: F.conv2d(*a, **options),
            lambda *a: torch.nn.functional.conv2d(*a, **options),
            _arrays(case),
            dtype,
            scale=20,
        )


# (x, weight, options) large enough for every kind of tile, block and chunk of the algorithms
_LARGE = [
    ((2, 130, 30, 33), (70, 130, 3, 3), {"padding": 1}),
    ((1, 20, 61, 57), (17, 20, 3, 3), {"padding": (2, 0)}),
    ((2, 24, 40, 41), (36, 12, 3, 3), {"padding": 1, "groups": 2}),
    ((2, 18, 27, 30), (52, 18, 5, 5), {"padding": 2}),
    ((3, 34, 7, 9), (130, 17, 5, 5), {"padding": (4, 1), "groups": 2}),
    ((1, 300, 5, 6), (280, 300, 5, 5), {"padding": 2}),
    ((1, 200, 14, 14), (170, 200, 3, 3), {"padding": 1}),
    ((5, 33, 7, 7), (65, 33, 1, 1), {}),
    ((2, 3, 63, 62), (24, 3, 11, 11), {"stride": 4, "padding": 2}),
    ((2, 40, 28, 28), (50, 40, 3, 3), {"stride": 2, "padding": 1}),
]


@needs_torch
@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@pytest.mark.parametrize(("x", "weight", "options"), _LARGE)
def test_large_values_and_gradients_match_torch(algorithm, x, weight, options):
    import torch

    cnnx.set_conv_algorithm(algorithm)
    arrays = randoms(5, x, weight, weight[:1])
    for dtype in ("float32", "float64"):
        compare_with_torch(
            lambda *a: F.conv2d(*a, **options),
            lambda *a: torch.nn.functional.conv2d(*a, **options),
            arrays,
            dtype,
            scale=100,
        )


@pytest.mark.parametrize("algorithm", ["auto", *cnnx.conv_algorithms()])
def test_weights_of_two_shapes_on_one_buffer_do_not_share_what_is_kept(algorithm):
    cnnx.set_conv_algorithm(algorithm)
    small = cnnx.randn(64, 100, 3, 3)
    large = small.reshape(64, 36, 5, 5)
    a, b = cnnx.randn(1, 100, 12, 12), cnnx.randn(1, 36, 12, 12)

    def run(first, second):
        with cnnx.no_grad():
            return [F.conv2d(x, w, padding=1).numpy().copy() for x, w in (first, second, first)]

    expected = [F.conv2d(x, w.detach().clone(), padding=1).numpy() for x, w in ((a, small), (b, large), (a, small))]
    for found, wanted in zip(run((a, small), (b, large)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("algorithm", ["auto", *cnnx.conv_algorithms()])
@pytest.mark.parametrize("size", [(9, 0), (0, 9), (0, 0)])
def test_images_without_pixels(algorithm, size):
    cnnx.set_conv_algorithm(algorithm)
    x = cnnx.zeros(1, 16, *size, requires_grad=True)
    w = cnnx.randn(16, 16, 3, 3, requires_grad=True)
    y = F.conv2d(x, w, padding=2)
    assert not y.numpy().any()
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.numpy().any()


@pytest.mark.parametrize(("algorithm", "size"), [("winograd", 3), ("winograd", 5), ("winograd_2x2", 3)])
@pytest.mark.parametrize("channels", [64, 256])
def test_winograd_rounds_little(algorithm, size, channels):
    cnnx.set_conv_algorithm(algorithm)
    x, w = randoms(11, (1, channels, 28, 28), (32, channels, size, size))
    x, w = x.astype("float32"), w.astype("float32")
    exact = F.conv2d(cnnx.tensor(x, dtype="float64"), cnnx.tensor(w, dtype="float64"), padding=1).numpy()
    error = F.conv2d(cnnx.tensor(x), cnnx.tensor(w), padding=1).numpy() - exact
    assert np.linalg.norm(error) < 2e-6 * np.linalg.norm(exact)
    assert np.abs(error).max() < 1e-5 * exact.std()


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@given(case=conv_cases())
def test_gradcheck(algorithm, case):
    if case.batch * case.in_channels * case.out_channels * np.prod(case.size) > 300:
        return
    cnnx.set_conv_algorithm(algorithm)
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in _arrays(case)]
    assert cnnx.testing.gradcheck(lambda *a: F.conv2d(*a, **case.options), inputs)


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@pytest.mark.parametrize(
    ("shape", "weight", "options"),
    [
        ((2, 3, 33, 35), (8, 3, 3, 3), {"padding": 1}),
        ((1, 16, 14, 14), (32, 16, 1, 1), {}),
        ((4, 8, 17, 19), (8, 1, 3, 3), {"padding": 1, "groups": 8, "stride": 2}),
        ((1, 3, 64, 64), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
        ((70, 4, 6, 6), (5, 4, 3, 3), {"padding": "same"}),
    ],
)
def test_algorithms_agree_on_larger_shapes(algorithm, shape, weight, options):
    x, w = randoms(1, shape, weight)
    results = {}
    for name in ("im2col", algorithm):
        cnnx.set_conv_algorithm(name)
        a, b = (cnnx.tensor(v, dtype="float32", requires_grad=True) for v in (x, w))
        y = F.conv2d(a, b, **options)
        (y * y).sum().backward()
        results[name] = (y.numpy(), a.grad.numpy(), b.grad.numpy())
    for found, expected in zip(results[algorithm], results["im2col"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def _few_positions(case):
    """The case with so many weights for its positions that their gradient stays a product of two matrices."""
    in_channels, out_channels = -(-600 // (case.kernel[0] * case.kernel[1])), 300 + case.out_channels
    case = replace(case, in_channels=in_channels, out_channels=out_channels, groups=1)
    height, width = conv_output_size(case)
    assume(0 < case.batch * height * width <= 48)
    return case


@given(case=conv_cases().map(_few_positions))
def test_gradient_of_many_weights_from_few_positions(case):
    x, weight = _arrays(replace(case, bias=False))
    for dtype in ("float32", "float64"):
        grads = {}
        for algorithm in ("auto", "im2col"):
            cnnx.set_conv_algorithm(algorithm)
            w = cnnx.tensor(weight, dtype=dtype, requires_grad=True)
            before = cnnx.memory.current()
            y = F.conv2d(cnnx.tensor(x, dtype=dtype), w, **case.options)
            (gy,) = randoms(1, y.shape)
            y.backward(cnnx.tensor(gy, dtype=dtype))
            del y
            kept = cnnx.memory.current() - before
            assert (kept < w.numpy().nbytes) == (algorithm == "auto")
            grads[algorithm] = w.grad.numpy()
        assert_close(grads["auto"], grads["im2col"], dtype, scale=20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "weight", "padding"), [((1, 520, 7, 7), (300, 520, 1, 1), 0), ((2, 70, 5, 6), (300, 70, 3, 3), 1)]
)
def test_a_step_is_the_same_whether_the_gradient_of_many_weights_was_read_or_not(shape, weight, padding, dtype):
    def run(read):
        values, x = (cnnx.tensor(a, dtype=dtype) for a in randoms(0, weight, shape))
        w = values.requires_grad_()
        optimizer = cnnx.optim.SGD([w], lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            y = F.conv2d(x, w, padding=padding)
            (y * y).mean().backward()
            if read:
                w.grad.numpy()
            optimizer.step()
        return w.detach().numpy()

    np.testing.assert_array_equal(run(False), run(True))


@pytest.mark.parametrize("algorithm", ["auto", *cnnx.conv_algorithms()])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"dilation": 20000, "padding": 20000}),
        (3, {"stride": 10**6, "padding": 5}),
        (3, {"stride": 2**31 - 1}),
        (4, {"dilation": (2**32 - 1) // 3, "padding": (2**31 - 1, 2**31 - 2) * 2}),  # padded planes of 2**64 values
    ],
)
def test_far_taps_and_steps_take_no_memory(algorithm, kernel, options):
    cnnx.set_conv_algorithm(algorithm)
    shapes = (1, 512, 3, 3), (300, 512, kernel, kernel)
    x, weight = (cnnx.tensor(a, dtype="float32", requires_grad=True) for a in randoms(0, *shapes))
    cnnx.memory.reset_peak()
    before = cnnx.memory.current()
    y = F.conv2d(x, weight, **options)
    assert y.shape[1] == 300
    y.sum().backward()
    assert np.isfinite(weight.grad.numpy()).all()
    assert cnnx.memory.peak() - before < 10 * weight.numpy().nbytes


def test_notes_size_examples():
    def size(w, f, s, p):
        return F.conv2d(cnnx.zeros(1, 1, w, w), cnnx.zeros(1, 1, f, f), stride=s, padding=p).shape[2]

    assert size(7, 3, 1, 0) == 5
    assert size(7, 3, 2, 0) == 3
    assert size(5, 3, 1, 1) == 5
    assert size(5, 3, 2, 1) == 3
    assert size(227, 11, 4, 0) == 55


def test_notes_numpy_example():
    x, w, b = randoms(3, (11, 11, 4), (2, 5, 5, 4), (2,))
    images = x.transpose(2, 0, 1)[np.newaxis]
    y = F.conv2d(
        cnnx.tensor(images, dtype="float64"),
        cnnx.tensor(w.transpose(0, 3, 1, 2), dtype="float64"),
        cnnx.tensor(b, dtype="float64"),
        stride=2,
    )
    v = y.numpy()[0].transpose(1, 2, 0)
    assert v.shape == (4, 4, 2)
    np.testing.assert_allclose(v[0, 0, 0], (x[:5, :5] * w[0]).sum() + b[0])
    np.testing.assert_allclose(v[1, 0, 0], (x[2:7, :5] * w[0]).sum() + b[0])
    np.testing.assert_allclose(v[2, 3, 1], (x[4:9, 6:11] * w[1]).sum() + b[1])


def test_dilation_reaches_every_second_value():
    x = cnnx.tensor(np.arange(5.0).reshape(1, 1, 1, 5))
    w = cnnx.tensor(np.array([1.0, 10.0, 100.0]).reshape(1, 1, 1, 3))
    assert F.conv2d(x, w, dilation=(1, 2)).tolist() == [[[[0 + 20 + 400]]]]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_keeps_the_size(kernel, dilation):
    y = F.conv2d(cnnx.zeros(1, 2, 9, 14), cnnx.zeros(3, 2, kernel, kernel), padding="same", dilation=dilation)
    assert y.shape == (1, 3, 9, 14)


def test_strict_names_the_sizes_that_fit():
    x, w = cnnx.zeros(1, 1, 10, 10), cnnx.zeros(1, 1, 3, 3)
    with pytest.raises(
        ValueError,
        match=r"\[conv2d\] height 10 does not fit kernel 3, stride 2, padding 0: \(10 - 3 \+ 0\) / 2 \+ 1 = 4.5. Try height 9 or 11",
    ):
        F.conv2d(x, w, stride=2, fit="strict")
    assert F.conv2d(x, w, stride=2, fit="floor").shape[2] == 4
    assert F.conv2d(x, w, stride=2, fit="ceil").shape[2] == 5
    with cnnx.fit_mode("ceil"):
        assert F.conv2d(x, w, stride=2).shape[2] == 5
    assert F.conv2d(x, w, stride=2).shape[2] == 4


def test_empty_batch():
    w = cnnx.randn(2, 3, 3, 3, requires_grad=True)
    y = F.conv2d(cnnx.zeros(0, 3, 8, 8), w)
    assert y.shape == (0, 2, 6, 6)
    y.sum().backward()
    assert w.grad.numpy().sum() == 0
