"""Copies to a GPU that run beside its work, and checks that do not wait. See test_cuda.py."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import needs_cuda

import cnnx
import cnnx.functional as F


@needs_cuda
def test_page_locked_tensors():
    x = cnnx.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert not x.is_pinned()
    y = x.pin_memory()
    assert y.is_pinned()
    assert y.device == "cpu"
    assert y.tolist() == x.tolist()
    assert y.pin_memory() is y or y.pin_memory().is_pinned()
    z = y.to("cuda", non_blocking=True)
    assert z.tolist() == x.tolist()
    assert not z.is_pinned()
    assert x.to("cuda", non_blocking=True).tolist() == x.tolist()
    y.requires_grad_()
    (y.to("cuda", non_blocking=True) * 2.0).sum().backward()
    assert y.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    with pytest.raises(ValueError, match=r"\[pin_memory\] expected a tensor on the CPU"):
        z.pin_memory()


@needs_cuda
@pytest.mark.parametrize(
    "options", [{"pin_memory": True}, {"device": "cuda"}, {"device": "cuda", "prefetch": 0}], ids=str
)
def test_loaders_give_the_same_batches(options):
    rng = np.random.default_rng(0)
    data = cnnx.data.ArrayDataset(rng.standard_normal((50, 1, 6, 6)), np.arange(50) % 7)
    plain = cnnx.data.DataLoader(data, 8, shuffle=True, seed=1)
    other = cnnx.data.DataLoader(data, 8, shuffle=True, seed=1, **options)
    for _ in range(2):
        kept = []
        for (images, labels), (more, marks) in zip(plain, other, strict=True):
            assert more.device == options.get("device", "cpu")
            assert more.is_pinned() == ("device" not in options)
            kept.append((more, marks, np.array(images), np.array(labels)))
            if len(kept) > 3:
                kept.pop(0)  # buffers are used again, but not those that somebody has
            for more, marks, images, labels in kept:
                np.testing.assert_array_equal(np.array(more), images)
                np.testing.assert_array_equal(np.array(marks), labels)
    next(iter(other))  # an iteration that ends early


def test_loaders_say_what_is_missing():
    code = """
import cnnx, numpy as np
data = cnnx.data.ArrayDataset(np.zeros((4, 1, 2, 2)), [0, 1, 2, 3])
for options in ({"pin_memory": True}, {"device": "cuda"}):
    try:
        cnnx.data.DataLoader(data, **options)
    except RuntimeError as error:
        print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CNNX_CUDA_LIBRARY": "/nowhere/libcnnx_cuda.so"},
    )
    assert run.stdout.count("the CUDA part of cnnx could not be loaded") == 2


@needs_cuda
@pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin_loss", "svm_loss"])
def test_wrong_classes_are_raised_when_the_host_waits(loss):
    x = cnnx.randn(3, 4, device="cuda", requires_grad=True)
    for wrong in (4, -1, 2**40, -(2**62)):
        y = getattr(F, loss)(x, cnnx.tensor([0, wrong, 9], device="cuda"))
        y.backward()
        with pytest.raises(IndexError) as error:
            np.asarray(x.grad)
        assert str(error.value) == f"[{loss}] targets must lie in [0, 4); got {wrong} at position 1."
        assert np.isfinite(np.asarray(x.grad)).all()  # raised once
    y = getattr(F, loss)(x, cnnx.tensor([0, 3, 1], device="cuda"))
    assert np.isfinite(y.item())


@needs_cuda
def test_many_targets_and_the_first_wrong_one():
    targets = np.zeros(100_000, np.int64)
    targets[[77_777, 90_000]] = 5, 6
    F.cross_entropy(cnnx.zeros(100_000, 2, device="cuda"), cnnx.tensor(targets, device="cuda"))
    with pytest.raises(IndexError, match="got 5 at position 77777"):
        cnnx.cuda.synchronize()


@needs_cuda
def test_row_numbers_on_the_gpu():
    x = cnnx.tensor(np.arange(12.0).reshape(4, 3), device="cuda")
    rows = cnnx.tensor([3, -4, 1], device="cuda")
    np.testing.assert_array_equal(np.asarray(x[rows]), np.arange(12.0).reshape(4, 3)[[3, 0, 1]])
    x[cnnx.tensor([0, 4], device="cuda")]
    with pytest.raises(IndexError, match=r"row numbers must lie in \[-4, 4\); got 4"):
        cnnx.cuda.synchronize()
    with pytest.raises(IndexError, match=r"row numbers must lie in \[-4, 4\); got -5"):
        x[[0, -5]]
    np.testing.assert_array_equal(np.asarray(x[1:4:2]), np.asarray(x)[1:4:2])
    np.testing.assert_array_equal(np.asarray(x[::-2]), np.asarray(x)[::-2])


@needs_cuda
def test_a_training_step_does_not_wait():
    """In a capture nothing may: that it works is the proof, for layers and losses that had waits once."""
    model = cnnx.Sequential(
        cnnx.Conv2d(2, 4, 3, padding=1), cnnx.BatchNorm2d(4), cnnx.Upsample(scale_factor=2, mode="bilinear"),
        cnnx.Flatten(), cnnx.Dropout(0.2), cnnx.Linear(4 * 64, 5),
    ).to("cuda")  # fmt: skip
    optimizer = cnnx.optim.RMSprop(model.parameters(), lr=0.01)
    weight = cnnx.tensor([1.0, 2.0, 3.0, 4.0, 5.0], device="cuda")

    def step(x, t):
        optimizer.zero_grad()
        scores = model(x)
        loss = F.cross_entropy(scores, t, weight=weight, label_smoothing=0.1) + F.multi_margin_loss(scores[1:3], t[1:3])
        (loss + scores[t].mean()).backward()
        norm = cnnx.optim.clip_grad_norm(model.parameters(), 0.5)
        optimizer.step()
        return loss, norm

    run = cnnx.cuda.graph(step)
    x, t = cnnx.randn(4, 2, 4, 4, device="cuda"), cnnx.tensor([0, 1, 2, 3], device="cuda")
    for _ in range(3):
        loss, norm = run(x, t)
    assert np.isfinite(loss.item())
    assert f"{norm:.3f}" == f"{norm.item():.3f}"
