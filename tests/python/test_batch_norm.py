"""Batch normalization and dropout."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, device, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F


@given(shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(2, 4)))
def test_evaluation_matches_reference(shape):
    x, m, v, w, b = randoms(0, shape, *[(shape[1],)] * 4)
    v = np.abs(v) + 0.1
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in (x, w, b)]
    stats = [cnnx.tensor(a, dtype="float64") for a in (m, v)]

    def fn(x, w, b):
        return F.batch_norm(x, *stats, w, b, eps=1e-3)

    assert_close(fn(*inputs).detach(), reference.batch_norm(x, m, v, w, b, 1e-3), "float64")
    assert cnnx.testing.gradcheck(fn, inputs)
    assert cnnx.testing.gradcheck(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), inputs, atol=1e-4)


@needs_torch
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (8, 5), (2, 16, 33, 1), (2, 3, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_matches_torch(shape, training, dtype):
    import torch

    channels = shape[1]
    x, m, v, w, b = randoms(0, shape, *[(channels,)] * 4)
    v = np.abs(v) + 0.1
    ours = [cnnx.tensor(a, dtype=dtype, device=device) for a in (m, v)]
    theirs = [torch.tensor(a, dtype=getattr(torch, dtype)) for a in (m, v)]
    compare_with_torch(
        lambda x, w, b: F.batch_norm(x, *ours, w, b, training=training, momentum=0.3),
        lambda x, w, b: torch.nn.functional.batch_norm(x, *theirs, w, b, training=training, momentum=0.3),
        [x, w, b],
        dtype,
        scale=10,
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, dtype)


def test_running_variance_is_unbiased():
    norm = cnnx.BatchNorm2d(1, momentum=1.0)
    norm(cnnx.tensor([0.0, 2.0]).reshape(2, 1, 1, 1))
    assert norm.running_mean.item() == 1
    assert norm.running_var.item() == 2


def test_layer_modes():
    norm = cnnx.BatchNorm2d(2)
    x = cnnx.randn(4, 2, 3, 3)
    assert abs(norm(x).mean().item()) < 1e-6
    before = norm.running_mean.tolist()
    assert norm.num_batches_tracked.item() == 1
    norm.eval()
    norm(x)
    assert norm.running_mean.tolist() == before
    assert norm.num_batches_tracked.item() == 1


def test_dropout_scales_and_repeats_its_mask():
    x = cnnx.ones(100_000, requires_grad=True)
    y = F.dropout(x, 0.3)
    kept = y.numpy() != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    assert np.allclose(y.numpy()[kept], 1 / 0.7)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())
    assert not np.array_equal(F.dropout(x, 0.3).numpy(), y.numpy())


def test_dropout_ends():
    x = cnnx.randn(5, requires_grad=True)
    assert F.dropout(x, 1.0).tolist() == [0] * 5
    assert F.dropout(x, 0.0).tolist() == x.tolist()
    assert F.dropout(x, 0.5, training=False).tolist() == x.tolist()
    layer = cnnx.Dropout(0.5).eval()
    assert layer(x).tolist() == x.tolist()
