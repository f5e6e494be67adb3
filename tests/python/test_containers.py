"""Residual and Concat."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, compare_with_torch, needs_torch, randoms

import cnnx
import cnnx.functional as F


def test_residual_is_relu_of_body_plus_shortcut():
    x = cnnx.randn(2, 3, 5, 5)
    body, shortcut = cnnx.Conv2d(3, 4, 3, padding=1), cnnx.Conv2d(3, 4, 1)
    expected = np.maximum(body(x).numpy() + shortcut(x).numpy(), 0)
    assert_close(cnnx.Residual(body, downsample=shortcut)(x), expected)
    assert_close(cnnx.Residual(cnnx.Identity())(x), np.maximum(2 * x.numpy(), 0))


def test_residual_with_one_module_as_body_and_shortcut():
    x, layer = cnnx.randn(2, 3, 5, 5), cnnx.Conv2d(3, 4, 3, padding=1)
    assert_close(cnnx.Residual(layer, downsample=layer)(x), np.maximum(2 * layer(x).numpy(), 0))


def test_residual_names():
    block = cnnx.Residual({"conv": cnnx.Conv2d(1, 1, 1), "act": cnnx.ReLU()}, downsample=cnnx.Conv2d(1, 1, 1))
    assert list(block.state_dict()) == ["conv.weight", "conv.bias", "downsample.weight", "downsample.bias"]


def test_concat_joins_channels():
    x = cnnx.randn(2, 3, 5, 5)
    branches = cnnx.Concat({"a": cnnx.Identity(), "b": cnnx.Conv2d(3, 2, 1)})
    assert_close(branches(x), np.concatenate([x.numpy(), branches.b(x).numpy()], axis=1))


def test_gradcheck():
    cnnx.manual_seed(0)
    net = cnnx.Residual(cnnx.Concat(cnnx.Conv2d(2, 1, 3, padding=1), cnnx.Conv2d(2, 1, 1))).to("float64")
    (x,) = randoms(0, (1, 2, 3, 3))
    assert cnnx.testing.gradcheck(net, cnnx.tensor(x, requires_grad=True))


@needs_torch
def test_add_relu_matches_torch(dtype):
    import torch

    compare_with_torch(F.add_relu, lambda a, b: torch.relu(a + b), randoms(2, (3, 40), (3, 40)), dtype)


def test_add_relu_keeps_nan():
    assert np.isnan(F.add_relu(cnnx.tensor([float("nan")]), cnnx.zeros(1)).numpy()).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: cnnx.Residual(cnnx.Conv2d(3, 4, 1))(cnnx.zeros(1, 3, 2, 2)),
            ValueError,
            "[residual] the body's output and the shortcut's must have the same shape; got (1, 4, 2, 2) and (1, 3, 2, 2).",
        ),
        (
            lambda: cnnx.Residual({"downsample": cnnx.ReLU()}),
            ValueError,
            '[residual] a module of the body cannot be named "downsample".',
        ),
        (lambda: cnnx.Residual(cnnx.ReLU), TypeError, "[residual] expected a Module; got"),
        (lambda: cnnx.Concat(3), TypeError, "[concat] expected a Module; got int."),
        (lambda: cnnx.Concat({1: cnnx.ReLU()}), TypeError, "[concat] names must be strings; got int."),
        (lambda: cnnx.Concat()(cnnx.zeros(1, 1)), ValueError, "[concat] Concat has no modules."),
        (lambda: F.add_relu(cnnx.zeros(2), cnnx.zeros(3)), ValueError, "[add_relu] expected two tensors of one shape"),
        (
            lambda: F.add_relu(cnnx.zeros(2), cnnx.zeros(2, dtype="float64")),
            ValueError,
            "[add_relu] expected both tensors of dtype float32; got float64.",
        ),
        (
            lambda: F.add_relu(cnnx.tensor([1]), cnnx.tensor([1])),
            ValueError,
            "[add_relu] expected a floating-point tensor; got int64.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
