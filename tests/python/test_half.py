"""float16 and bfloat16 tensors: conversion, exchange, every operation, modules, optimizers."""

from __future__ import annotations

import copy
import pickle

import half_cases
import numpy as np
import pytest
from half_cases import CASES, DTYPES, LEAST, ULP, narrow, values
from helpers import HAS_TORCH, OPTIMIZERS, needs_torch, randoms

import cnnx
import cnnx.functional as F

if HAS_TORCH:
    import torch

both = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture
def patterns() -> np.ndarray:
    """All 65536."""
    return np.arange(2**16, dtype=np.uint16)


def from_bits(bits: np.ndarray, dtype: str) -> cnnx.Tensor:
    if dtype == "float16":
        return cnnx.tensor(bits.view(np.float16))
    return cnnx.tensor((bits.astype(np.uint32) << 16).view(np.float32), "bfloat16")


def bits_of(x: cnnx.Tensor) -> np.ndarray:
    if x.dtype == "float16":
        return x.numpy().view(np.uint16)
    return (x.to("float32").numpy().view(np.uint32) >> 16).astype(np.uint16)


# ---- Conversion ----------------------------------------------------------------------------------------------------------
@both
def test_every_number_survives_the_way_through_wider_dtypes(dtype, patterns):
    x = from_bits(patterns, dtype)
    assert x.dtype == dtype
    finite = ~np.isnan(values(x))
    assert finite.sum() == 2**16 - 2 * (1023 if dtype == "float16" else 127)
    for wide in ("float32", "float64"):
        back = x.to(wide).to(dtype)
        np.testing.assert_array_equal(bits_of(back)[finite], patterns[finite])
        np.testing.assert_array_equal(bits_of(back)[finite], bits_of(x)[finite])
        assert np.isnan(values(back)[~finite]).all()


def test_float16_is_numpys(patterns):
    np.testing.assert_array_equal(from_bits(patterns, "float16").to("float64").numpy(), patterns.view(np.float16))


@needs_torch
def test_bfloat16_is_torchs(patterns):
    theirs = torch.from_numpy(patterns.view(np.int16)).view(torch.bfloat16)
    np.testing.assert_array_equal(values(from_bits(patterns, "bfloat16")), theirs.float().numpy())
    np.testing.assert_array_equal(values(cnnx.from_dlpack(theirs)), theirs.float().numpy())


def float32_patterns(dtype: str) -> np.ndarray:
    """Every 16-bit number, the ties between neighbours, what lies beside the ties, and numbers of all sizes."""
    step = 13 if dtype == "float16" else 16
    numbers = np.arange(2**16, dtype=np.uint32)
    exact = (
        numbers.astype(np.uint16).view(np.float16).astype(np.float32).view(np.uint32)
        if dtype == "float16"
        else numbers << 16
    )
    near = [exact + np.uint32(d) for d in (0, 1, 2 ** (step - 1) - 1, 2 ** (step - 1), 2 ** (step - 1) + 1)]
    rng = np.random.default_rng(0)
    halves = (np.arange(2**11) + 0.5) * LEAST["float16"]  # ties of subnormal numbers
    return np.concatenate(
        [*near, rng.integers(0, 2**32, 10**5, dtype=np.uint32), np.float32([*halves, *-halves]).view(np.uint32)]
    ).view(np.float32)


def test_rounding_to_float16_is_numpys():
    array = float32_patterns("float16")
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16)
    got = cnnx.tensor(array).to("float16").numpy()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(got.view(np.uint16)[~np.isnan(got)], expected.view(np.uint16)[~np.isnan(got)])


@needs_torch
def test_rounding_to_bfloat16_is_torchs():
    array = float32_patterns("bfloat16")
    expected = torch.from_numpy(array).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    got = bits_of(cnnx.tensor(array).to("bfloat16"))
    number = ~np.isnan(array)
    np.testing.assert_array_equal(got[number], expected[number])
    assert np.isnan(values(cnnx.tensor(array[~number]).to("bfloat16"))).all()


def test_float64_is_rounded_once():
    tie = 1 + 2.0**-11
    array = np.array([tie, tie + 2.0**-40, tie - 2.0**-40, 65519.99999, 65520, 2.0**-25, 2.0**-25 * (1 + 1e-9), 1e300])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(cnnx.tensor(array).to("float16").numpy(), array.astype(np.float16))
    tie = 1 + 2.0**-8
    array = np.array([tie, tie + 2.0**-40, tie - 2.0**-40, 3.4e38, 1e300, -1e-300, 2.0**-134, 2.0**-134 * 1.0001])
    expected = [1, 1 + 2.0**-7, 1, np.inf, np.inf, 0, 0, 2.0**-133]
    np.testing.assert_array_equal(cnnx.tensor(array).to("bfloat16").to("float64").numpy(), expected)


@both
def test_integers_and_booleans(dtype):
    x = cnnx.tensor([0, 1, -3, 4097, 10**6]).to(dtype)
    assert x.tolist() == ([0, 1, -3, 4096, np.inf] if dtype == "float16" else [0, 1, -3, 4096, 999424])
    odd = cnnx.tensor([np.nan, np.inf, -2.75, 2.75], dtype=dtype).to("int64")
    assert odd.tolist() == [-(2**63), -(2**63), -2, 2]
    assert cnnx.tensor([True, False]).to(dtype).tolist() == [1, 0]
    least = from_bits(np.array([0, 0x8000, 1], np.uint16), dtype)  # bfloat16's is a denormal float32
    assert least.to("bool").tolist() == [False, False, True]


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormal_numbers_are_kept(threads):
    before = cnnx.get_num_threads()
    cnnx.set_num_threads(threads)
    try:
        for dtype in DTYPES:
            bits = np.tile(np.arange(1, 100, dtype=np.uint16), 2000)
            x = from_bits(bits, dtype)
            np.testing.assert_array_equal(bits_of(x.clone()[::-1][::-1]), bits)
            np.testing.assert_array_equal(bits_of(x.to("float64").to(dtype)), bits)
        half = from_bits(bits, "float16")
        np.testing.assert_array_equal(bits_of(half * 2), bits * 2)  # float32 has them as normal numbers
    finally:
        cnnx.set_num_threads(before)


# ---- Creation and exchange -----------------------------------------------------------------------------------------------
@both
def test_creation(dtype):
    name = getattr(cnnx, dtype)
    assert (repr(name), name.itemsize, cnnx.zeros(2, dtype=name).dtype == dtype) == (f"cnnx.{dtype}", 2, True)
    assert cnnx.zeros(2, 3, dtype=dtype).tolist() == [[0] * 3] * 2
    assert cnnx.ones(2, dtype=dtype).sum().item() == 2
    assert cnnx.full((2,), 1.0 + ULP[dtype], dtype=dtype).tolist() == [1 + ULP[dtype]] * 2
    assert cnnx.arange(0.0, 1.0, 0.25, dtype=dtype).tolist() == [0, 0.25, 0.5, 0.75]
    assert cnnx.empty(3, dtype=dtype).dtype == dtype
    x = cnnx.tensor([1.5, -2.0], dtype=dtype, requires_grad=True)
    assert repr(x) == f"tensor([1.5, -2.], dtype={dtype}, requires_grad=True)"
    assert float(x[0]) == x[0].item() == 1.5
    assert f"{x[0]:.2f}" == "1.50"
    assert cnnx.tensor(x, dtype="float32").tolist() == [1.5, -2]
    large = cnnx.tensor(65504.0, dtype=dtype)
    assert large.item() == (65504 if dtype == "float16" else 65536)


@both
def test_random_values(dtype):
    x = cnnx.rand(200_000, dtype=dtype)
    assert x.min().item() >= 0
    assert x.max().item() == 1 - ULP[dtype] / 2
    assert abs(x.to("float32").mean().item() - 0.5) < 0.01
    z = values(cnnx.randn(100_000, dtype=dtype))
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    weight = cnnx.init.uniform_(cnnx.zeros(1000, dtype=dtype), -2.0, 0.0)
    assert weight.dtype == dtype
    assert -2 <= weight.min().item() < weight.max().item() < 0
    assert cnnx.init.uniform_(cnnx.zeros(3, dtype=dtype), 1.0, 1.0).tolist() == [1, 1, 1]


def test_numpy():
    x = cnnx.tensor([1.5, 2.5], dtype="float16")
    array = x.numpy()
    assert array.dtype == np.float16
    array[0] = 7
    assert x[0].item() == 7
    assert np.asarray(x).dtype == np.float16
    shared = np.ones(3, np.float16)
    y = cnnx.from_numpy(shared)
    shared[1] = 4
    assert y.tolist() == [1, 4, 1]
    assert cnnx.float16 == np.float16
    assert cnnx.float16.dtype == np.float16
    assert cnnx.tensor([1], dtype=np.float16).dtype == "float16"


def test_numpy_has_no_bfloat16():
    x = cnnx.tensor([1.5, 2.5], dtype="bfloat16")
    for convert in (x.numpy, lambda: np.asarray(x), lambda: cnnx.bfloat16.dtype):
        with pytest.raises(
            TypeError, match=r'\[numpy\] NumPy has no bfloat16. Convert the tensor with .to\("float32"\)'
        ):
            convert()
    assert np.asarray(x, np.float32).tolist() == x.tolist() == [1.5, 2.5]
    assert np.asarray(x, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="needs a copy"):
        np.array(x, np.float32, copy=False)


@needs_torch
@both
def test_dlpack_shares_memory_both_ways(dtype):
    theirs = torch.tensor([1.0, 2.0, 3.0], dtype=getattr(torch, dtype))
    ours = cnnx.from_dlpack(theirs)
    assert ours.dtype == dtype
    theirs[0] = 9
    assert ours.tolist() == [9, 2, 3]
    back = torch.from_dlpack(ours)
    assert back.dtype == theirs.dtype
    assert back.data_ptr() == theirs.data_ptr()


@needs_torch
def test_tensors_of_other_libraries_that_numpy_cannot_take():
    theirs = torch.tensor([1.0, 2.5], dtype=torch.bfloat16)
    ours = cnnx.tensor(theirs)
    theirs[0] = 9
    assert (ours.dtype.name, ours.tolist()) == ("bfloat16", [1.0, 2.5])
    assert cnnx.tensor(theirs, dtype="float64").tolist() == [9.0, 2.5]
    total = cnnx.ones(2) + theirs
    assert (total.dtype.name, total.tolist()) == ("float32", [10.0, 3.5])
    layer = cnnx.Linear(2, 2)
    layer.load_state_dict(torch.nn.Linear(2, 2).to(torch.bfloat16).state_dict())
    assert layer.weight.dtype == "float32"


@both
def test_copies_and_pickles(dtype, patterns):
    x = from_bits(patterns, dtype)
    for other in (copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x)), x.clone()):
        assert other.dtype == dtype
        np.testing.assert_array_equal(values(other), values(x))
    assert pickle.loads(pickle.dumps(getattr(cnnx, dtype))) == dtype
    leaf = cnnx.ones(2, dtype=dtype, requires_grad=True)
    leaf.sum().backward()
    assert copy.deepcopy(leaf).grad.dtype == dtype
    assert pickle.loads(pickle.dumps(leaf)).requires_grad


@both
def test_safetensors(dtype, patterns, tmp_path):
    state = {"x": from_bits(patterns, dtype), "y": cnnx.ones(3), "z": cnnx.ones(5, dtype=dtype)}
    cnnx.save_state(state, tmp_path / "s.safetensors")
    read = cnnx.load_state(tmp_path / "s.safetensors")
    for name, x in state.items():
        assert read[name].dtype == x.dtype
        np.testing.assert_array_equal(values(read[name]), values(x))
    assert len((tmp_path / "s.safetensors").read_bytes()) < 2 * 65536 + 12 + 10 + 400


@needs_torch
@both
def test_safetensors_and_torch_agree(dtype, patterns, tmp_path):
    files = pytest.importorskip("safetensors.torch")
    theirs = torch.from_numpy(patterns.view(np.int16)).view(getattr(torch, dtype))
    files.save_file({"x": theirs}, tmp_path / "theirs.safetensors")
    x = cnnx.load_state(tmp_path / "theirs.safetensors")["x"]
    np.testing.assert_array_equal(values(x), theirs.float().numpy())
    cnnx.save_state({"x": x}, tmp_path / "ours.safetensors")
    back = files.load_file(tmp_path / "ours.safetensors")["x"]
    assert torch.equal(back.view(torch.int16), theirs.view(torch.int16))


# ---- Operations ----------------------------------------------------------------------------------------------------------
@both
@pytest.mark.parametrize("name", CASES)
def test_operation(name, dtype):
    half_cases.check_against_float32(name, dtype)


TORCH_CASES = {
    "conv2d": (
        lambda x, w, b: F.conv2d(x, w, b, padding=1),
        "conv2d",
        {"padding": 1},
        [(2, 3, 8, 8), (4, 3, 3, 3), (4,)],
    ),
    "linear": (F.linear, "linear", {}, [(5, 6), (3, 6), (3,)]),
    "softmax": (lambda x: F.softmax(x, 1), "softmax", {"dim": 1}, [(4, 9)]),
    "relu": (F.relu, "relu", {}, [(4, 9)]),
    "sigmoid": (F.sigmoid, "sigmoid", {}, [(4, 9)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), "max_pool2d", {"kernel_size": 2}, [(2, 3, 8, 8)]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2), "avg_pool2d", {"kernel_size": 2}, [(2, 3, 8, 8)]),
    "layer_norm": (lambda x: F.layer_norm(x, (9,)), "layer_norm", {"normalized_shape": (9,)}, [(4, 9)]),
    "mse_loss": (F.mse_loss, "mse_loss", {}, [(4, 9), (4, 9)]),
}


@needs_torch
@both
@pytest.mark.parametrize("name", TORCH_CASES)
def test_operation_is_torchs(name, dtype):
    fn, torch_name, options, shapes = TORCH_CASES[name]
    arrays = [values(narrow(a, dtype)) for a in randoms(3, *shapes)]
    ours = [narrow(a, dtype).requires_grad_() for a in arrays]
    theirs = [torch.tensor(a).to(getattr(torch, dtype)).requires_grad_() for a in arrays]
    y, expected = fn(*ours), getattr(torch.nn.functional, torch_name)(*theirs, **options)
    y.sum().backward()
    expected.sum().backward()
    pairs = [(y, expected), *((a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))]
    for got, want in pairs:
        assert got.dtype == str(want.dtype).removeprefix("torch.")
        want = want.detach().float().numpy()
        np.testing.assert_allclose(
            values(got), want, rtol=4 * ULP[dtype], atol=4 * ULP[dtype] * max(1, np.abs(want).max())
        )


@both
def test_promotion(dtype):
    x, other = cnnx.ones(2, dtype=dtype), "bfloat16" if dtype == "float16" else "float16"
    assert (x + cnnx.ones(2, dtype=other)).dtype == "float32"
    assert (x + cnnx.ones(2)).dtype == "float32"
    assert (cnnx.ones(2, dtype="float64") * x).dtype == "float64"
    assert (x * cnnx.tensor([2, 3])).dtype == dtype
    assert (cnnx.tensor([True, False]) - x).dtype == dtype
    for number in (2, 0.1, True):
        assert {(x + number).dtype, (number - x).dtype, (x * number).dtype, (x / number).dtype, (x**number).dtype} == {
            x.dtype
        }
    assert (x < 2).dtype == (x == x.to("float32")).dtype == "bool"
    assert (x < 1.0001).tolist() == [True, True]  # the number is not rounded to 1


@both
def test_numbers_are_not_rounded_to_16_bits(dtype):
    x = cnnx.full((1,), 3.0, dtype=dtype, requires_grad=True)
    y = x * 100_000 / 100_000.0
    assert values(y) == np.inf if dtype == "float16" else abs(values(y) - 3) < 6 * ULP[dtype]
    tiny = cnnx.full((1,), 1000.0, dtype=dtype) * 1e-9
    assert abs(values(tiny).item() / 1e-6 - 1) < (0.05 if dtype == "float16" else 2 * ULP[dtype])
    (x * 1e-6).backward()
    assert abs(values(x.grad).item() / 1e-6 - 1) < (0.05 if dtype == "float16" else 2 * ULP[dtype])


@both
def test_sums_do_not_overflow_or_stall(dtype):
    x = cnnx.full((4096,), 100.0, dtype=dtype)
    assert x.mean().item() == 100
    assert cnnx.ones(4096, dtype=dtype).sum().item() == 4096


@both
def test_in_place(dtype):
    x = cnnx.tensor([1.0, 2.0], dtype=dtype)
    x += 1
    x *= cnnx.tensor([2.0, 4.0])
    x -= cnnx.tensor([1, 1])
    x /= 2.0
    x.add_(cnnx.ones(2, dtype=dtype))
    assert (x.dtype, x.tolist()) == (dtype, [2.5, 6.5])
    x.fill_(0.1)
    assert x[0].item() == cnnx.tensor(0.1, dtype=dtype).item()
    x.copy_(cnnx.tensor([3.0, 4.0]))
    x[0] = 0.5
    x[1] = cnnx.tensor(8.0)
    assert x.tolist() == [0.5, 8]
    wide = cnnx.tensor([1.0, 2.0])
    wide += x
    assert (wide.dtype, wide.tolist()) == ("float32", [1.5, 10])
    y = cnnx.tensor([1, 2])
    with pytest.raises(ValueError, match="cannot hold a float32 result"):
        y += x


@both
def test_writes_by_rows_and_masks(dtype):
    x = cnnx.arange(4).to(dtype)
    x[x > 2] = 7
    x[cnnx.tensor([0, 1])] = cnnx.tensor([0.5, 1.5], dtype=dtype)
    assert (x.dtype.name, x.tolist()) == (dtype, [0.5, 1.5, 2.0, 7.0])
    wide = cnnx.zeros(4)
    wide[x < 2] = x[:2]
    assert wide.tolist() == [0.5, 1.5, 0.0, 0.0]


@both
def test_argmax_and_comparisons(dtype):
    x = narrow(randoms(1, (5, 7))[0], dtype)
    assert x.argmax(1).tolist() == values(x).argmax(1).tolist()
    assert x.argmax().item() == values(x).argmax()
    np.testing.assert_array_equal((x > x[0]).numpy(), values(x) > values(x)[0])


@both
def test_dropout(dtype):
    x = cnnx.ones(4, 3, 20, 20, dtype=dtype, requires_grad=True)
    for fn in (F.dropout, F.dropout2d):
        x.grad = None
        y = fn(x, 0.25)
        scale = cnnx.tensor(1 / 0.75, dtype=dtype).item()
        assert y.dtype == dtype
        assert set(np.unique(values(y))) == {0, np.float32(scale)}
        y.sum().backward()
        np.testing.assert_array_equal(values(x.grad), values(y))
        assert fn(x, 0.25, training=False) is x


@both
def test_norms_take_float32_parameters(dtype):
    x = narrow(randoms(5, (4, 6, 5, 5))[0], dtype)
    for norm in (cnnx.BatchNorm2d(6), cnnx.GroupNorm(2, 6), cnnx.InstanceNorm2d(6, affine=True), cnnx.LayerNorm(5)):
        y = norm(x)
        assert y.dtype == dtype
        y.sum().backward()
        assert norm.weight.grad.dtype == "float32"
        np.testing.assert_allclose(values(y), values(norm(x.to("float32"))), atol=4 * ULP[dtype])
    layer = cnnx.BatchNorm2d(6)
    layer(x)
    assert layer.running_mean.dtype == "float32"
    assert abs(layer.running_mean).sum().item() > 0


@both
def test_gradients_add_up_in_the_leafs_dtype(dtype):
    x = cnnx.ones(3, dtype=dtype, requires_grad=True)
    (x * 2 + x * x).sum().backward()
    (x * 3).sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (dtype, [7, 7, 7])
    y = cnnx.ones(2, dtype="float32", requires_grad=True)
    (y.to(dtype) * 2).sum().backward()
    assert (y.grad.dtype, y.grad.tolist()) == ("float32", [2, 2])


@both
def test_a_change_in_place_is_noticed(dtype):
    x = cnnx.ones(3, dtype=dtype, requires_grad=True)
    z = x * 1.0
    y = z * z
    with cnnx.no_grad():
        z.fill_(2)
    with pytest.raises(RuntimeError, match="the gradient of mul needs was changed in place"):
        y.sum().backward()
    y = F.relu(x)
    with cnnx.no_grad():
        y.fill_(2)
    with pytest.raises(RuntimeError, match="the gradient of relu needs was changed in place"):
        y.sum().backward()


def kept(fn: object, dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes that fn's record keeps, its output included."""
    x = cnnx.ones(shape, dtype=dtype, requires_grad=True)
    before = cnnx.memory.current()
    y = fn(x)  # type: ignore[operator]
    assert y.requires_grad
    return cnnx.memory.current() - before


@both
@pytest.mark.parametrize(
    "fn",
    [
        F.relu,
        F.sigmoid,
        cnnx.exp,
        F.gelu,
        lambda x: F.softmax(x, 1),
        lambda x: x * x,
        lambda x: F.relu(x) * F.sigmoid(x),
    ],
)
def test_what_is_saved_takes_half_the_memory(fn, dtype):
    shape = (8, 16, 32, 32)
    assert kept(fn, dtype, shape) == kept(fn, "float32", shape) // 2


@both
def test_a_networks_activations_take_half_the_memory(dtype):
    def build(dtype: str) -> cnnx.Module:
        return cnnx.Sequential(
            cnnx.Conv2d(4, 8, 3, padding=1), cnnx.BatchNorm2d(8), cnnx.ReLU(), cnnx.Conv2d(8, 8, 3), cnnx.Sigmoid()
        ).to(dtype)

    shape = (4, 4, 64, 64)
    half, full = (kept(build(name), name, shape) for name in (dtype, "float32"))
    assert half < 0.55 * full


# ---- Modules -------------------------------------------------------------------------------------------------------------
def small_net() -> cnnx.Sequential:
    cnnx.manual_seed(5)
    return cnnx.Sequential(
        cnnx.Conv2d(3, 8, 3, padding=1),
        cnnx.BatchNorm2d(8),
        cnnx.ReLU(),
        cnnx.MaxPool2d(2, 2),
        cnnx.Conv2d(8, 8, 3, padding=1),
        cnnx.ReLU(),
        cnnx.Conv2d(8, 8, 3, padding=1),
        cnnx.ReLU(),
        cnnx.MaxPool2d(2, 2),
        cnnx.Residual(cnnx.Sequential(cnnx.Conv2d(8, 8, 3, padding=1), cnnx.BatchNorm2d(8))),
        cnnx.Flatten(),
        cnnx.Linear(8 * 4 * 4, 10),
    )


@both
@pytest.mark.parametrize("training", [True, False])
def test_a_network(dtype, training):
    net, x = small_net(), narrow(randoms(2, (4, 3, 16, 16))[0], dtype)
    narrow_net = copy.deepcopy(net).to(dtype)
    wide = copy.deepcopy(narrow_net).to("float32")
    for model in (narrow_net, wide):
        model.train(training)
    expected = values(wide(x.to("float32")))
    y = narrow_net(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(values(y), expected, atol=30 * ULP[dtype] * np.abs(expected).max())
    F.cross_entropy(y, cnnx.arange(4)).backward()
    assert {p.grad.dtype for p in narrow_net.parameters()} == {y.dtype}
    narrow_net.eval()
    with cnnx.no_grad():
        np.testing.assert_allclose(values(narrow_net(x)), values(wide.eval()(x.to("float32"))), atol=0.5)


@both
def test_state_dicts_and_files_of_modules(dtype, tmp_path):
    net = small_net().to(dtype)
    assert {p.dtype for p in net.parameters()} == {getattr(cnnx, dtype)}
    assert net[1].num_batches_tracked.dtype == "int64"
    cnnx.save(net, tmp_path / "net.safetensors")
    loaded = cnnx.load(tmp_path / "net.safetensors")
    for name, x in net.state_dict().items():
        other = loaded.state_dict()[name]
        assert other.dtype == x.dtype
        assert other.tolist() == x.tolist()
    wide = small_net()
    wide.load_state_dict(net.state_dict())
    assert {p.dtype for p in wide.parameters()} == {cnnx.float32}
    assert wide[0].weight.tolist() == net[0].weight.tolist()
    assert cnnx.load_weights(net, tmp_path / "net.safetensors").missing_keys == []
    assert "dtype='" + dtype in repr(net[0])


@both
def test_layers_are_made_in_16_bits(dtype):
    for layer in (cnnx.Conv2d(2, 3, 3, dtype=dtype), cnnx.Linear(3, 2, dtype=dtype), cnnx.BatchNorm2d(3, dtype=dtype)):
        assert {p.dtype for p in layer.parameters()} == {getattr(cnnx, dtype)}
    bound = abs(values(cnnx.Linear(4, 50, dtype=dtype).weight)).max()
    assert 0.4 < bound <= 0.5


@both
def test_checkpoints(dtype):
    gradients = []
    for checkpointed in (False, True):
        net = small_net().to(dtype)
        x = narrow(randoms(3, (2, 3, 16, 16))[0], dtype).requires_grad_()
        (cnnx.checkpoint(net) if checkpointed else net)(x).sum().backward()
        gradients.append([x.grad.tolist(), *(p.grad.tolist() for p in net.parameters())])
    assert gradients[0] == gradients[1]


def test_fit_and_predict_bring_batches_to_the_models_dtype():
    net = small_net().to("bfloat16")
    scores = cnnx.predict(net, np.zeros((3, 3, 16, 16), np.float32))
    assert scores.shape == (3, 10)


@both
def test_anomalies_are_found(dtype):
    x = cnnx.tensor([1.0, 60000 if dtype == "float16" else 3.3e38], dtype=dtype, requires_grad=True)
    with cnnx.detect_anomaly(), pytest.raises(RuntimeError, match="the output of mul has 0 NaN and 1 infinite"):
        x * 2.0


# ---- Optimizers ----------------------------------------------------------------------------------------------------------
@both
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_steps_are_computed_in_float32(name, options, dtype):
    start, *gradients = randoms(4, *[(3, 5)] * 4)
    p = narrow(start, dtype).requires_grad_()
    optimizer = getattr(cnnx.optim, name)([p], **options)
    q = p.detach().to("float32").requires_grad_()
    wide = getattr(cnnx.optim, name)([q], **options)
    for gradient in gradients:
        p.grad = narrow(gradient, dtype)
        q.grad = p.grad.to("float32")
        optimizer.step()
        wide.step()
        q.detach().copy_(q.detach().to(dtype))
        assert p.dtype == dtype
        np.testing.assert_array_equal(values(p), values(q))
    state = optimizer.state_dict()["state"]
    assert {x.dtype for entry in state.values() for key, x in entry.items() if key != "step"} <= {cnnx.float32}
    again = getattr(cnnx.optim, name)([p], **options)
    again.load_state_dict(optimizer.state_dict())
    for step in (optimizer.step, again.step):
        step()


@both
def test_a_step_copies_some_parameters_at_a_time(dtype):
    parameters = [cnnx.Parameter(cnnx.ones(1 << 21, dtype=dtype)) for _ in range(8)]
    for parameter in parameters:
        parameter.grad = cnnx.ones(1 << 21, dtype=dtype)
    optimizer = cnnx.optim.SGD(parameters, lr=0.5)
    before = cnnx.memory.current()
    cnnx.memory.reset_peak()
    optimizer.step()
    assert cnnx.memory.peak() - before <= 2 * 2 * 4 << 21  # two parameters and their gradients in float32
    assert all(parameter.detach().mean().item() == 0.5 for parameter in parameters)


def test_a_step_of_several_dtypes():
    params = [cnnx.ones(3, dtype=dtype, requires_grad=True) for dtype in (*DTYPES, "float32", "float64")]
    optimizer = cnnx.optim.SGD(params, lr=0.5, momentum=0.9)
    for _ in range(2):
        for p in params:
            p.grad = cnnx.ones(3, dtype=p.dtype)
        optimizer.step()
    assert [p.tolist() for p in params[:2]] == [[cnnx.tensor(1 - 0.5 - 0.95, dtype=d).item()] * 3 for d in DTYPES]
    assert [p.dtype.name for p in params] == [*DTYPES, "float32", "float64"]


@both
def test_a_model_keeps_its_optimizer_when_it_becomes_narrow(dtype):
    layer = cnnx.Linear(3, 2)
    optimizer = cnnx.optim.Adam(layer.parameters(), lr=0.1)
    for model in (layer, layer.to(dtype)):
        optimizer.zero_grad()
        model(cnnx.ones(1, 3, dtype=layer.weight.dtype)).sum().backward()
        optimizer.step()
    assert layer.weight.dtype == dtype


@both
def test_clipping_and_scaling_of_gradients(dtype):
    params = [cnnx.zeros(2, dtype=dtype, requires_grad=True), cnnx.zeros(1, requires_grad=True)]
    params[0].grad = cnnx.tensor([3.0, 4.0], dtype=dtype)
    params[1].grad = cnnx.tensor([12.0])
    assert cnnx.optim.clip_grad_norm(params, 1.3).item() == 13
    np.testing.assert_allclose(values(params[0].grad), [0.3, 0.4], rtol=ULP[dtype])
    assert cnnx.optim.clip_grad_norm(params, 100.0, norm_type=float("inf")).item() == pytest.approx(1.2)
    scaler = cnnx.GradScaler(init_scale=4.0)
    optimizer = cnnx.optim.SGD(params, lr=1.0)
    params[0].grad = cnnx.tensor([4.0, 8.0], dtype=dtype)
    scaler.step(optimizer)
    assert params[0].tolist() == [-1, -2]
    scaler.update()
    params[0].grad = cnnx.tensor([4.0, float("inf")], dtype=dtype)
    scaler.step(optimizer)
    scaler.update()
    assert params[0].tolist() == [-1, -2]
    assert scaler.get_scale() == 2


def test_training_in_bfloat16():
    images = np.random.default_rng(0).standard_normal((32, 3, 16, 16)).astype(np.float32)
    x, labels = cnnx.tensor(images, "bfloat16"), cnnx.tensor(images.mean(axis=(1, 2, 3)) > 0).to("int64")
    net = small_net().to("bfloat16")
    optimizer = cnnx.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


# ---- Bad calls -----------------------------------------------------------------------------------------------------------
def test_bad_calls():
    half, brain, wide = (cnnx.ones(1, 2, 4, 4, dtype=d) for d in (*DTYPES, "float32"))
    for call, error, message in (
        (lambda: F.conv2d(half, cnnx.ones(1, 2, 3, 3)), ValueError, r"\[conv2d\] expected weight of dtype float16; got float32"),
        (lambda: F.linear(wide, cnnx.ones(1, 4, dtype="bfloat16")), ValueError, "expected weight of dtype float32; got bfloat16"),
        (lambda: half @ brain, ValueError, "expected both operands of dtype float16; got bfloat16"),
        (lambda: cnnx.concat([half, wide]), ValueError, r"\[concat\] expected all tensors of dtype float16; got float32"),
        (lambda: F.batch_norm(wide, None, None, cnnx.ones(2, dtype="float16"), training=True), ValueError, "expected weight of dtype float32"),
        (lambda: F.batch_norm(half, None, None, cnnx.ones(2, dtype="float64"), training=True), ValueError, "expected weight of dtype float16; got float64"),
        (lambda: cnnx.tensor([1.0], dtype="float8"), ValueError, '"float16", "bfloat16"'),
        (lambda: cnnx.testing.gradcheck(lambda x: x, half.requires_grad_()), ValueError, "must be float64 leaves; got float16"),
        (lambda: half.backward(cnnx.ones(1, 2, 4, 4)), ValueError, "expected the gradient of dtype float16; got float32"),
        (lambda: setattr(half, "grad", wide), ValueError, "expected the gradient of dtype float16"),
        (lambda: wide[half], IndexError, "expected"),
    ):  # fmt: skip
        with pytest.raises((error, TypeError), match=message):
            call()
