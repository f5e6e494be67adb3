"""Group, layer and instance normalization, and dropout of channels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, device, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F


@given(
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    batch=st.integers(1, 3),
    plane=st.lists(st.integers(1, 4), max_size=2),
    eps=st.sampled_from([1e-5, 0.1]),
)
def test_group_norm_matches_reference_and_gradcheck(groups, channels, batch, plane, eps):
    count = groups * channels
    x, w, b = randoms(0, (batch, count, *plane), (count,), (count,))
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in (x, w, b)]
    y = F.group_norm(inputs[0], groups, *inputs[1:], eps=eps)
    assert_close(y.detach(), reference.group_norm(x, groups, w, b, eps), "float64", scale=100)
    if channels * np.prod(plane) > 2:  # of one or two values hardly more than the sign is left
        assert cnnx.testing.gradcheck(lambda x, w, b: F.group_norm(x, groups, w, b, eps), inputs, atol=1e-4)


@given(outer=st.lists(st.integers(1, 4), max_size=2), inner=st.lists(st.integers(1, 4), min_size=1, max_size=2))
def test_layer_norm_matches_reference_and_gradcheck(outer, inner):
    x, w, b = randoms(0, (*outer, *inner), tuple(inner), tuple(inner))
    inputs = [cnnx.tensor(a, dtype="float64", requires_grad=True) for a in (x, w, b)]
    y = F.layer_norm(inputs[0], tuple(inner), *inputs[1:], eps=1e-3)
    axes = tuple(range(len(outer), len(outer) + len(inner)))
    assert_close(y.detach(), reference.layer_norm(x, axes, w, b, 1e-3), "float64")
    if np.prod(inner) > 2:
        assert cnnx.testing.gradcheck(lambda x, w, b: F.layer_norm(x, tuple(inner), w, b, 0.1), inputs, atol=1e-4)


# Short and long rows, planes of one and of many values, rows so wide that threads share them
_SHAPES = [(4, 6, 5, 7), (3, 12), (2, 8, 64, 65), (1, 6, 150, 151), (5, 4, 1), (70, 2, 3, 1), (2, 3, 100_000)]


@needs_torch
@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
def test_group_norm_matches_torch(shape, affine, dtype):
    import torch

    x, w, b = randoms(1, shape, *[(shape[1],)] * 2)
    arrays = {"both": [x, w, b], "weight": [x, w], "bias": [x, b], "none": [x]}[affine]
    columns = (1, -1) + (1,) * (len(shape) - 2)

    def ours(groups, x, *rest):
        return F.group_norm(x, groups, None, *rest) if affine == "bias" else F.group_norm(x, groups, *rest)

    def theirs(groups, x, *rest):  # torch takes no bias without a weight
        if affine == "bias":
            return torch.nn.functional.group_norm(x, groups) + rest[0].reshape(columns)
        return torch.nn.functional.group_norm(x, groups, *rest)

    for groups in {1, 2, shape[1]} - ({2} if shape[1] % 2 else set()):
        compare_with_torch(partial(ours, groups), partial(theirs, groups), arrays, dtype, scale=1000)


@needs_torch
@pytest.mark.parametrize(
    ("shape", "axes"), [((7, 5), 1), ((300, 130), 1), ((2, 3, 4, 5), 3), ((9, 4097), 1), ((1, 3, 170, 171), 3)]
)
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_matches_torch(shape, axes, affine, dtype):
    import torch

    inner = shape[-axes:]
    arrays = randoms(1, shape, inner, inner) if affine else randoms(1, shape)
    compare_with_torch(
        lambda x, *wb: F.layer_norm(x, inner, *wb),
        lambda x, *wb: torch.nn.functional.layer_norm(x, inner, *wb),
        arrays,
        dtype,
        scale=100,
    )


@needs_torch
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (2, 5, 9), (1, 2, 300, 301)])
@pytest.mark.parametrize("use_input_stats", [True, False])
def test_instance_norm_matches_torch(shape, use_input_stats, dtype):
    import torch

    x, m, v, w, b = randoms(0, shape, *[(shape[1],)] * 4)
    v = np.abs(v) + 0.1
    ours = [cnnx.tensor(a, dtype=dtype, device=device) for a in (m, v)]
    theirs = [torch.tensor(a, dtype=getattr(torch, dtype)) for a in (m, v)]
    compare_with_torch(
        lambda x, w, b: F.instance_norm(x, *ours, w, b, use_input_stats, 0.3, 1e-4),
        lambda x, w, b: torch.nn.functional.instance_norm(x, *theirs, w, b, use_input_stats, 0.3, 1e-4),
        [x, w, b],
        dtype,
        scale=200,
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, dtype)


def test_large_means_do_not_spoil_the_variance():
    (x,) = randoms(4, (2, 4, 70, 70))
    y = F.group_norm(cnnx.tensor(x + 3000, dtype="float32"), 2).numpy()
    assert_close(
        y, reference.group_norm(np.float32(x + 3000).astype("float64"), 2, np.ones(4), np.zeros(4), 1e-5), scale=20
    )


@needs_torch
def test_layers_are_torchs():
    import torch

    (x,) = randoms(0, (3, 6, 5, 4))
    for ours, theirs in [
        (cnnx.GroupNorm(3, 6, eps=1e-3), torch.nn.GroupNorm(3, 6, eps=1e-3)),
        (cnnx.GroupNorm(2, 6, affine=False), torch.nn.GroupNorm(2, 6, affine=False)),
        (cnnx.LayerNorm([6, 5, 4]), torch.nn.LayerNorm([6, 5, 4])),
        (cnnx.LayerNorm(4, bias=False), torch.nn.LayerNorm(4, bias=False)),
        (cnnx.InstanceNorm2d(6), torch.nn.InstanceNorm2d(6)),
        (cnnx.InstanceNorm2d(6, affine=True), torch.nn.InstanceNorm2d(6, affine=True)),
        (cnnx.InstanceNorm2d(6, track_running_stats=True), torch.nn.InstanceNorm2d(6, track_running_stats=True)),
    ]:
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for _ in range(2):
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
                cnnx.init.normal_(a)
                b.data = torch.tensor(a.detach().numpy().copy())
            found, expected = ours(cnnx.tensor(x, dtype="float32")), theirs(torch.tensor(x).float())
            assert_close(found.detach(), expected.detach(), scale=10)
            for name, value in theirs.state_dict().items():
                assert_close(ours.state_dict()[name].detach(), value)
            ours.eval()
            theirs.eval()


def test_empty_inputs():
    w = cnnx.ones(4, requires_grad=True)
    for x in (cnnx.zeros(0, 4, 3, 3), cnnx.zeros(2, 4, 0, 3), cnnx.zeros(0, 4)):
        w.grad = None
        y = F.group_norm(x, 2, w)
        assert y.shape == x.shape
        y.sum().backward()
        assert w.grad.tolist() == [0] * 4
    assert F.layer_norm(cnnx.zeros(0, 4), 4, w).shape == (0, 4)
    assert F.instance_norm(cnnx.zeros(0, 4, 3, 3)).shape == (0, 4, 3, 3)


def test_some_gradients_only():
    x, b = cnnx.randn(3, 4, 5, 5), cnnx.zeros(4, requires_grad=True)
    F.group_norm(x, 2, None, b).sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), 75)
    b = cnnx.zeros(5, requires_grad=True)
    F.layer_norm(x, 5, None, b).sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), 60)


def test_dropout2d_drops_channels():
    x = cnnx.ones(200, 50, 2, 3, requires_grad=True)
    y = F.dropout2d(x, 0.3)
    channels = y.detach().numpy().reshape(10_000, 6)
    kept = channels[:, 0] != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.02)
    np.testing.assert_array_equal(channels[~kept], 0)
    np.testing.assert_allclose(channels[kept], 1 / 0.7, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    assert F.dropout2d(x, 0.0) is x
    assert F.dropout2d(x, 1.0).detach().numpy().sum() == 0
    assert cnnx.Dropout2d(0.5).eval()(x) is x
    assert cnnx.Dropout2d(0.5)(x).detach().numpy().max() == 2
