"""What several tests need: random tensors in cnnx and torch, and comparison of values and gradients."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import cnnx

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_cuda = pytest.mark.skipif(not cnnx.cuda.is_available(), reason="there is no CUDA device")
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")


device = "cpu"  # of --device


def meta_model(name: str, **options: object) -> cnnx.Module:
    """A model of cnnx.models without values."""
    with cnnx.Device("meta"):
        return getattr(cnnx.models, name)(**options)


def randoms(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def assert_close(actual: object, expected: object, dtype: str = "float32", scale: float = 1.0) -> None:
    """Compares with a tolerance that fits the dtype and, through scale, sums of large values."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    tolerance = (2e-5 if dtype == "float32" else 1e-10) * scale
    np.testing.assert_allclose(actual, expected, rtol=tolerance * 5, atol=tolerance)


def compare_with_torch(fn, torch_fn, arrays, dtype: str, scale: float = 1.0) -> None:
    """Runs both functions on the same arrays, ours on --device: outputs and all gradients must agree."""
    import torch

    ours = [cnnx.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, dtype=getattr(torch, dtype), requires_grad=True) for a in arrays]
    y, t = fn(*ours), torch_fn(*theirs)
    assert y.shape == tuple(t.shape)
    assert_close(y, t.detach(), dtype, scale)
    (weights,) = randoms(99, tuple(t.shape))
    y.backward(cnnx.tensor(weights, dtype=dtype, device=device))
    t.backward(torch.tensor(weights, dtype=getattr(torch, dtype)))
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine.grad, other.grad, dtype, scale)
