"""Upsampling and padding: against the naive reference, NumPy and torch, gradients, torch's conventions."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F

_SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
_OUTPUTS = st.tuples(st.integers(1, 20), st.integers(1, 20))
_MODES = st.sampled_from([("nearest", False), ("bilinear", False), ("bilinear", True)])


def _options(mode, align_corners):
    return {"mode": mode, "align_corners": align_corners if mode == "bilinear" else None}


@given(size=_SIZES, output=_OUTPUTS, mode=_MODES)
def test_size_matches_reference_and_gradcheck(size, output, mode):
    (x,) = randoms(0, (2, 2, *size))
    for dtype in ("float32", "float64"):
        y = F.upsample(cnnx.tensor(x, dtype=dtype), output, **_options(*mode))
        expected = reference.upsample(x, output, mode=mode[0], align_corners=mode[1])
        # nearest: the definition in double and torch's in float differ where o * scale is an integer but for rounding
        if mode[0] == "bilinear" or all(o % s == 0 for o, s in zip(output, size, strict=True)):
            assert_close(y, expected, dtype)
    inputs = cnnx.tensor(x[:1], dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda t: F.upsample(t, output, **_options(*mode)), inputs)


@needs_torch
@given(size=_SIZES, output=_OUTPUTS, mode=_MODES)
def test_size_matches_torch(size, output, mode):
    import torch

    for dtype in ("float32", "float64"):
        compare_with_torch(
            lambda x: F.upsample(x, output, **_options(*mode)),
            lambda x: torch.nn.functional.interpolate(x, output, **_options(*mode)),
            randoms(0, (2, 3, *size)),
            dtype,
        )


@needs_torch
@given(
    size=_SIZES,
    scale=st.tuples(*[st.one_of(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]), st.floats(0.3, 4.0))] * 2),
    mode=_MODES,
)
def test_scale_factor_matches_torch(size, scale, mode):
    import torch

    if any(int(s * f) < 1 for s, f in zip(size, scale, strict=True)):
        return
    compare_with_torch(
        lambda x: F.upsample(x, scale_factor=scale, **_options(*mode)),
        lambda x: torch.nn.functional.interpolate(x, scale_factor=scale, **_options(*mode)),
        randoms(0, (1, 2, *size)),
        "float64",
        scale=1e4 if mode[0] == "bilinear" else 1,  # torch computes positions in float
    )


@needs_torch
@pytest.mark.parametrize("mode", [("nearest", False), ("bilinear", False), ("bilinear", True)])
def test_large_images_match_torch(mode, dtype):
    import torch

    for shape, output in [((3, 40, 33, 60), (66, 120)), ((1, 3, 300, 200), (150, 311)), ((2, 2, 1, 500), (70, 1000))]:
        compare_with_torch(
            lambda x, o=output: F.upsample(x, o, **_options(*mode)),
            lambda x, o=output: torch.nn.functional.interpolate(x, o, **_options(*mode)),
            randoms(2, shape),
            dtype,
            scale=30,
        )


def test_nearest_copies_infinities():
    x = cnnx.tensor([[[[1.0, np.inf, -np.inf, np.nan]]]])
    np.testing.assert_array_equal(F.upsample(x, scale_factor=(1, 2)).numpy().ravel(), np.repeat(x.numpy().ravel(), 2))


def test_upsample_layer():
    x = cnnx.randn(1, 2, 4, 5)
    layer = cnnx.Upsample(scale_factor=(2, 1.5), mode="bilinear", align_corners=True)
    expected = F.upsample(x, None, (2, 1.5), "bilinear", True)
    np.testing.assert_array_equal(layer(x).numpy(), expected.numpy())
    assert layer.scale_factor == (2, 1.5)
    assert repr(layer) == "Upsample(scale_factor=(2, 1.5), mode='bilinear', align_corners=True)"
    assert repr(cnnx.Upsample(7)) == "Upsample(size=7, mode='nearest')"
    layer.scale_factor = 3
    assert layer(x).shape == (1, 2, 12, 15)
    layer.size = 3
    with pytest.raises(ValueError, match=r"\[upsample\] expected either size or scale_factor; got both"):
        layer(x)


@given(
    data=st.data(), size=st.tuples(st.integers(1, 5), st.integers(2, 9)), planes=st.lists(st.integers(1, 3), max_size=2)
)
def test_reflection_matches_numpy(data, size, planes):
    (x,) = randoms(0, (*planes, *size))
    widths = [data.draw(st.integers(0, length - 1)) for length in (size[1], size[1], size[0], size[0])]
    widths = widths[: data.draw(st.sampled_from([2, 4]))]
    whole = [(0, 0)] * (len(planes) + 1) + [tuple(widths[:2])]
    if len(widths) == 4:
        whole[-2] = tuple(widths[2:])
    y = F.pad(cnnx.tensor(x), widths, "reflect")
    np.testing.assert_array_equal(y.numpy(), np.pad(x, whole, mode="reflect"))
    inputs = cnnx.tensor(x, dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda t: F.pad(t, widths, mode="reflect"), inputs)


@needs_torch
def test_padding_layers_match_torch(dtype):
    import torch

    for name in ("ZeroPad2d", "ReflectionPad2d"):
        for padding in (2, (1, 0, 3, 2), 0):
            ours, theirs = getattr(cnnx, name)(padding), getattr(torch.nn, name)(padding)
            for shape in ((2, 3, 5, 6), (3, 40, 33, 70)):
                compare_with_torch(ours, theirs, randoms(0, shape), dtype)
    assert cnnx.ReflectionPad2d(1)(cnnx.zeros(3, 5, 5)).shape == (3, 7, 7)
    assert repr(cnnx.ZeroPad2d((1, 0, 3, 2))) == "ZeroPad2d(padding=(1, 0, 3, 2))"


def test_pad_takes_the_value_in_torchs_place_or_third():
    x = cnnx.tensor([1.0])
    assert F.pad(x, (1, 0), 5).tolist() == F.pad(x, (1, 0), "constant", 5).tolist() == [5, 1]
    assert F.pad(x, (1, 0), value=2.0).tolist() == [2, 1]


def test_empty_images():
    x = cnnx.zeros(0, 3, 4, 4, requires_grad=True)
    y = F.upsample(x, scale_factor=2, mode="bilinear")
    assert y.shape == (0, 3, 8, 8)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert F.pad(cnnx.zeros(0, 2, 5), (1, 1), "reflect").shape == (0, 2, 7)
