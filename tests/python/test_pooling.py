"""Pooling: against the naive reference and torch, gradients, the notes' sizes, ties and NaN."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st
from strategies import pool_cases

import cnnx
import cnnx.functional as F


def _options(case):
    return {"kernel_size": case.kernel, "stride": case.stride, "padding": case.padding, "fit": case.fit}


@given(case=pool_cases())
def test_max_matches_reference(case):
    (x,) = randoms(0, case.shape)
    for dtype in ("float32", "float64"):
        y = F.max_pool2d(cnnx.tensor(x, dtype=dtype), **_options(case), dilation=case.dilation)
        assert_close(y, reference.max_pool2d(x, case.kernel, case.stride, case.padding, case.dilation, case.fit), dtype)


@given(case=pool_cases(dilated=False), include=st.booleans())
def test_average_matches_reference(case, include):
    (x,) = randoms(0, case.shape)
    for dtype in ("float32", "float64"):
        y = F.avg_pool2d(cnnx.tensor(x, dtype=dtype), **_options(case), count_include_pad=include)
        assert_close(y, reference.avg_pool2d(x, case.kernel, case.stride, case.padding, include, case.fit), dtype)


@given(case=pool_cases(dilated=False), p=st.sampled_from([1.0, 2.0, 3.0, 2.5]))
def test_lp_matches_reference(case, p):
    (x,) = randoms(0, case.shape)
    y = F.lp_pool2d(cnnx.tensor(x, dtype="float64"), p, case.kernel, case.stride, fit=case.fit)
    assert_close(y, reference.lp_pool2d(x, p, case.kernel, case.stride, case.fit), "float64")


@given(size=st.tuples(st.integers(1, 12), st.integers(1, 12)), out=st.tuples(st.integers(1, 14), st.integers(1, 14)))
def test_adaptive_matches_reference(size, out):
    (x,) = randoms(0, (2, 3, *size))
    t = cnnx.tensor(x, dtype="float64")
    assert_close(F.adaptive_avg_pool2d(t, out), reference.adaptive_pool2d(x, out, np.mean), "float64")
    assert_close(F.adaptive_max_pool2d(t, out), reference.adaptive_pool2d(x, out, np.max), "float64")


@pytest.mark.parametrize("width", [2, 3, 7, 16, 31, 33, 40, 66, 71])
@pytest.mark.parametrize("height", [2, 5])
def test_max_2x2_rows_of_any_width(width, height, dtype):
    x, g = randoms(0, (2, 3, height, width), (2, 3, height // 2, width // 2))
    t = cnnx.tensor(x, dtype=dtype, requires_grad=True)
    y = F.max_pool2d(t, 2)
    y.backward(cnnx.tensor(g, dtype=dtype))
    cropped = x[:, :, : height // 2 * 2, : width // 2 * 2]
    windows = cropped.reshape(2, 3, height // 2, 2, width // 2, 2)
    expected = windows.max((3, 5), keepdims=True)
    grad = np.zeros_like(x)
    grad[:, :, : cropped.shape[2], : cropped.shape[3]] = np.where(
        windows == expected, g[:, :, :, None, :, None], 0
    ).reshape(cropped.shape)
    assert_close(y, expected.reshape(g.shape), dtype)
    assert_close(t.grad, grad, dtype)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("outputs", [7, 16, 17, 40, 65])
def test_max_of_rows_of_many_vectors(stride, outputs, dtype):
    (x,) = randoms(0, (1, 2, 7, stride * outputs + 2))
    t = cnnx.tensor(x, dtype=dtype, requires_grad=True)
    y = F.max_pool2d(t, 3, stride, padding=1)
    assert_close(y, reference.max_pool2d(x, (3, 3), (stride, stride), (1, 1, 1, 1)), dtype)
    y.sum().backward()
    assert t.grad.sum().item() == y.numel()


def test_max_of_wide_windows_takes_little_memory():
    x = cnnx.randn(1, 1, 1, 10000)
    before = cnnx.memory.current()
    cnnx.memory.reset_peak()
    y = F.max_pool2d(x, (1, 5000), 1)
    assert cnnx.memory.peak() - before < 1_000_000
    assert y.numpy()[0, 0, 0, 0] == x.numpy()[..., :5000].max()


@needs_torch
@given(case=pool_cases(symmetric=True))
def test_max_matches_torch(case):
    import torch

    padding = (case.padding[0], case.padding[2])
    compare_with_torch(
        lambda x: F.max_pool2d(x, case.kernel, case.stride, padding, case.dilation, fit=case.fit),
        lambda x: torch.nn.functional.max_pool2d(
            x, case.kernel, case.stride, padding, case.dilation, case.fit == "ceil"
        ),
        randoms(0, case.shape),
        "float32",
    )


@needs_torch
@given(case=pool_cases(dilated=False, symmetric=True), include=st.booleans())
def test_average_matches_torch(case, include):
    import torch

    padding = (case.padding[0], case.padding[2])
    for dtype in ("float32", "float64"):
        compare_with_torch(
            lambda x: F.avg_pool2d(x, case.kernel, case.stride, padding, fit=case.fit, count_include_pad=include),
            lambda x: torch.nn.functional.avg_pool2d(x, case.kernel, case.stride, padding, case.fit == "ceil", include),
            randoms(0, case.shape),
            dtype,
        )


@needs_torch
@given(size=st.tuples(st.integers(1, 12), st.integers(1, 12)), out=st.tuples(st.integers(1, 14), st.integers(1, 14)))
def test_adaptive_matches_torch(size, out):
    import torch

    for name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
        compare_with_torch(
            lambda x, f=ours: f(x, out), lambda x, f=theirs: f(x, out), randoms(0, (2, 3, *size)), "float64"
        )


@needs_torch
def test_l2_matches_torch(dtype):
    import torch

    (x,) = randoms(0, (2, 3, 9, 11))
    compare_with_torch(
        lambda a: F.lp_pool2d(a, 2, 3, 2), lambda a: torch.nn.functional.lp_pool2d(a, 2, 3, 2), [x], dtype
    )


@given(case=pool_cases(dilated=False))
def test_gradcheck(case):
    if np.prod(case.shape) > 150:
        return
    x = cnnx.tensor(randoms(0, case.shape)[0], dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda t: F.max_pool2d(t, **_options(case)), x)
    assert cnnx.testing.gradcheck(lambda t: F.avg_pool2d(t, **_options(case), count_include_pad=False), x)
    assert cnnx.testing.gradcheck(lambda t: F.lp_pool2d(t, 3, case.kernel, case.stride, fit=case.fit), x)
    assert cnnx.testing.gradcheck(lambda t: F.adaptive_max_pool2d(t, (2, 3)), x)
    assert cnnx.testing.gradcheck(lambda t: F.adaptive_avg_pool2d(t, (3, 2)), x)


def test_windows_of_more_than_256_taps():
    (x,) = randoms(0, (2, 3, 20, 21))
    t = cnnx.tensor(x, dtype="float64", requires_grad=True)
    y = F.max_pool2d(t, (18, 20), stride=1)
    assert_close(y, reference.max_pool2d(x, (18, 20), (1, 1), (0, 0, 0, 0)), "float64")
    y.sum().backward()
    assert t.grad.numpy().sum() == y.size


def test_first_of_equals_gets_the_gradient():
    x = cnnx.ones(1, 1, 2, 2, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[[1, 0], [0, 0]]]]


@pytest.mark.parametrize("values", [[np.nan, 1, 2, 3], [3, 2, np.nan, 1]])
def test_nan_wins(values):
    x = cnnx.tensor(np.array(values).reshape(1, 1, 2, 2))
    assert np.isnan(F.max_pool2d(x, 2).item())
    assert np.isnan(F.adaptive_max_pool2d(x, 1).item())


def test_dilated_window_that_misses_the_image():
    x = cnnx.ones(1, 1, 1, 1, requires_grad=True)
    y = F.max_pool2d(x, 2, padding=1, dilation=2)
    assert y.tolist() == [[[[-np.inf]]]]
    y.sum().backward()
    assert x.grad.item() == 0


def test_zero_window_has_no_gradient():
    x = cnnx.zeros(1, 1, 2, 2, requires_grad=True)
    F.lp_pool2d(x, 2, 2).sum().backward()
    assert x.grad.numpy().sum() == 0


def test_notes_sizes():
    x = cnnx.zeros(1, 64, 224, 224)
    y = F.max_pool2d(x, 2, 2)
    assert y.shape == (1, 64, 112, 112)
    assert y.size == x.size // 4  # F=2, S=2 drops 75% of the activations


def test_images_without_a_batch():
    x = cnnx.randn(3, 8, 8)
    for pooled in (F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.lp_pool2d(x, 2, 2), F.adaptive_avg_pool2d(x, 4)):
        assert pooled.shape == (3, 4, 4)


def test_empty_batch():
    for fn in (F.max_pool2d, F.avg_pool2d):
        x = cnnx.zeros(0, 3, 8, 8, requires_grad=True)
        y = fn(x, 2)
        assert y.shape == (0, 3, 4, 4)
        y.sum().backward()
        assert x.grad.shape == (0, 3, 8, 8)
        assert fn(cnnx.zeros(1, 0, 1, 2**31 - 1), 1).shape == (1, 0, 1, 2**31 - 1)  # takes no memory either
