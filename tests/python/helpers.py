"""What several tests need: random tensors in cnnx and torch, comparison of values and gradients, optimizers."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import cnnx

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_cuda = pytest.mark.skipif(not cnnx.cuda.is_available(), reason="there is no CUDA device")
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")


device = "cpu"  # of --device


OPTIMIZERS = [  # with options that exercise every part of their formulas
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3}),
    ("RMSprop", {"lr": 0.02}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "momentum": 0.8, "centered": True, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}),
]


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
