"""TF32 and autocast on CUDA: factors are rounded, sums are not, in both directions. See test_cuda.py.

The expected values are those of rounded factors in float64 on the CPU: products of rounded factors are exact in float32,
so that nothing but the order of sums differs, and a factor that was not rounded shows. Autocast's outputs are rounded once
more, to 16 bits; gradients of float32 tensors are not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers import needs_cuda, needs_torch, randoms
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ConvCase, conv_cases
from test_cuda import conv_cases as fixed_cases
from test_cuda_devices import run_with

import cnnx
import cnnx.functional as F

PRECISIONS = ["tf32", "bfloat16", "float16"]


@pytest.fixture(autouse=True)
def _without_tf32() -> Iterator[None]:
    yield
    cnnx.cuda.allow_tf32 = False


def rounded(array: np.ndarray, precision: str) -> np.ndarray:
    """Rounded to the nearest; ties go away from zero in TF32, else to even."""
    array = array.astype(np.float32)
    bits = array.view(np.uint32)
    if precision == "tf32":
        return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)
    if precision == "bfloat16":
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    return array.astype(np.float16 if precision == "float16" else np.float32).astype(np.float32)


class computed_in:
    """The precision's switch for a block."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.autocast = cnnx.autocast("cuda", precision) if precision in ("bfloat16", "float16") else None

    def __enter__(self) -> None:
        if self.autocast:
            self.autocast.__enter__()
        cnnx.cuda.allow_tf32 = self.precision == "tf32"

    def __exit__(self, *exc: object) -> None:
        if self.autocast:
            self.autocast.__exit__(*exc)
        cnnx.cuda.allow_tf32 = False


def values(x: cnnx.Tensor) -> np.ndarray:
    return x.detach().to("float32").numpy()


def check(fn: Callable[..., cnnx.Tensor], arrays: list[np.ndarray], precision: str, factors: int = 2) -> None:
    """fn's output and gradients on the GPU against those of rounded factors; later arrays are not factors."""
    arrays = [a.astype(np.float32) for a in arrays]
    inputs = [cnnx.tensor(a, device="cuda", requires_grad=True) for a in arrays]
    with computed_in(precision):
        y = fn(*inputs)
    (weights,) = randoms(99, y.shape)
    y.backward(cnnx.tensor(weights.astype(np.float32), device="cuda").to(y.dtype))  # outside of the block
    exact = [
        cnnx.tensor((rounded(a, precision) if i < factors else a).astype(np.float64), requires_grad=True)
        for i, a in enumerate(arrays)
    ]
    expected = fn(*exact)
    expected.backward(cnnx.tensor(rounded(weights, precision).astype(np.float64)))
    assert y.dtype == ("float32" if precision == "tf32" else precision)
    want = np.asarray(expected.detach())
    ulp = {"tf32": 0, "bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    scale = max(1.0, np.abs(want).max(initial=0))
    np.testing.assert_allclose(values(y), want, rtol=2e-6 + ulp, atol=4e-6 * scale)
    for a, b in zip(inputs[:2], exact[:2], strict=True):
        assert a.grad.dtype == "float32"
        want = np.asarray(b.grad)
        scale = max(1.0, np.abs(want).max(initial=0))
        np.testing.assert_allclose(np.asarray(a.grad), want, rtol=2e-6, atol=4e-6 * scale)


def test_the_references_rounding():
    values = np.array([1 + 2**-11, 1 + 2**-11 + 2**-20, -1 - 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 3.0, 0.0], np.float32)
    np.testing.assert_array_equal(rounded(values, "tf32")[:3], [1 + 2**-10, 1 + 2**-10, -1 - 2**-10])
    np.testing.assert_array_equal(rounded(values, "bfloat16")[3:5], [1, 1 + 2**-6])
    for precision in PRECISIONS:
        np.testing.assert_array_equal(rounded(values, precision)[5:], [3, 0])


@needs_torch
def test_the_references_rounding_is_pytorchs():
    import torch

    (values,) = randoms(5, (1000,))
    expected = torch.tensor(values.astype(np.float32)).to(torch.bfloat16).to(torch.float32)
    np.testing.assert_array_equal(rounded(values, "bfloat16"), expected.numpy())


MORE_CASES = [
    {"channels": 32, "filters": 64, "size": (8, 8)},
    {"channels": 20, "filters": 130, "size": (13, 11), "kernel": 3, "stride": 2},
    {"channels": 96, "filters": 40, "size": (7, 7), "kernel": 1, "padding": 0, "batch": 3},
    {"channels": 5, "filters": 3, "size": (4, 1), "kernel": (4, 1), "padding": 0},
    {"channels": 4, "filters": 4, "batch": 0},
]


@needs_cuda
@pytest.mark.parametrize("case", [*fixed_cases()[::5], *fixed_cases()[-11:], *MORE_CASES], ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_conv2d(case, precision):
    channels, groups, kernel = case.get("channels", 4), case.get("groups", 1), case.get("kernel", 3)
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    options = {name: case.get(name, default) for name, default in (("stride", 1), ("dilation", 1), ("padding", 1))}
    filters = case.get("filters", 5)
    arrays = randoms(
        6,
        (case.get("batch", 2), channels, *case.get("size", (9, 11))),
        (filters, channels // groups, *kernel),
        (filters,),
    )
    for algorithm in ["implicit_gemm", *["direct"] * (channels == groups), *["winograd"] * (kernel == (3, 3))]:
        cnnx.set_conv_algorithm(algorithm)
        check(lambda x, w, b: F.conv2d(x, w, b, groups=groups, **options), arrays, precision)


@needs_cuda
@settings(max_examples=25)
@given(case=conv_cases(), precision=st.sampled_from(PRECISIONS))
def test_conv2d_of_any_geometry(case: ConvCase, precision: str):
    arrays = randoms(
        7,
        (case.batch, case.in_channels, *case.size),
        (case.out_channels, case.in_channels // case.groups, *case.kernel),
    )
    cnnx.set_conv_algorithm("implicit_gemm")
    check(
        lambda x, w: F.conv2d(
            x, w, stride=case.stride, padding=case.padding, dilation=case.dilation, groups=case.groups
        ),
        arrays,
        precision,
    )


@needs_cuda
@pytest.mark.parametrize("precision", PRECISIONS)
def test_conv_transpose2d(precision):
    arrays = randoms(8, (2, 6, 5, 7), (6, 4, 3, 3), (8,))
    cnnx.set_conv_algorithm("implicit_gemm")
    check(
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2), arrays, precision
    )


@needs_cuda
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 1, 1), (5, 7, 3), (33, 70, 41), (130, 140, 17), (64, 32, 64), (3, 5, 700)], ids=str
)
def test_products(m, n, k, precision):
    a, b, w, bias = randoms(4, (m, k), (k, n), (n, k), (n,))
    check(lambda x, y: x @ y, [a, b], precision)
    check(F.linear, [a, w, bias], precision)
    check(lambda x, y: x @ y, randoms(5, (2, m, k), (2, k, n)), precision)
    check(lambda x, y: x @ y, randoms(5, (m, k), (3, k, n)), precision)


@needs_cuda
def test_products_without_or_with_cublas():
    if os.environ.get("CNNX_CUBLAS_LIBRARY"):
        pytest.skip("this is such a run, or one with a library of its own")
    library = os.environ.get("CNNX_CUDA_LIBRARY", "")
    other = library if "host" in library else "none"  # the host has none but its own
    code = f"import pytest, sys; sys.exit(pytest.main(['-k', 'test_products and not without', {__file__!r}]))"
    assert " passed" in run_with(code, CNNX_CUBLAS_LIBRARY=other)


@needs_cuda
@pytest.mark.parametrize("precision", PRECISIONS)
def test_values_that_do_not_fit(precision):
    x = cnnx.tensor([[float("inf"), 1.0], [float("nan"), 1.0], [1e6, 0.0], [3e-6, 0.0]], device="cuda")
    with computed_in(precision):
        y = values(x @ cnnx.ones(2, 1, device="cuda"))[:, 0]
    assert np.isinf(y[0])
    assert np.isnan(y[1])
    if precision == "float16":
        assert np.isinf(y[2])
        assert y[3] == np.float16(3e-6)  # below the least normal number
    else:
        np.testing.assert_allclose(y[2:], [1e6, 3e-6], rtol=2**-8)


@needs_cuda
def test_the_precision_is_that_of_the_forward_pass():
    a, b = randoms(9, (4, 5), (5, 3))
    plain, expected = [], []
    for precision in ("float32", "bfloat16"):
        inputs = [cnnx.tensor(v.astype(np.float32), device="cuda", requires_grad=True) for v in (a, b)]
        with computed_in(precision):
            y = inputs[0] @ inputs[1]
        with computed_in("float16"):  # the block that backward() happens to be in does not count
            y.sum().backward()
        (plain if precision == "float32" else expected).extend(np.asarray(v.grad) for v in inputs)
    ones = np.ones((4, 3))
    np.testing.assert_allclose(plain[0], ones @ b.astype(np.float32).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(expected[0], ones @ rounded(b, "bfloat16").T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(expected[1], rounded(a, "bfloat16").T @ ones, rtol=1e-6, atol=1e-6)


@needs_cuda
def test_a_checkpointed_module_is_run_again_in_its_precision():
    cnnx.manual_seed(2)
    net = cnnx.Sequential(cnnx.Linear(6, 5), cnnx.Tanh(), cnnx.Linear(5, 4)).to("cuda")
    gradients = []
    for checkpointed in (False, True):
        x = cnnx.tensor(randoms(10, (3, 6))[0].astype(np.float32), device="cuda", requires_grad=True)
        module = cnnx.checkpoint(net) if checkpointed else net
        with cnnx.autocast("cuda", "bfloat16"):
            y = module(x)
        y.sum().backward()
        gradients.append(np.asarray(x.grad))
    np.testing.assert_array_equal(gradients[0], gradients[1])


@needs_cuda
def test_float64_and_the_cpu_are_untouched():
    a, b = randoms(11, (4, 5), (5, 3))
    with cnnx.autocast("cuda", "bfloat16"), computed_in("tf32"):
        np.testing.assert_allclose(
            np.asarray(cnnx.tensor(a, dtype="float64", device="cuda") @ cnnx.tensor(b, dtype="float64", device="cuda")),
            a @ b,
            rtol=1e-12,
        )
        x, y = cnnx.tensor(a, dtype="float32"), cnnx.tensor(b, dtype="float32")
        np.testing.assert_allclose(np.asarray(x @ y), a @ b, rtol=1e-5, atol=1e-6)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return values(cnnx.tensor(a, device="cuda") @ cnnx.tensor(b, device="cuda"))


@needs_cuda
def test_autocast_nests_ends_and_decorates():
    a, b = (v.astype(np.float32) for v in randoms(12, (4, 50), (50, 3)))
    results = {p: rounded(a, p).astype(np.float64) @ rounded(b, p) for p in [*PRECISIONS, "float32"]}

    def check_now(precision: str) -> None:
        ulp = {"bfloat16": 2.0**-8, "float16": 2.0**-11}.get(precision, 0)
        np.testing.assert_allclose(product(a, b), results[precision], rtol=2e-6 + ulp, atol=2e-6)

    check_now("float32")
    outer = cnnx.autocast("cuda", "bfloat16")
    with outer:
        check_now("bfloat16")
        with cnnx.autocast("cuda"):
            check_now("float16")
            with cnnx.autocast("cuda", enabled=False), outer:
                check_now("bfloat16")
        with cnnx.autocast("cuda", "bfloat16", enabled=False):
            check_now("float32")
            cnnx.cuda.allow_tf32 = True
            check_now("tf32")
        check_now("bfloat16")
    check_now("tf32")
    cnnx.cuda.allow_tf32 = False
    cnnx.autocast("cuda", "float16")(check_now)("float16")
    with pytest.raises(KeyError), cnnx.autocast("cuda", "float16"):
        raise KeyError
    check_now("float32")


@needs_cuda
def test_autocast_is_of_its_thread():
    a, b = (v.astype(np.float32) for v in randoms(13, (4, 50), (50, 3)))
    found: list[np.ndarray] = []
    with cnnx.autocast("cuda", "bfloat16"):
        thread = threading.Thread(target=lambda: found.append(product(a, b)))
        thread.start()
        thread.join()
        mine = product(a, b)
    np.testing.assert_allclose(found[0], a.astype(np.float64) @ b, rtol=2e-6, atol=2e-6)
    assert np.abs(mine - found[0]).max() > 1e-4


def test_switches():
    assert cnnx.cuda.allow_tf32 is False
    cnnx.cuda.allow_tf32 = True
    assert cnnx.cuda.allow_tf32 is True


@needs_cuda
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_training_in_16_bits(precision):
    images = np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype(np.float32)
    labels = cnnx.tensor(images.mean(axis=(1, 2, 3)) > 0, device="cuda").to("int64")
    x = cnnx.tensor(images, device="cuda")
    cnnx.manual_seed(1)
    net = cnnx.Sequential(
        cnnx.Conv2d(3, 16, 3, padding=1), cnnx.BatchNorm2d(16), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(1024, 2)
    ).to("cuda")
    optimizer = cnnx.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    scaler = cnnx.GradScaler(enabled=precision == "float16")
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        with cnnx.autocast("cuda", precision):
            loss = F.cross_entropy(net(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
