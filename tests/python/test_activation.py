"""Activations, softmax and linear: against torch and finite differences, at the ends of the range, and their layers."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cnnx
import cnnx.functional as F

_FUNCTIONS = {
    "relu": {},
    "leaky_relu": {"negative_slope": 0.2},
    "sigmoid": {},
    "tanh": {},
    "gelu": {},
    "gelu_tanh": {"approximate": "tanh"},
    "silu": {},
}


def _call(module, name, x):
    return getattr(module, name.removesuffix("_tanh") if name == "gelu_tanh" else name)(x, **_FUNCTIONS[name])


@needs_torch
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_matches_torch(name, dtype):
    import torch

    (x,) = randoms(0, (4, 37))
    for scale in (1.0, 10.0):
        compare_with_torch(
            lambda a: _call(F, name, a), lambda a: _call(torch.nn.functional, name, a), [x * scale], dtype
        )


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_gradcheck(name):
    x = cnnx.tensor(randoms(1, (3, 5))[0] * 2, dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda a: _call(F, name, a), x)


@needs_torch
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_extreme_values(name):
    import torch

    values = [0.0, -0.0, 1e-30, -1e-30, 50, -50, 100, -100, 1e30, -1e30, float("nan")]
    values += [] if name == "gelu" else [float("inf")]  # torch's vectorised gelu says NaN; the limit is inf
    ours = _call(F, name, cnnx.tensor(values)).numpy()
    theirs = _call(torch.nn.functional, name, torch.tensor(values)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_float_accuracy(name):
    x = np.linspace(-20, 20, 20001).astype(np.float32)
    exact = {"sigmoid": lambda v: 1 / (1 + np.exp(-v)), "tanh": np.tanh}[name](x.astype(np.float64))
    np.testing.assert_allclose(getattr(F, name)(cnnx.tensor(x)).numpy(), exact, rtol=1e-6)


@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=6), data=st.data())
def test_softmax_matches_reference(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    (a,) = randoms(0, shape)
    for dtype in ("float32", "float64"):
        assert_close(F.softmax(cnnx.tensor(a * 5, dtype=dtype), axis), reference.softmax(a * 5, axis), dtype)
        assert_close(
            F.log_softmax(cnnx.tensor(a * 5, dtype=dtype), axis), np.log(reference.softmax(a * 5, axis)), dtype, scale=5
        )
    x = cnnx.tensor(a, dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda t: F.softmax(t, axis), x)
    assert cnnx.testing.gradcheck(lambda t: F.log_softmax(t, axis), x)


@needs_torch
@pytest.mark.parametrize(("shape", "dim"), [((5, 1000), 1), ((2, 7, 90), 1), ((3, 4, 5, 6), -1), ((4,), 0)])
def test_softmax_matches_torch(shape, dim, dtype):
    import torch

    (x,) = randoms(0, shape)
    for name in ("softmax", "log_softmax"):
        ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
        compare_with_torch(lambda a, f=ours: f(a, dim), lambda a, f=theirs: f(a, dim), [x * 3], dtype, scale=5)


def test_softmax_of_large_scores():
    assert F.softmax(cnnx.tensor([1000.0, 1000.0])).tolist() == [0.5, 0.5]
    assert F.log_softmax(cnnx.tensor([-1e5, 0.0])).tolist() == [-1e5, 0.0]


@given(
    rows=st.lists(st.integers(0, 4), max_size=2),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bias=st.booleans(),
)
def test_linear_matches_numpy(rows, sizes, bias):
    x, w, b = randoms(0, (*rows, sizes[0]), (sizes[1], sizes[0]), (sizes[1],))
    arrays = [x, w, b] if bias else [x, w]
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in arrays]
    assert_close(F.linear(*inputs).detach(), x @ w.T + (b if bias else 0), "float64")
    assert cnnx.testing.gradcheck(F.linear, inputs)


@pytest.mark.parametrize("rows", [1, 3, 7, 8, 31, 32, 33, 70])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (37, 9), (64, 17), (259, 130), (1000, 65)])
def test_linear_of_few_and_many_rows(rows, inputs, outputs, dtype):
    x, w, b, gy = randoms(1, (rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    tensors = [cnnx.tensor(a, dtype=dtype, requires_grad=True) for a in (x, w, b)]
    y = F.linear(*tensors)
    y.backward(cnnx.tensor(gy, dtype=dtype))
    assert_close(y.detach(), x @ w.T + b, dtype, scale=10)
    for tensor, expected in zip(tensors, (gy @ w, gy.T @ x, gy.sum(axis=0)), strict=True):
        assert_close(tensor.grad, expected, dtype, scale=10)


@needs_torch
@pytest.mark.parametrize(
    "shapes", [((64, 300), (200, 300), (200,)), ((1, 1000), (500, 1000), (500,)), ((2, 3, 40), (5, 40), (5,))]
)
def test_linear_matches_torch(shapes, dtype):
    import torch

    compare_with_torch(F.linear, torch.nn.functional.linear, randoms(0, *shapes), dtype, scale=30)
