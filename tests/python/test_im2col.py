"""im2col and col2im: against the naive reference and torch's unfold and fold, as each other's gradients."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st
from strategies import conv_cases

import cnnx
import cnnx.functional as F


def _options(case):
    return {"stride": case.stride, "padding": case.padding, "dilation": case.dilation}


@pytest.mark.parametrize("fit", ["floor", "ceil"])
@given(case=conv_cases())
def test_matches_reference_and_gradcheck(fit, case):
    (x,) = randoms(0, (case.batch, case.in_channels, *case.size))
    expected = reference.im2col(x, case.kernel, **_options(case), fit=fit)
    for dtype in ("float32", "float64"):
        columns = F.im2col(cnnx.tensor(x, dtype=dtype), case.kernel, **_options(case), fit=fit)
        np.testing.assert_array_equal(columns.numpy(), expected.astype(dtype))
    if x.size > 60:
        return
    t = cnnx.tensor(x, dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda t: F.im2col(t, case.kernel, **_options(case), fit=fit), t)
    c = cnnx.tensor(expected, dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda c: F.col2im(c, case.size, case.kernel, **_options(case), fit=fit), c)


@needs_torch
@given(case=conv_cases(symmetric=True), batched=st.booleans())
def test_match_torch(case, batched):
    import torch

    options = {**_options(case), "padding": (case.padding[0], case.padding[2])}
    shape = (case.batch, case.in_channels, *case.size)[0 if batched else 1 :]
    compare_with_torch(
        lambda x: F.im2col(x, case.kernel, **options),
        lambda x: torch.nn.functional.unfold(x, case.kernel, **options),
        randoms(0, shape),
        "float64",
    )
    columns = F.im2col(cnnx.zeros(*shape), case.kernel, **options).shape
    compare_with_torch(
        lambda c: F.col2im(c, case.size, case.kernel, **options),
        lambda c: torch.nn.functional.fold(c, case.size, case.kernel, **options),
        randoms(0, columns),
        "float64",
    )


def test_large_images_are_cut_into_blocks():
    (x,) = randoms(0, (2, 3, 75, 77))
    columns = F.im2col(cnnx.tensor(x), (5, 3), stride=(1, 2), padding=2).numpy()
    np.testing.assert_array_equal(columns, reference.im2col(x, (5, 3), (1, 2), (2, 2, 2, 2), (1, 1)))


def test_a_product_with_the_columns_is_the_convolution():
    """The notes' AlexNet layer: (96, 363) times (363, 3025) is 55 x 55 x 96."""
    x, w = (cnnx.tensor(a, dtype="float64") for a in randoms(1, (1, 3, 227, 227), (96, 3, 11, 11)))
    columns = F.im2col(x, 11, stride=4)
    assert columns.shape == (1, 363, 3025)
    y = (w.reshape(96, 363) @ columns).reshape(1, 96, 55, 55)
    assert_close(y, F.conv2d(x, w, stride=4), "float64", scale=10)


def test_col2im_of_im2col_counts_windows():
    x, ones = cnnx.tensor(randoms(2, (2, 3, 8, 9))[0]), cnnx.ones(2, 3, 8, 9, dtype="float64")
    options = {"stride": 2, "padding": 1}
    count = F.col2im(F.im2col(ones, 3, **options), (8, 9), 3, **options)
    assert_close(F.col2im(F.im2col(x, 3, **options), (8, 9), 3, **options), x.numpy() * count.numpy(), "float64")


def test_empty_batch():
    assert F.im2col(cnnx.zeros(0, 3, 8, 8), 3).shape == (0, 27, 36)
    assert F.col2im(cnnx.zeros(0, 27, 36), 8, 3).shape == (0, 3, 8, 8)
