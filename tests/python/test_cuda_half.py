"""16-bit tensors on CUDA, and what autocast makes of them. See test_cuda.py and test_half.py."""

from __future__ import annotations

import half_cases
import numpy as np
import pytest
from half_cases import CASES, DTYPES, ULP, narrow, values
from helpers import needs_cuda, needs_torch, randoms
from test_half import bits_of, float32_patterns, from_bits, small_net

import cnnx
import cnnx.functional as F

pytestmark = needs_cuda
both = pytest.mark.parametrize("dtype", DTYPES)


@both
def test_conversion_gives_the_same_bits_as_on_the_cpu(dtype):
    patterns = from_bits(np.arange(2**16, dtype=np.uint16), dtype)
    there = patterns.to("cuda")
    assert (there.dtype, there.device) == (dtype, "cuda:0")
    np.testing.assert_array_equal(bits_of(there.to("cpu")), bits_of(patterns))
    np.testing.assert_array_equal(there.to("float64").numpy(), values(patterns))
    for other in ("int64", "bool", "float16", "bfloat16"):
        np.testing.assert_array_equal(values(there.to(other).to("cpu")), values(patterns.to(other)))
    wide = cnnx.tensor(float32_patterns(dtype))
    np.testing.assert_array_equal(bits_of(wide.to("cuda").to(dtype).to("cpu")), bits_of(wide.to(dtype)))
    wide = wide.to("float64") * (1 + 1e-12)
    np.testing.assert_array_equal(bits_of(wide.to("cuda").to(dtype).to("cpu")), bits_of(wide.to(dtype)))


@both
@pytest.mark.parametrize("name", CASES)
def test_operation(name, dtype):
    half_cases.check_against_float32(name, dtype, "cuda")


@both
def test_creation(dtype):
    options = {"dtype": dtype, "device": "cuda"}
    assert cnnx.full((3,), 1.5, **options).tolist() == [1.5] * 3
    assert cnnx.arange(4, **options).tolist() == [0, 1, 2, 3]
    assert cnnx.rand(50_000, **options).max().item() < 1
    x = cnnx.ones(2, **options)
    x += 0.5
    x[1] = 3
    assert x.tolist() == [1.5, 3]
    np.testing.assert_array_equal(values(cnnx.randn(9, **options).to("cpu")).shape, (9,))


@needs_torch
@both
def test_a_step_is_that_of_the_cpu(dtype):
    start, gradient = randoms(4, (3, 5), (3, 5))
    results = []
    for device in ("cpu", "cuda"):
        p = narrow(start, dtype).to(device).requires_grad_()
        optimizer = cnnx.optim.Adam([p], lr=0.1)
        for _ in range(3):
            p.grad = narrow(gradient, dtype).to(device)
            cnnx.optim.clip_grad_norm([p], 1.0)
            optimizer.step()
        results.append(values(p.detach().to("cpu")))
    np.testing.assert_allclose(results[1], results[0], rtol=ULP[dtype])


@both
def test_a_captured_step_of_narrow_parameters(dtype):
    results = []
    for captured in (False, True):
        w = narrow(randoms(4, (4, 3))[0], dtype).to("cuda").requires_grad_()
        x = narrow(randoms(5, (8, 3))[0], dtype).to("cuda")
        optimizer = cnnx.optim.Adam([w], lr=0.1)

        def step(x: cnnx.Tensor, w: cnnx.Tensor = w, optimizer: cnnx.optim.Optimizer = optimizer) -> cnnx.Tensor:
            optimizer.zero_grad()
            loss = (F.linear(x, w) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = cnnx.cuda.graph(step) if captured else step
        losses = [run(x).item() for _ in range(6)]
        results.append([losses, w.tolist()])
    assert results[0] == results[1]


# ---- Autocast ------------------------------------------------------------------------------------------------------------
PRODUCTS = {
    "conv2d": (F.conv2d, [(2, 3, 6, 5), (4, 3, 3, 3), (4,)]),
    "conv_transpose2d": (F.conv_transpose2d, [(2, 3, 4, 4), (3, 2, 2, 2), (2,)]),
    "locally_connected2d": (F.locally_connected2d, [(2, 2, 4, 3), (2, 2, 3, 2, 3, 2), (3, 2, 2)]),
    "linear": (F.linear, [(5, 6), (3, 6), (3,)]),
    "matmul": (lambda a, b: a @ b, [(2, 5, 6), (2, 6, 3)]),
}


@both
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_give_16_bits_and_gradients_of_the_inputs_dtypes(name, dtype):
    fn, shapes = PRODUCTS[name]
    leaves = [cnnx.tensor(a, "float32", device="cuda", requires_grad=True) for a in randoms(1, *shapes)]
    leaves[0] = leaves[0].detach().to(dtype).requires_grad_()
    with cnnx.autocast("cuda", dtype):
        y = fn(*leaves)
    assert y.dtype == dtype
    y.sum().backward()
    assert [leaf.grad.dtype.name for leaf in leaves] == [dtype, *["float32"] * (len(leaves) - 1)]
    with cnnx.autocast("cuda", dtype, enabled=False), pytest.raises(ValueError, match=f"of dtype {dtype}; got float32"):
        fn(*leaves)


@both
def test_what_follows_a_product(dtype):
    x = cnnx.randn(4, 6, 5, 5, device="cuda").to(dtype)
    norm, labels = cnnx.BatchNorm2d(6).to("cuda"), cnnx.arange(4).to("cuda")
    weights = cnnx.ones(6, device="cuda")
    same = {
        "relu": F.relu,
        "add": lambda x: x + x,
        "number": lambda x: x * 2.0 + 1,
        "mean": lambda x: x.mean(),
        "max": lambda x: x.max(),
        "pool": lambda x: F.max_pool2d(x, 2),
        "batch_norm": norm,
        "dropout": F.dropout,
        "lrn": lambda x: F.local_response_norm(x, 3),
        "concat": lambda x: cnnx.concat([x, x]),
    }
    wide = {
        "softmax": lambda x: F.softmax(x, 1),
        "log_softmax": F.log_softmax,
        "exp": cnnx.exp,
        "log": lambda x: abs(x).log(),
        "pow": lambda x: x**2,
        "sum": lambda x: x.sum(),
        "group_norm": lambda x: F.group_norm(x, 2, weights, weights),
        "layer_norm": lambda x: F.layer_norm(x, (5,)),
        "cross_entropy": lambda x: F.cross_entropy(x[:, :, 0, 0], labels, weights),
        "svm_loss": lambda x: F.svm_loss(x[:, :, 0, 0], labels),
        "mse_loss": lambda x: F.mse_loss(x, x.to("float32") + 1),
        "mse_loss of two": lambda x: F.mse_loss(x, x),
        "promotion": lambda x: x + x.to("float32"),
        "mixed concat": lambda x: cnnx.concat([x, x.to("float32")]),
    }
    for table, inside in ((same, dtype), (wide, "float32")):
        for name, fn in table.items():
            with cnnx.autocast("cuda", dtype):
                assert fn(x).dtype == inside, name
            if name not in ("mse_loss", "promotion", "mixed concat"):
                assert fn(x).dtype == dtype, name
    with pytest.raises(ValueError, match=r"\[concat\] expected all tensors of dtype"):
        wide["mixed concat"](x)


@both
@pytest.mark.parametrize("training", [True, False])
def test_a_network(dtype, training):
    net = small_net().to("cuda").train(training)
    x = cnnx.tensor(randoms(2, (4, 3, 16, 16))[0], "float32", device="cuda")
    expected = values(net(x).to("cpu"))
    with cnnx.autocast("cuda", dtype):
        y = net(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(values(y.to("cpu")), expected, atol=30 * ULP[dtype] * np.abs(expected).max())
    y.sum().backward()
    assert {p.grad.dtype for p in net.parameters()} == {cnnx.float32}
    with cnnx.no_grad(), cnnx.autocast("cuda", dtype):
        assert net.eval()(x).dtype == dtype


def test_activations_take_half_the_memory():
    layers = [cnnx.Conv2d(8, 8, 3, padding=1), cnnx.BatchNorm2d(8), cnnx.ReLU()]
    net = cnnx.Sequential(
        *layers, cnnx.Conv2d(8, 8, 3, padding=1), cnnx.BatchNorm2d(8), cnnx.ReLU(), cnnx.Conv2d(8, 8, 3)
    ).to("cuda")
    x = cnnx.ones(4, 8, 64, 64, device="cuda")

    def kept() -> int:
        before = cnnx.cuda.memory.current()
        y = net(x)
        assert y.requires_grad
        return cnnx.cuda.memory.current() - before

    full = kept()
    with cnnx.autocast("cuda", "bfloat16"):
        half = kept()
    assert half < 0.55 * full


def test_float64_does_not_mix():
    x, w = cnnx.ones(2, 3, device="cuda", dtype="float64"), cnnx.ones(4, 3, device="cuda")
    with cnnx.autocast("cuda", "bfloat16"):
        assert F.linear(x, w.to("float64")).dtype == "float64"
        with pytest.raises(ValueError, match="expected weight of dtype float64; got float32"):
            F.linear(x, w)
        with pytest.raises(ValueError, match="expected weight of dtype float32; got float64"):
            F.linear(x.to("float32"), w.to("float64"))
        with pytest.raises(ValueError, match="expected a floating-point tensor; got int64"):
            F.linear(x.to("int64"), w)
