"""Tensor: creation, exchange with NumPy, DLPack and pickle, indexing, broadcasting arithmetic, reductions, shapes."""

from __future__ import annotations

import copy
import gc
import operator
import pickle

import numpy as np
import pytest
from helpers import assert_close, needs_torch, randoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cnnx


# ---- Creation and exchange ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1.5, "float32", ()),
        (3, "int64", ()),
        (True, "bool", ()),
        ([1, 2], "int64", (2,)),
        ([[1.0, 2]], "float32", (1, 2)),
        ([], "float32", (0,)),
        (np.zeros((2, 3), np.float64), "float64", (2, 3)),
        (np.zeros((2, 3), np.float16), "float16", (2, 3)),
        (np.zeros(4, np.uint8), "int64", (4,)),
        (np.zeros(4, bool), "bool", (4,)),
    ],
)
def test_tensor_infers_dtypes(data, dtype, shape):
    t = cnnx.tensor(data)
    assert (t.dtype, t.shape) == (dtype, shape)
    np.testing.assert_array_equal(t.numpy(), np.asarray(data))


def test_creation_functions():
    assert cnnx.zeros(2, 3).tolist() == cnnx.zeros((2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert cnnx.ones(2, dtype="int64").tolist() == [1, 1]
    assert cnnx.zeros((), dtype=np.float64).dtype == cnnx.float64
    assert cnnx.randn(100, 100).numpy().std() == pytest.approx(1, abs=0.05)
    values = cnnx.rand(10000).numpy()
    assert 0 <= values.min() < 0.01 < 0.99 < values.max() < 1


@needs_torch
@pytest.mark.parametrize(
    ("name", "args", "dtype"),
    [
        ("arange", (3,), None),
        ("arange", (1, 9, 3), None),
        ("arange", (5, -5, -3), None),
        ("arange", (0, 1, 0.25), None),
        ("arange", (3.0,), None),
        ("arange", (np.int64(1), np.int64(4)), None),
        ("arange", (0, np.float64(1.5), 0.5), None),
        ("arange", (0, 1, 0.25), "float64"),
        ("arange", (2**53 + 1, 2**53 + 4), None),
        ("full", ((2,), 7), None),
        ("full", ((2,), 7.0), None),
        ("full", ((2,), True), None),
        ("full", ((2,), 7), "float32"),
        ("full", ((2,), 2**63 - 1), None),
        ("full", ((), -(2**53) - 1), None),
    ],
)
def test_values_and_dtypes_of_filled_tensors_are_torchs(name, args, dtype):
    import torch

    ours = getattr(cnnx, name)(*args, dtype=dtype)
    theirs = getattr(torch, name)(*args, dtype=dtype and getattr(torch, dtype))
    assert f"torch.{ours.dtype}" == str(theirs.dtype)
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize(
    "args", [(2, 1), (-(2**63), 2**63 - 1, 2**62), (2**63 - 1, -(2**63), -(2**62) - 1), (5, 5, -1)]
)
def test_arange_of_integers_is_pythons_range(args):
    assert cnnx.arange(*args).tolist() == list(range(*args))


def test_seed_repeats():
    cnnx.manual_seed(5)
    a = cnnx.randn(1000).numpy().copy()
    assert not np.array_equal(a, cnnx.randn(1000).numpy())
    cnnx.manual_seed(5)
    np.testing.assert_array_equal(a, cnnx.randn(1000).numpy())


def test_numpy_shares_memory_and_keeps_it_alive():
    t = cnnx.zeros(4)
    array = t.numpy()
    array[1] = 5
    assert t.tolist() == [0, 5, 0, 0]
    del t
    gc.collect()
    cnnx.ones(4)
    assert array.tolist() == [0, 5, 0, 0]


def test_from_numpy_shares_memory_where_it_can():
    array = np.zeros(4, np.float32)
    t = cnnx.from_numpy(array)
    array[2] = 3
    assert t.tolist() == [0, 0, 3, 0]
    for source in (np.zeros((4, 4), np.float32).T[1:], np.zeros(4, ">f4"), np.zeros(4, np.int32)):
        assert cnnx.from_numpy(source).numpy().shape == source.shape
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    cnnx.from_numpy(frozen).fill_(1)
    assert frozen.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_dlpack_with_numpy(dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3)
    t = cnnx.from_dlpack(array)
    array[0, 0] = 9
    assert t.tolist() == [[9, 1, 2], [3, 4, 5]]
    back = np.from_dlpack(t)
    t.fill_(1)
    assert back.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_dlpack_copies_when_asked():
    t = cnnx.ones(3)
    shared, copied = np.from_dlpack(t), np.from_dlpack(t, copy=True)
    t.fill_(2)
    assert shared.tolist() == [2, 2, 2]
    assert copied.tolist() == [1, 1, 1]


@needs_torch
def test_dlpack_with_torch():
    import torch

    theirs = torch.arange(4.0)
    ours = cnnx.from_dlpack(theirs)
    theirs[0] = 7
    assert ours.tolist() == [7, 1, 2, 3]
    again = torch.from_dlpack(ours)
    del theirs, ours
    gc.collect()
    assert again.tolist() == [7, 1, 2, 3]


def test_deep_copies_keep_gradients():
    layer = cnnx.Linear(2, 2)
    layer(cnnx.ones(1, 2)).sum().backward()
    for other in (copy.deepcopy(layer.weight), copy.deepcopy(layer).weight):
        assert other.grad.tolist() == layer.weight.grad.tolist()
        other.grad.fill_(0)
    assert layer.weight.grad.tolist() == [[1, 1], [1, 1]]
    assert copy.deepcopy(cnnx.ones(1, requires_grad=True)).grad is None


@pytest.mark.parametrize("requires_grad", [False, True])
def test_pickle_and_copy(requires_grad):
    t = cnnx.randn(2, 3, requires_grad=requires_grad)
    for other in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t), copy.copy(t)):
        assert other.tolist() == t.tolist()
        assert other.requires_grad == requires_grad
    pickle.loads(pickle.dumps(t)).detach().fill_(0)
    assert abs(t.detach()).sum().item() > 0


def test_a_tensor_is_one_object():
    layer = cnnx.Linear(2, 3)
    weight = layer.weight
    assert layer.weight is weight
    assert next(iter(layer.parameters())) is weight
    assert {weight: 1}[layer.weight] == 1
    assert weight in set(layer.parameters())
    layer(cnnx.ones(1, 2)).sum().backward()
    assert weight.grad is layer.weight.grad
    copies = [weight.detach() for _ in range(2)]
    assert copies[0] is not copies[1]
    del layer
    gc.collect()
    assert weight.shape == (3, 2)


def test_repr():
    assert repr(cnnx.tensor([1.0, 2.5])) == "tensor([1., 2.5])"
    assert repr(cnnx.tensor([[1, 2], [3, 4]])) == "tensor([[1, 2],\n        [3, 4]])"
    assert repr(cnnx.tensor([2**62 + 1])) == f"tensor([{2**62 + 1}])"
    assert repr(cnnx.tensor([float("nan"), -float("nan"), -float("inf")])) == "tensor([nan, nan, -inf])"
    assert repr(cnnx.tensor([True])) == "tensor([True])"
    assert "requires_grad=True" in repr(cnnx.ones(1, requires_grad=True))
    assert "..." in repr(cnnx.zeros(100, 100))
    assert len(repr(cnnx.zeros(1000, 1000))) < 1000


# ---- Arithmetic ----------------------------------------------------------------------------------------------------------
_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4)


@given(shapes=_shapes, name=st.sampled_from(["add", "sub", "mul", "truediv", "pow"]))
def test_broadcasting_arithmetic_and_gradients(shapes, name):
    fn = getattr(operator, name)
    a, b = (np.abs(v) + 0.5 for v in randoms(0, *shapes.input_shapes))
    x, y = (cnnx.tensor(v, dtype="float64", requires_grad=True) for v in (a, b))
    assert_close(fn(x, y).detach(), fn(a, b), "float64")
    assert cnnx.testing.gradcheck(fn, [x, y])


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow"])
def test_scalars_on_both_sides(name, dtype):
    fn = getattr(operator, name)
    a = np.array([1.0, 2.0, 4.0])
    x = cnnx.tensor(a, dtype=dtype)
    assert fn(x, 2).dtype == fn(2.0, x).dtype == dtype
    assert_close(fn(x, 2), fn(a, 2), dtype)
    assert_close(fn(2, x), fn(2, a), dtype)
    assert_close(fn(np.float64(2), x), fn(2, a), "float32")


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparison(name):
    fn = getattr(operator, name)
    a, b = np.array([[1.0, 2, 3]]), np.array([[2.0], [3.0]])
    result = fn(cnnx.tensor(a), cnnx.tensor(b))
    assert result.dtype == "bool"
    np.testing.assert_array_equal(result.numpy(), fn(a, b))


@given(
    shapes=hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=3, max_side=4),
)
def test_matmul(shapes):
    a, b = randoms(0, *shapes.input_shapes)
    x, y = (cnnx.tensor(v, dtype="float64", requires_grad=True) for v in (a, b))
    assert_close((x @ y).detach(), a @ b, "float64")
    if a.size and b.size:
        assert cnnx.testing.gradcheck(operator.matmul, [x, y])


def test_integers():
    x = cnnx.tensor([5, -3])
    assert (x + 1).dtype == "int64"
    assert (x * x).tolist() == [25, 9]
    assert (-x).tolist() == [-5, 3]
    assert (x / 2).tolist() == [2.5, -1.5]
    assert abs(x).tolist() == [5, 3]
    assert x.sum().item() == 2
    assert cnnx.tensor([2**60, 1]).sum().item() == 2**60 + 1


_LARGE = 2**53 + 1  # no double


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: x, _LARGE),
        (lambda x: -x, -_LARGE),
        (lambda x: abs(-1 * x), _LARGE),
        (lambda x: cnnx.functional.relu(x), _LARGE),
        (lambda x: cnnx.clip(x, 0), _LARGE),
        (lambda x: cnnx.clip(x * 4, -1, _LARGE), _LARGE),
        (lambda x: x + 2 - 1, _LARGE + 1),
        (lambda x: 3 * x, 3 * _LARGE),
        (lambda x: x**1, _LARGE),
        (lambda x: x.max(), _LARGE),
        (lambda x: x.fill_(_LARGE + 2), _LARGE + 2),
        (lambda x: cnnx.pad(x * 0, [1, 0], _LARGE)[0], _LARGE),
        (lambda x: x == _LARGE + 1, False),
        (lambda x: x < _LARGE + 1, True),
        (lambda x: x <= _LARGE - 1, False),
    ],
)
def test_large_integers_are_exact(call, expected):
    result = call(cnnx.tensor([_LARGE]))
    assert result.dtype == ("bool" if isinstance(expected, bool) else "int64")
    assert result.item() == expected


def test_functions_of_integers():
    values = [-(2**63), -3, 0, 5, 2**63 - 1]
    x = cnnx.tensor(values)
    assert (-x).tolist() == [-(2**63), 3, 0, -5, 1 - 2**63]
    assert abs(x).tolist() == [-(2**63), 3, 0, 5, 2**63 - 1]
    assert cnnx.functional.relu(x).tolist() == [0, 0, 0, 5, 2**63 - 1]
    assert cnnx.clip(x, -1, 2).tolist() == [-1, -1, 0, 2, 2]
    assert cnnx.clip(x[1:4], 0.5).tolist() == [0.5, 0.5, 5]
    assert cnnx.clip(cnnx.tensor([True]), 0, 3).dtype == "int64"


@needs_torch
@pytest.mark.parametrize("name", ["add_", "sub_", "mul_", "div_"])
@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float32", "float64"), ("float64", "int64")])
@pytest.mark.parametrize("shape", [(3, 4), (4,), (3, 1), ()])
def test_arithmetic_in_place_as_in_torch(name, dtypes, shape):
    import torch

    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 9, (3, 4)).astype(dtypes[0]), np.asarray(rng.integers(1, 9, shape)).astype(dtypes[1])
    x, expected = cnnx.tensor(a), getattr(torch.tensor(a), name)(torch.tensor(b))
    memory = x.numpy()
    assert getattr(x, name)(cnnx.tensor(b)) is x
    assert x.dtype == dtypes[0]
    np.testing.assert_array_equal(memory, expected.numpy())
    np.testing.assert_array_equal(x.numpy(), expected.numpy())


def test_arithmetic_in_place_reads_what_it_overwrites():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    x = cnnx.tensor(values)
    x += x
    np.testing.assert_array_equal(x.numpy(), 2 * values)
    memory = values.copy()
    shared = cnnx.from_numpy(memory)
    shared -= cnnx.from_numpy(memory[1])
    np.testing.assert_array_equal(memory, values - values[1])
    memory = np.arange(70000, dtype=np.float32)
    cnnx.from_numpy(memory[1:]).add_(cnnx.from_numpy(memory[:-1]))
    np.testing.assert_array_equal(memory[1:], np.arange(69999) * 2 + 1)


def test_arithmetic_in_place_is_not_recorded_but_noticed():
    w = cnnx.ones(3, requires_grad=True)
    x = w * 2
    with pytest.raises(RuntimeError, match=r"\[mul_\] writing in place is not recorded"):
        x.mul_(3)
    y = cnnx.ones(3)
    with pytest.raises(RuntimeError, match=r"\[add_\] writing in place is not recorded"):
        y.add_(x)
    saved = cnnx.full((3,), 2.0)
    z = (w * saved).sum()
    saved.add_(1)
    with pytest.raises(RuntimeError, match="in place"):
        z.backward()
    x += 1  # an operator makes a new tensor where gradients pass
    x.sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), [2, 2, 2])


@needs_torch
@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv"])
@pytest.mark.parametrize("dtype", ["bool", "int64", "float32", "float64"])
@pytest.mark.parametrize("other", [2, 0.5, "bool", "int64", "float32", "float64"])
def test_in_place_results_must_fit_as_in_torch(name, dtype, other):
    import torch

    if dtype == other == "bool" or (dtype == "bool" and other == 2):
        pytest.skip("torch has other arithmetic of booleans")
    ours, theirs = cnnx.ones(3, dtype=dtype), torch.ones(3, dtype=getattr(torch, dtype))
    ours_other, theirs_other = (
        (cnnx.ones(3, dtype=other), torch.ones(3, dtype=getattr(torch, other)))
        if isinstance(other, str)
        else (other, other)
    )
    fn = getattr(operator, name)
    try:
        expected = fn(theirs, theirs_other)
    except RuntimeError as error:
        if "cast" not in str(error):
            pytest.skip("torch has no such operation of booleans")
        with pytest.raises(ValueError, match=rf"\[{name[-3:]}_\] a tensor of {dtype} cannot hold a \w+ result"):
            fn(ours, ours_other)
        assert ours.tolist() == [1, 1, 1]
    else:
        result = fn(ours, ours_other)
        assert result is ours
        assert ours.dtype == dtype
        assert ours.tolist() == expected.tolist()


def test_copies_in_place_lose_no_gradient():
    w = cnnx.ones(2, requires_grad=True)
    t = cnnx.zeros(2)
    with pytest.raises(RuntimeError, match=r"\[copy_\] writing in place is not recorded, so no gradient would reach"):
        t.copy_(w * 2)
    assert t.tolist() == [0, 0]
    t.copy_((w * 2).detach())
    with cnnx.no_grad():
        t.copy_(w * 3)
    assert t.tolist() == [3, 3]


# ---- Functions, reductions, shapes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "abs"])
def test_unary_functions(name, dtype):
    (a,) = randoms(0, (3, 4))
    a = np.abs(a) + 0.1
    fn = getattr(cnnx, name)
    assert_close(fn(cnnx.tensor(a, dtype=dtype)), getattr(np, name)(a), dtype)
    assert cnnx.testing.gradcheck(fn, cnnx.tensor(a, dtype="float64", requires_grad=True))


def test_exp_over_the_whole_range():
    a = np.concatenate([np.linspace(-120, 100, 5001), [np.inf, -np.inf, np.nan, 88.722, 88.723, -87.3]]).astype(
        np.float32
    )
    with np.errstate(over="ignore"):
        expected = np.exp(a.astype(np.float64)).astype(np.float32)
    expected[np.abs(expected) < np.finfo(np.float32).tiny] = 0
    np.testing.assert_allclose(cnnx.exp(cnnx.tensor(a)).numpy(), expected, rtol=3e-7)


def test_clip():
    x = cnnx.tensor([-2.0, 0.5, 3.0], dtype="float64", requires_grad=True)
    assert cnnx.clip(x, -1, 1).tolist() == [-1, 0.5, 1]
    assert cnnx.clip(x, max=1).tolist() == [-2, 0.5, 1]
    assert cnnx.testing.gradcheck(lambda t: cnnx.clip(t, -1, 1), x)


@given(
    shape=hnp.array_shapes(max_dims=4, max_side=4),
    name=st.sampled_from(["sum", "mean", "max", "min"]),
    keepdims=st.booleans(),
    data=st.data(),
)
def test_reductions(shape, name, keepdims, data):
    axis = data.draw(
        st.none()
        | st.integers(-len(shape), len(shape) - 1)
        | hnp.valid_tuple_axes(len(shape), min_size=1, max_size=len(shape))
    )
    (a,) = randoms(0, shape)
    x = cnnx.tensor(a, dtype="float64", requires_grad=True)
    y = getattr(x, name)(axis=axis, keepdims=keepdims)
    assert_close(y.detach(), getattr(a, name)(axis=axis, keepdims=keepdims), "float64")
    assert cnnx.testing.gradcheck(lambda t: getattr(t, name)(axis=axis, keepdims=keepdims), x)


@given(shape=hnp.array_shapes(max_dims=3, max_side=5), data=st.data())
def test_argmax(shape, data):
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    (a,) = randoms(0, shape)
    np.testing.assert_array_equal(cnnx.tensor(a).argmax(axis=axis).numpy(), a.argmax(axis=axis))
    kept = cnnx.tensor(a).argmax(dim=axis, keepdim=True)
    np.testing.assert_array_equal(kept.numpy(), a.argmax(axis=axis, keepdims=True))


def test_reshape_shares_and_transpose_copies():
    x = cnnx.tensor(np.arange(24.0).reshape(2, 3, 4))
    assert x.reshape(4, -1).shape == (4, 6)
    assert x.reshape((24,)).shape == x.flatten().shape == (24,)
    assert x.flatten(1).shape == (2, 12)
    assert x.unsqueeze(0).squeeze(0).shape == x.shape
    np.testing.assert_array_equal(x.transpose(0, 2).numpy(), x.numpy().transpose(2, 1, 0))
    x.reshape(-1).fill_(0)
    assert x.sum().item() == 0


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@given(shape=st.lists(st.integers(1, 70), min_size=2, max_size=3), data=st.data())
def test_transposes_of_long_axes(dtype, shape, data):
    array = (randoms(0, shape)[0] * 3).astype(dtype)
    a, b = data.draw(st.integers(0, len(shape) - 1)), data.draw(st.integers(0, len(shape) - 1))
    np.testing.assert_array_equal(cnnx.tensor(array).transpose(a, b).numpy(), array.swapaxes(a, b))


@given(shape=hnp.array_shapes(min_dims=2, max_dims=4, max_side=4), data=st.data())
def test_shape_gradients(shape, data):
    axes = st.integers(0, len(shape) - 1)
    a, b = data.draw(axes), data.draw(axes)
    x = cnnx.randn(*shape, dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda t: t.transpose(a, b) * 2, x)
    assert cnnx.testing.gradcheck(lambda t: t.reshape(-1) * 2, x)
    assert cnnx.testing.gradcheck(lambda t: cnnx.concat([t, t * 2], dim=a), x)


@given(shape=hnp.array_shapes(min_dims=1, max_dims=4, max_side=4), data=st.data())
def test_concat_and_pad_are_numpys(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    a, b = randoms(0, shape, shape)
    joined = cnnx.concat([cnnx.tensor(a), cnnx.tensor(b)], dim=axis)
    np.testing.assert_array_equal(joined.numpy(), np.concatenate([a, b], axis))
    amounts = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=len(shape)))
    padded = cnnx.pad(cnnx.tensor(a), [n for pair in amounts for n in pair], 1.5)
    whole = [(0, 0)] * (len(shape) - len(amounts)) + amounts[::-1]
    np.testing.assert_array_equal(padded.numpy(), np.pad(a, whole, constant_values=1.5))


def test_pad_gradient_and_cropping():
    x = cnnx.randn(2, 3, dtype="float64", requires_grad=True)
    assert cnnx.testing.gradcheck(lambda t: cnnx.pad(t, [1, 2, 0, 1]), x)


def test_conversions():
    x = cnnx.tensor([1.7, -0.2])
    assert x.to("int64").tolist() == [1, 0]
    assert x.to(cnnx.float64).dtype == np.float64
    assert x.to("float32") is x or x.to("float32").tolist() == x.tolist()
    assert float(cnnx.tensor(2.5)) == 2.5
    assert int(cnnx.tensor(7)) == 7
    assert [10, 20, 30][cnnx.tensor(1)] == 20
    assert bool(cnnx.tensor(0.0)) is False
    with pytest.raises(ValueError, match="ambiguous"):
        bool(cnnx.ones(2))


def test_numpy_sees_a_tensor():
    x = cnnx.tensor([1.0, 4.0])
    assert np.sqrt(np.asarray(x)).tolist() == [1, 2]
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert isinstance(np.ones(2, np.float32) * x, cnnx.Tensor)
    for copies, array in ((False, np.array(x, copy=False)), (False, np.asarray(x)), (True, np.array(x, copy=True))):
        array[0] = 9
        assert (x[0].item() != 9) == copies
        x.fill_(1)


def test_memory_is_reused():
    cnnx.memory.empty_cache()
    before = cnnx.memory.current()
    x = cnnx.zeros(1 << 20)
    assert cnnx.memory.current() - before == 4 << 20
    address = x.numpy().ctypes.data
    del x
    assert cnnx.memory.current() == before
    if cnnx.memory.cached():  # off under the sanitizers
        assert cnnx.zeros(1 << 20).numpy().ctypes.data == address
    cnnx.memory.reset_peak()
    assert cnnx.memory.peak() == cnnx.memory.current()


@needs_torch
@pytest.mark.parametrize("make", [lambda x, y: x**y, lambda x, y: x**0 + y * 0, lambda x, y: 0**y + x * 0])
def test_gradients_of_powers_at_zero(make):
    import torch

    values = [0.0, 2.0, 0.0, 0.0, 3.0], [0.0, 0.0, 2.0, 1.0, -1.0]
    ours = [cnnx.tensor(v, requires_grad=True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    make(*ours)[:4].sum().backward()
    make(*theirs)[:4].sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-6)
