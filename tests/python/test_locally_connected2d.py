"""Locally connected layers: against the naive reference and torch's unfold, gradients, and the notes' count of weights."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import given
from strategies import conv_cases, conv_output_size

import cnnx
import cnnx.functional as F


def _arrays(case, seed=0):
    size = conv_output_size(case)
    x, w, b = randoms(
        seed,
        (case.batch, case.in_channels, *case.size),
        (*size, case.out_channels, case.in_channels, *case.kernel),
        (case.out_channels, *size),
    )
    return [x, w, b] if case.bias else [x, w]


def _options(case):
    return {"stride": case.stride, "padding": case.padding, "dilation": case.dilation}


def _torch_version(options, x, w, b=None):
    """The definition by torch's unfold: columns (N, C R S, L) times weights (L, K, C R S)."""
    import torch

    columns = torch.nn.functional.unfold(x, tuple(w.shape[4:]), **options)
    y = torch.einsum("nil,lki->nkl", columns, w.flatten(0, 1).flatten(2))
    y = y.reshape(len(x), w.shape[2], *w.shape[:2])
    return y if b is None else y + b


@given(case=conv_cases())
def test_forward_matches_reference(case):
    arrays = _arrays(case)
    expected = reference.locally_connected2d(*arrays, *([] if case.bias else [None]), **_options(case))
    for dtype in ("float32", "float64"):
        y = F.locally_connected2d(*(cnnx.tensor(a, dtype=dtype) for a in arrays), **_options(case))
        assert_close(y, expected, dtype, scale=10)


@needs_torch
@given(case=conv_cases(symmetric=True))
def test_values_and_gradients_match_torch(case):
    options = {**_options(case), "padding": (case.padding[0], case.padding[2])}
    for dtype in ("float32", "float64"):
        compare_with_torch(
            lambda *a: F.locally_connected2d(*a, **options),
            lambda *a: _torch_version(options, *a),
            _arrays(case),
            dtype,
            scale=20,
        )


# Several runs of positions, blocks of images and bands of rows
@needs_torch
@pytest.mark.parametrize(
    ("x", "kernel", "out_channels", "options"),
    [
        ((70, 3, 9, 37), (3, 3), 5, {"padding": 1}),
        ((33, 8, 12, 12), (5, 2), 17, {"stride": 2, "padding": (2, 1)}),
        ((2, 40, 14, 20), (3, 3), 33, {}),
        ((3, 2, 17, 19), (1, 1), 4, {"stride": (3, 1)}),
        ((3, 4, 16, 16), (3, 3), 4, {"dilation": 3, "padding": 3}),
    ],
)
def test_larger_shapes_match_torch(x, kernel, out_channels, options, dtype):
    size = F.conv2d(cnnx.zeros(*x), cnnx.zeros(1, x[1], *kernel), **options).shape[2:]
    arrays = randoms(3, x, (*size, out_channels, x[1], *kernel), (out_channels, *size))
    compare_with_torch(
        lambda *a: F.locally_connected2d(*a, **options),
        lambda *a: _torch_version({"padding": 0, "stride": 1, **options}, *a),
        arrays,
        dtype,
        scale=100,
    )


@given(case=conv_cases())
def test_gradcheck(case):
    if case.batch * case.in_channels * case.out_channels * np.prod(case.size) > 100:
        return
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in _arrays(case)]
    assert cnnx.testing.gradcheck(lambda *a: F.locally_connected2d(*a, **_options(case)), inputs)


def test_equal_weights_make_a_convolution():
    x, w, b = (cnnx.tensor(a, dtype="float64") for a in randoms(1, (2, 3, 8, 9), (4, 3, 3, 3), (4,)))
    untied = cnnx.tensor(np.broadcast_to(w.numpy(), (8, 9, 4, 3, 3, 3)).copy())
    bias = cnnx.tensor(np.broadcast_to(b.numpy()[:, None, None], (4, 8, 9)).copy())
    assert_close(F.locally_connected2d(x, untied, bias, padding=1), F.conv2d(x, w, b, padding=1), "float64")


def test_empty_batch():
    w = cnnx.randn(6, 6, 2, 3, 3, 3, requires_grad=True)
    y = F.locally_connected2d(cnnx.zeros(0, 3, 8, 8), w)
    assert y.shape == (0, 2, 6, 6)
    y.sum().backward()
    assert w.grad.numpy().sum() == 0


def test_fit_is_settled_at_construction():
    with cnnx.fit_mode("ceil"):
        layer = cnnx.LocallyConnected2d(1, 2, 3, 10, stride=2)
    assert layer.weight.shape == (5, 5, 2, 1, 3, 3)
    assert layer(cnnx.zeros(1, 1, 10, 10)).shape == (1, 2, 5, 5)
    with pytest.raises(ValueError, match="gives 5 x 6"):
        layer(cnnx.zeros(1, 1, 10, 12))


def test_initialisation():
    layer = cnnx.LocallyConnected2d(16, 8, 3, 12)
    bound = 1 / np.sqrt(16 * 9)
    for values in (layer.weight.numpy(), layer.bias.numpy()):
        assert 0.95 * bound < np.abs(values).max() <= bound
