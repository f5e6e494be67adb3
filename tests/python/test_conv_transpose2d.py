"""Transposed convolution: against the naive reference and torch, gradients, and as conv2d's data gradient."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import given
from strategies import transpose_cases

import cnnx
import cnnx.functional as F


def _arrays(case, seed=0):
    x, w, b = randoms(
        seed,
        (case.batch, case.in_channels, *case.size),
        (case.in_channels, case.out_channels // case.groups, *case.kernel),
        (case.out_channels,),
    )
    return [x, w, b] if case.bias else [x, w]


@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@given(case=transpose_cases())
def test_forward_matches_reference(algorithm, case):
    cnnx.set_conv_algorithm(algorithm)
    arrays = _arrays(case)
    expected = reference.conv_transpose2d(*arrays, *([] if case.bias else [None]), **case.options)
    for dtype in ("float32", "float64"):
        y = F.conv_transpose2d(*(cnnx.tensor(a, dtype=dtype) for a in arrays), **case.options)
        assert_close(y, expected, dtype, scale=10)


@needs_torch
@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@given(case=transpose_cases(symmetric=True))
def test_values_and_gradients_match_torch(algorithm, case):
    import torch

    cnnx.set_conv_algorithm(algorithm)
    options = {**case.options, "padding": (case.padding[0], case.padding[2])}
    for dtype in ("float32", "float64"):
        compare_with_torch(
            lambda *a: F.conv_transpose2d(*a, **options),
            lambda *a: torch.nn.functional.conv_transpose2d(*a, **options),
            _arrays(case),
            dtype,
            scale=20,
        )


@needs_torch
@pytest.mark.parametrize("algorithm", cnnx.conv_algorithms())
@pytest.mark.parametrize(
    ("x", "weight", "options"),
    [
        ((2, 70, 30, 33), (70, 40, 3, 3), {"padding": 1}),
        ((1, 24, 28, 27), (24, 30, 4, 4), {"stride": 2, "padding": 1}),
        ((2, 64, 7, 7), (64, 33, 2, 2), {"stride": 2}),
        ((3, 12, 15, 14), (12, 6, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 3}),
        ((1, 5, 6, 6), (5, 4, 3, 3), {"dilation": 4, "output_padding": 3}),
    ],
)
def test_larger_shapes_match_torch(algorithm, x, weight, options):
    import torch

    cnnx.set_conv_algorithm(algorithm)
    channels = weight[1] * options.get("groups", 1)
    for dtype in ("float32", "float64"):
        compare_with_torch(
            lambda *a: F.conv_transpose2d(*a, **options),
            lambda *a: torch.nn.functional.conv_transpose2d(*a, **options),
            randoms(5, x, weight, (channels,)),
            dtype,
            scale=100,
        )


@given(case=transpose_cases())
def test_gradcheck(case):
    if case.batch * case.in_channels * case.out_channels * np.prod(case.size) > 100:
        return
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in _arrays(case)]
    assert cnnx.testing.gradcheck(lambda *a: F.conv_transpose2d(*a, **case.options), inputs)


def test_is_the_data_gradient_of_conv2d():
    x, w, gy = (cnnx.tensor(a) for a in randoms(2, (2, 3, 9, 8), (6, 3, 3, 2), (2, 6, 5, 4)))
    x.requires_grad = True
    F.conv2d(x, w, stride=2, padding=(1, 0)).backward(gy)
    again = F.conv_transpose2d(gy, w, stride=2, padding=(1, 0))
    np.testing.assert_array_equal(again.numpy(), x.grad.numpy())


def test_some_gradients_only():
    x, w = cnnx.randn(1, 2, 3, 3), cnnx.randn(2, 4, 2, 2)
    bias = cnnx.zeros(4, requires_grad=True)
    F.conv_transpose2d(x, w, bias, stride=2).sum().backward()
    assert bias.grad.tolist() == [36] * 4
    assert x.grad is None


def test_empty_batch():
    w = cnnx.randn(3, 2, 3, 3, requires_grad=True)
    y = F.conv_transpose2d(cnnx.zeros(0, 3, 8, 8), w)
    assert y.shape == (0, 2, 10, 10)
    y.sum().backward()
    assert w.grad.numpy().sum() == 0


@needs_torch
def test_layer_is_torchs():
    import torch

    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "bias": False, "dilation": 2}
    ours, theirs = cnnx.ConvTranspose2d(4, 6, 3, **options), torch.nn.ConvTranspose2d(4, 6, 3, **options)
    ours.load_state_dict(theirs.state_dict())
    (x,) = randoms(0, (2, 4, 5, 6))
    assert_close(ours(cnnx.tensor(x, dtype="float32")).detach(), theirs(torch.tensor(x).float()).detach(), scale=10)
    bound = 1 / np.sqrt(4 * 9)
    weight = cnnx.ConvTranspose2d(64, 4, 3).weight.numpy()
    assert 0.98 * bound < np.abs(weight).max() <= bound
