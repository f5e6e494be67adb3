"""Losses: against the naive reference, torch, finite differences, and the notes' examples."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, device, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F

_reductions = st.sampled_from(["mean", "sum", "none"])


def _targets(seed, count, classes, ignore=None):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, count)
    if ignore is not None:
        targets[rng.random(count) < 0.3] = ignore
    return targets


@given(
    items=st.integers(1, 6),
    classes=st.integers(1, 7),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    ignore=st.sampled_from([-100, 0, None]),
)
def test_cross_entropy_matches_reference(items, classes, weighted, smoothing, ignore):
    x, w = randoms(0, (items, classes), (classes,))
    w = np.abs(w) + 0.1 if weighted else None
    targets = _targets(1, items, classes, ignore)
    losses, weights = reference.cross_entropy(x, targets, w, -100 if ignore is None else ignore, smoothing)
    options = {
        "weight": None if w is None else cnnx.tensor(w, dtype="float64"),
        "ignore_index": -100 if ignore is None else ignore,
        "label_smoothing": smoothing,
    }
    logits, t = cnnx.tensor(x, dtype="float64", requires_grad=True), cnnx.tensor(targets)
    assert_close(F.cross_entropy(logits, t, **options, reduction="none").detach(), losses, "float64")
    assert_close(F.cross_entropy(logits, t, **options, reduction="sum").detach(), losses.sum(), "float64")
    if weights.sum():
        assert_close(F.cross_entropy(logits, t, **options).detach(), losses.sum() / weights.sum(), "float64")
        assert cnnx.testing.gradcheck(lambda a: F.cross_entropy(a, t, **options), logits)


@needs_torch
@given(
    inner=st.lists(st.integers(1, 3), max_size=2),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
    reduction=_reductions,
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_cross_entropy_matches_torch(inner, weighted, smoothing, reduction, dtype):
    import torch

    x, w = randoms(0, (4, 5, *inner), (5,))
    w = np.abs(w) + 0.1
    targets = _targets(2, 4 * int(np.prod(inner)), 5, ignore=3).reshape(4, *inner)
    options = {"ignore_index": 3, "reduction": reduction, "label_smoothing": smoothing}
    compare_with_torch(
        lambda a: F.cross_entropy(
            a,
            cnnx.tensor(targets, device=device),
            weight=cnnx.tensor(w, dtype=dtype, device=device) if weighted else None,
            **options,
        ),
        lambda a: torch.nn.functional.cross_entropy(
            a,
            torch.tensor(targets),
            weight=torch.tensor(w, dtype=getattr(torch, dtype)) if weighted else None,
            **options,
        ),
        [x * 3],
        dtype,
    )


@needs_torch
@given(
    p=st.sampled_from([1, 2]),
    margin=st.sampled_from([1.0, 0.3]),
    weighted=st.booleans(),
    reduction=_reductions,
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_multi_margin_matches_torch(p, margin, weighted, reduction, dtype):
    import torch

    x, w = randoms(0, (6, 5), (5,))
    targets = _targets(3, 6, 5)
    ours = cnnx.tensor(w, dtype=dtype, device=device) if weighted else None
    theirs = torch.tensor(w, dtype=getattr(torch, dtype)) if weighted else None
    compare_with_torch(
        lambda a: F.multi_margin_loss(a, cnnx.tensor(targets, device=device), p, margin, ours, reduction),
        lambda a: torch.nn.functional.multi_margin_loss(
            a, torch.tensor(targets), p, margin, theirs, reduction=reduction
        ),
        [x],
        dtype,
    )


def test_margin_losses_match_reference():
    (x,) = randoms(0, (6, 5))
    targets = _targets(3, 6, 5)
    t = cnnx.tensor(targets)
    logits = cnnx.tensor(x, dtype="float64", requires_grad=True)
    expected = reference.multi_margin(x, targets)
    assert_close(F.multi_margin_loss(logits, t, reduction="none").detach(), expected, "float64")
    assert_close(F.svm_loss(logits, t, reduction="none").detach(), expected * 5, "float64")
    assert cnnx.testing.gradcheck(lambda a: F.svm_loss(a, t), logits)
    assert cnnx.testing.gradcheck(lambda a: F.multi_margin_loss(a, t, p=2), logits)


def test_notes_svm_example():
    scores = cnnx.tensor([[13.0, -7.0, 11.0]])
    assert F.svm_loss(scores, cnnx.tensor([0]), margin=10.0).item() == 8


@needs_torch
def test_mse_matches_torch(dtype):
    import torch

    for reduction in ("mean", "sum", "none"):
        compare_with_torch(
            lambda a, b, r=reduction: F.mse_loss(a, b, r),
            lambda a, b, r=reduction: torch.nn.functional.mse_loss(a, b, reduction=r),
            randoms(0, (3, 4), (3, 4)),
            dtype,
        )


def test_one_item_without_a_batch():
    x = cnnx.tensor([1.0, 2.0, 3.0], requires_grad=True)
    loss = F.cross_entropy(x, cnnx.tensor(2))
    assert loss.shape == ()
    loss.backward()
    assert x.grad.numpy().sum() == pytest.approx(0, abs=1e-6)


def test_mean_of_nothing_is_nan():
    assert np.isnan(F.cross_entropy(cnnx.zeros(0, 3), cnnx.zeros(0, dtype="int64")).item())
    assert np.isnan(F.cross_entropy(cnnx.zeros(2, 3), cnnx.tensor([-100, -100])).item())
