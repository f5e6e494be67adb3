"""Local response normalization."""

from __future__ import annotations

import pytest
import reference
from helpers import assert_close, compare_with_torch, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F

_SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4))
_BETAS = st.sampled_from([0.75, 0.5, 1.3])


@given(shape=_SHAPES, size=st.integers(1, 9), beta=_BETAS)
def test_matches_reference_and_gradcheck(shape, size, beta):
    (x,) = randoms(0, shape)
    options = {"alpha": 0.7, "beta": beta, "k": 1.5}
    tensor = cnnx.tensor(x, dtype="float64", requires_grad=True)
    y = F.local_response_norm(tensor, size, **options)
    assert_close(y.detach(), reference.local_response_norm(x, size, **options), "float64")
    assert cnnx.testing.gradcheck(lambda t: F.local_response_norm(t, size, **options), tensor)


@needs_torch
@pytest.mark.parametrize("shape", [(2, 96, 13, 13), (3, 5, 40), (1, 300, 2, 3)])
@pytest.mark.parametrize("options", [(5, 5e-4, 0.75, 2.0), (4, 1e-1, 0.75, 1.0), (200, 1.0, 0.6, 0.5)])
def test_matches_torch(shape, options, dtype):
    import torch

    compare_with_torch(
        lambda x: F.local_response_norm(x, *options),
        lambda x: torch.nn.functional.local_response_norm(x, *options),
        randoms(1, shape),
        dtype,
    )


def test_empty():
    assert F.local_response_norm(cnnx.zeros(0, 3, 4, 4), 5).shape == (0, 3, 4, 4)
    assert F.local_response_norm(cnnx.zeros(2, 0, 4, 4), 5).shape == (2, 0, 4, 4)
