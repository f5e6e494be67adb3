"""Indexing: reading and writing parts of tensors, rows by their numbers, masks, and their gradients."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from helpers import assert_close, needs_torch, randoms
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cnnx

_shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@st.composite
def shapes_and_keys(draw):
    shape = draw(_shapes)
    return shape, draw(hnp.basic_indices(shape, max_dims=6, allow_newaxis=True))


@st.composite
def writes(draw):
    """A shape, a key, and the shape of a value that broadcasts to what the key names."""
    shape, key = draw(shapes_and_keys())
    named = np.zeros(shape)[key].shape
    lengths = tuple(1 if draw(st.booleans()) else length for length in named)
    value = draw(st.sampled_from([lengths[draw(st.integers(0, len(lengths))) :], (1, *lengths)]))
    return shape, key, value


# ---- Reading -------------------------------------------------------------------------------------------------------------
@given(shapes_and_keys())
def test_reading_is_numpys(case):
    shape, key = case
    (array,) = randoms(0, shape)
    x = cnnx.tensor(array, dtype="float64", requires_grad=True)
    y = x[key]
    np.testing.assert_array_equal(y.numpy(), array[key])
    weights = np.arange(1.0, 1 + y.size).reshape(y.shape)
    y.backward(cnnx.tensor(weights, dtype="float64"))
    expected = np.zeros_like(array)
    expected[key] = weights
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "key",
    [
        np.s_[:, 1],
        np.s_[..., 3:70],
        np.s_[::2, :, ::-3],
        np.s_[1:3],
        np.s_[:, :, None, 5],
        np.s_[2, ::-1, 1:],
        np.s_[-1],
        np.s_[...],
        np.s_[()],
    ],
)
def test_large_parts_of_every_dtype(dtype, threads, key):
    cnnx.set_num_threads(threads)
    array = (np.arange(4 * 90 * 301).reshape(4, 90, 301) % 7 - 3).astype(dtype)
    x = cnnx.tensor(array)
    np.testing.assert_array_equal(x[key].numpy(), array[key])
    x[key] = x[key] * 0
    array[key] = 0
    np.testing.assert_array_equal(x.numpy(), array)


def test_parts_are_copies():
    x = cnnx.zeros(3, 4)
    for key in (1, slice(0, 2), np.s_[:, 1], ..., (), None, slice(None)):
        x[key].fill_(1)
    assert x.sum().item() == 0
    x[0:1].reshape(-1)[:] = 1
    assert x.sum().item() == 0


def test_integers_of_all_kinds():
    x = cnnx.tensor(np.arange(12.0).reshape(3, 4))
    for number in (1, np.int64(1), np.array(1), cnnx.tensor(1), np.uint8(1)):
        assert x[number].tolist() == [4, 5, 6, 7]
        assert x[:, number].tolist() == [1, 5, 9]
        assert x[number:, ..., number].tolist() == [5, 9]
    assert x[cnnx.tensor([1])].shape == (1, 4)


# ---- Rows and masks --------------------------------------------------------------------------------------------------------
@given(data=st.data(), shape=hnp.array_shapes(max_dims=4, max_side=4))
def test_rows_are_numpys(data, shape):
    axes = data.draw(st.integers(1, len(shape)))
    rows = data.draw(
        hnp.mutually_broadcastable_shapes(num_shapes=axes, max_dims=2, max_side=4).map(lambda s: s.input_shapes)
    )
    numbers = [
        data.draw(hnp.arrays(np.int64, size, elements=st.integers(-length, length - 1)))
        for size, length in zip(rows, shape, strict=False)
    ]
    assume(any(n.ndim for n in numbers))
    (array,) = randoms(0, shape)
    x = cnnx.tensor(array, dtype="float64", requires_grad=True)
    for key in (tuple(numbers), tuple(cnnx.tensor(n) for n in numbers), tuple(n.tolist() for n in numbers)):
        y = x[key[0] if axes == 1 else key]
        np.testing.assert_array_equal(y.numpy(), array[tuple(numbers)])
    weights = np.arange(1.0, 1 + y.size).reshape(y.shape)
    y.backward(cnnx.tensor(weights, dtype="float64"))
    expected = np.zeros_like(array)
    np.add.at(expected, tuple(numbers), weights)
    assert_close(x.grad, expected, "float64")


@given(data=st.data(), shape=hnp.array_shapes(max_dims=4, max_side=4))
def test_masks_are_numpys(data, shape):
    mask = data.draw(hnp.arrays(bool, shape[: data.draw(st.integers(1, len(shape)))]))
    (array,) = randoms(0, shape)
    x = cnnx.tensor(array, dtype="float64", requires_grad=True)
    for key in (mask, cnnx.tensor(mask), mask.tolist()):
        y = x[key]
        np.testing.assert_array_equal(y.numpy(), array[mask])
    y.sum().backward()
    np.testing.assert_array_equal(
        x.grad.numpy(), np.broadcast_to(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), shape)
    )


def test_rows_masks_and_iteration():
    t = cnnx.tensor(np.arange(6.0).reshape(3, 2))
    assert t[cnnx.tensor([2, 0, 2])].tolist() == [[4, 5], [0, 1], [4, 5]]
    assert t[np.array([True, False, True])].tolist() == [[0, 1], [4, 5]]
    assert t[[1]].tolist() == [[2, 3]]
    assert (t[[]].shape, t[[]].tolist()) == ((0, 2), [])
    assert t[[0, 1, 2], [1, 0, 1]].tolist() == [1, 2, 5]
    assert t[1, [1, 1]].tolist() == [3, 3]
    assert t[t > 2].tolist() == [3, 4, 5]
    assert [row.tolist() for row in t] == [[0, 1], [2, 3], [4, 5]]
    assert len(t) == 3
    t[1] = 0
    assert t.tolist() == [[0, 1], [0, 0], [4, 5]]
    t[t > 3] = -1
    t[[0, 1], [1, 1]] = 7
    assert t.tolist() == [[0, 7], [0, 7], [-1, -1]]


@needs_torch
def test_rows_and_masks_may_be_torchs():
    import torch

    x = cnnx.tensor(np.arange(6.0).reshape(3, 2))
    assert x[torch.tensor([2, 0])].tolist() == [[4, 5], [0, 1]]
    assert x[torch.tensor([True, False, True])].tolist() == [[0, 1], [4, 5]]
    assert x[torch.tensor(1), torch.tensor([0, 1])].tolist() == [2, 3]


# ---- Writing ---------------------------------------------------------------------------------------------------------------
@given(writes())
def test_writing_is_numpys(case):
    shape, key, value_shape = case
    array, values, weights = randoms(0, shape, value_shape, shape)
    leaf, value = (cnnx.tensor(a, dtype="float64", requires_grad=True) for a in (array, values))
    plain = cnnx.tensor(array, dtype="float64")
    plain[key] = values
    x = leaf * 1
    x[key] = value
    named = weights[key]
    lengths = (1,) * (named.ndim - len(value_shape)) + value_shape[max(0, len(value_shape) - named.ndim) :]
    expected = array.copy()
    expected[key] = values.reshape(lengths)
    np.testing.assert_array_equal(plain.numpy(), expected)
    np.testing.assert_array_equal(x.numpy(), expected)
    x.backward(cnnx.tensor(weights, dtype="float64"))
    kept = weights.copy()
    kept[key] = 0
    np.testing.assert_array_equal(leaf.grad.numpy(), kept)
    repeated = tuple(i for i, length in enumerate(lengths) if length == 1)
    assert_close(value.grad, named.sum(axis=repeated).reshape(value_shape), "float64")


@needs_torch
@given(writes(), st.sampled_from(["iadd", "imul", "assign"]))
def test_writing_and_gradients_are_torchs(case, name):
    import torch

    shape, key, value_shape = case
    steps = [e.step or 1 for e in (key if isinstance(key, tuple) else (key,)) if isinstance(e, slice)]
    assume(all(step > 0 for step in steps))  # torch has no others
    array, values, weights = randoms(0, shape, value_shape, shape)
    assume(name == "assign" or np.broadcast_shapes(array[key].shape, value_shape) == array[key].shape)

    def run(tensor):
        leaf, value = tensor(array), tensor(values)
        x = leaf * 2
        if name == "assign":
            x[key] = value * value
        else:
            x[key] = getattr(operator, name)(x[key], value * value)
        x[key] = x[key] * 2
        (x * tensor(weights)).sum().backward()
        return [np.asarray(t.detach()) for t in (x, leaf.grad, value.grad)]

    ours = run(lambda a: cnnx.tensor(a, dtype="float64", requires_grad=True))
    theirs = run(lambda a: torch.tensor(a, dtype=torch.float64, requires_grad=True))
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, "float64")


def test_operators_on_parts():
    x = cnnx.tensor(np.arange(12.0).reshape(3, 4))
    array = x.numpy()
    x[..., 1:3] += 1
    x[:, 0] *= cnnx.tensor([1.0, 2.0, 3.0], dtype="float64")
    x[1] -= 1
    assert array.tolist() == [[0, 2, 3, 3], [7, 5, 6, 6], [24, 10, 11, 11]]


def test_a_tensor_filled_piece_by_piece():
    w = cnnx.tensor(np.arange(1.0, 4.0), dtype="float64", requires_grad=True)

    def powers(w):
        out = cnnx.zeros(4, 3, dtype="float64")
        out[0] = w
        for i in range(1, 4):
            out[i] = out[i - 1] * w
        return out

    assert cnnx.testing.gradcheck(powers, [w])
    out = powers(w)
    assert not out.is_leaf
    out.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [10, 49, 142])


def test_values_are_converted_and_moved_together():
    x = cnnx.zeros(3)
    value = cnnx.tensor([1.5], dtype="float64", requires_grad=True)
    x[1:] = value
    assert (x.dtype, x.tolist()) == ("float32", [0, 1.5, 1.5])
    x.sum().backward()
    assert (value.grad.dtype, value.grad.tolist()) == ("float64", [2])
    whole = cnnx.tensor([1, 2])
    whole[0] = 3.7
    assert whole.tolist() == [3, 2]


def test_values_that_lie_where_they_are_written():
    memory = np.arange(6, dtype=np.float32)
    cnnx.from_numpy(memory[1:])[:] = cnnx.from_numpy(memory[:-1])
    assert memory.tolist() == [0, 0, 1, 2, 3, 4]
    x = cnnx.from_numpy(memory)
    x[::-1] = x
    assert memory.tolist() == [4, 3, 2, 1, 0, 0]
    x.reshape(2, 3)[:] = x.reshape(2, 3)[::-1]
    assert memory.tolist() == [1, 0, 0, 4, 3, 2]


def test_writes_by_tensors_of_one_number_or_none():
    x = cnnx.zeros(3, 2)
    x[:, cnnx.tensor([1])] = np.array([[1], [2], [3]])
    assert x.tolist() == [[0, 1], [0, 2], [0, 3]]
    x[(cnnx.tensor([[0]]),)] = np.array([[[4, 5]]])
    assert x[0].tolist() == [4, 5]
    empty = cnnx.zeros(0, 2, 7)
    empty[cnnx.zeros(0, 2, dtype="bool")] = np.ones((0, 7))


def test_endlessly_nested_tuples_are_no_index_to_write_to():
    key = ()
    for _ in range(300_000):
        key = (key,)
    with pytest.raises(ValueError, match="exceed the maximum number of dim"):
        cnnx.zeros(2, 2)[key] = 1.0


def test_writes_that_would_lose_a_gradient_are_refused():
    leaf = cnnx.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"\[setitem\] a leaf that requires a gradient cannot be written in place"):
        leaf[:, 0] = 0
    x = cnnx.zeros(2, 2)
    flat = x.reshape(4)
    for shared in (x, flat):
        with pytest.raises(RuntimeError, match=r"\[setitem\] .* memory that no other tensor shares"):
            shared[0] = leaf[0, 0] * 2
    assert x.tolist() == [[0, 0], [0, 0]]
    y = cnnx.exp(leaf)
    with pytest.raises(RuntimeError, match=r"\[setitem\] .* that no earlier operation keeps"):
        y[0] = 0
    for key in ([0], leaf > 0, ([0], [1])):
        with pytest.raises(RuntimeError, match=r"\[setitem\] with gradients, only ints, slices"):
            y[key] = 0
    with pytest.raises(RuntimeError, match=r"\[setitem\] no gradient passes through a tensor of int64"):
        cnnx.tensor([1, 2])[0] = leaf[0, 0]
    with cnnx.no_grad():
        flat[0] = leaf[0, 0] * 3
        leaf[0, 0] = 5
    assert x.tolist() == [[3, 0], [0, 0]]
    assert leaf.tolist() == [[5, 1], [1, 1]]
    assert not x.requires_grad


def test_writes_are_noticed_by_what_was_saved():
    w = cnnx.ones(2, 2, requires_grad=True)
    saved = cnnx.ones(2, 2)
    y = (w * saved).sum()
    saved[:, 1] = 3
    with pytest.raises(RuntimeError, match="in place"):
        y.backward()


def test_arrays_see_recorded_writes():
    w = cnnx.ones(2, requires_grad=True)
    x = cnnx.zeros(2, 2)
    array = x.numpy()
    x[:, 1] = w * 2
    assert array.tolist() == [[0, 2], [0, 2]]
    x.sum().backward()
    assert w.grad.tolist() == [2, 2]


# ---- Bad input ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (3, IndexError, "[index] index must lie in [-3, 3); got 3."),
        (np.s_[:, -5], IndexError, "[index] index on axis 1 must lie in [-4, 4); got -5."),
        ((0, 0, 0), IndexError, "[index] expected at most one entry for each of 2 axes; got 3 for shape (3, 4)."),
        (np.s_[..., 0, ...], IndexError, "[index] an index may have one ellipsis; got 2."),
        (np.s_[::0], ValueError, "slice step cannot be zero"),
        (np.s_[1.5:], TypeError, "slice indices must be integers"),
        (np.s_[0, True], IndexError, "[index] expected ints, slices, ... and None, or int64 rows"),
        (1.0, IndexError, "[index] expected ints, slices, ... and None, or int64 rows"),
        ("a", IndexError, "Use .numpy() for other indexing."),
        (np.s_[:, [0, 1]], IndexError, "Use .numpy() for other indexing."),
        ([0.5], IndexError, "[index] expected ints, slices"),
        (np.array([]), IndexError, "[index] expected ints, slices"),
        ([0, 3], IndexError, "[index] row numbers must lie in [-3, 3); got 3."),
        (([0, 1], [0, -5]), IndexError, "[index] row numbers must lie in [-4, 4); got -5."),
        (([0, 1], [0, 1, 2]), ValueError, "[index] shapes do not broadcast; got (2,) and (3,)."),
        (([0], [0], [0]), IndexError, "[index] expected at most one entry for each of 2 axes"),
        ([True, False], IndexError, "[index] a mask must have the lengths of the first axes; got a mask of shape (2,)"),
        (np.ones((3, 4, 1), bool), IndexError, "[index] a mask must have the lengths of the first axes"),
        (cnnx.tensor(True), IndexError, "[index] a mask must have the lengths of the first axes"),
        (2**63, ValueError, "[argument] integers must fit 64 bits"),
        ((None,) * 7, ValueError, "a tensor has at most 8 axes"),
    ],
)
def test_bad_keys(key, error, text):
    x = cnnx.zeros(3, 4)
    with pytest.raises(error) as caught:
        x[key]
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        (np.s_[:, 4], 0, IndexError, "[index] index on axis 1 must lie in [-4, 4); got 4."),
        (np.s_[:, 0], cnnx.zeros(4), ValueError, "[setitem] the value must broadcast to shape (3,); got (4,)."),
        (np.s_[0], cnnx.zeros(2, 4), ValueError, "[setitem] the value must broadcast to shape (4,); got (2, 4)."),
        (np.s_[0], "a", TypeError, "[setitem] expected a tensor, an array or a number; got 'a'."),
        (np.s_[0], None, TypeError, "[setitem] expected a tensor, an array or a number; got None."),
        ([5], 0, IndexError, "out of bounds"),
    ],
)
def test_bad_writes(key, value, error, text):
    x = cnnx.zeros(3, 4)
    with pytest.raises(error) as caught:
        x[key] = value
    assert text in str(caught.value)
    assert x.sum().item() == 0


def test_tensors_without_axes_or_rows():
    x = cnnx.tensor(1.5)
    assert (x[()].item(), x[...].item(), x[None].tolist()) == (1.5, 1.5, [1.5])
    for key in (0, slice(None), [0]):
        with pytest.raises(IndexError, match=r"\[index\] a tensor without axes cannot be indexed. Use item\(\)."):
            x[key]
    x[()] = 2
    assert x.item() == 2
    empty = cnnx.zeros(0, 3)
    assert empty[[]].shape == empty[::2].shape == (0, 3)
    with pytest.raises(IndexError, match=r"\[index\] an axis of length 0 has no rows; got 1 row numbers."):
        empty[[0]]
