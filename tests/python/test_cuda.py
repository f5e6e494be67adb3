"""CUDA: every operation gives on a GPU what it gives on the CPU, values and gradients.

Without a GPU all is skipped. The library that tests/cuda_host builds stands in for one:
CNNX_CUDA_LIBRARY=.../libcnnx_cuda_host.so, and CNNX_CUDA_HOST_GUARD=1 to catch host code that reads device memory.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers import assert_close, needs_cuda, randoms

import cnnx
import cnnx.functional as F


def on_both(fn: Callable[..., cnnx.Tensor], arrays: list[np.ndarray], dtype: str, scale: float = 1.0) -> None:
    """Runs fn on the CPU and on the GPU: outputs and all gradients must agree."""
    results = []
    for device in ("cpu", "cuda"):
        inputs = [cnnx.tensor(a, dtype=dtype).to(device).requires_grad_() for a in arrays]
        y = fn(*inputs)
        assert y.device == device
        (weights,) = randoms(99, y.shape)
        y.backward(cnnx.tensor(weights, dtype=dtype, device=device))
        results.append([y, *(x.grad for x in inputs)])
    for ours, other in zip(*results, strict=True):
        assert (ours is None) == (other is None)
        if ours is not None:
            assert_close(other, ours, dtype, scale)


UNARY: dict[str, Callable[[cnnx.Tensor], cnnx.Tensor]] = {
    "neg": lambda x: -x,
    "exp": cnnx.exp,
    "log": lambda x: (x * x + 0.5).log(),
    "sqrt": lambda x: (x * x + 0.5).sqrt(),
    "abs": abs,
    "clip": lambda x: x.clip(-0.5, 0.5),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


@needs_cuda
@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(1,), (7, 5, 3), (1030,)])
def test_unary(name, shape, dtype):
    on_both(UNARY[name], randoms(1, shape), dtype)


BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (b * b + 0.5),
    "pow": lambda a, b: (a * a + 0.5) ** b,
    "numbers": lambda a, b: 2.0 * a + b / 3.0 - 1.0,
}


@needs_cuda
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((2, 3, 4), (3, 1)), ((5, 1, 7), (1, 6, 1)), ((), (4,))], ids=str)
def test_binary_with_broadcasting(name, shapes, dtype):
    on_both(BINARY[name], randoms(2, *shapes), dtype, 5)


@needs_cuda
def test_integers_comparisons_and_dtypes():
    a, b = np.array([[3, -7, 2**62], [0, 5, -1]]), np.array([2, 3, 4])
    x, y = cnnx.tensor(a, device="cuda"), cnnx.tensor(b, device="cuda")
    for fn in (
        lambda u, v: u + v,
        lambda u, v: u - v,
        lambda u, v: u * v,
        lambda u, v: u**v,
        lambda u, v: u == v,
        lambda u, v: u < v,
        lambda u, v: u >= v,
    ):
        np.testing.assert_array_equal(np.asarray(fn(x, y)), fn(a, b))
    values = cnnx.tensor([1.7, -2.5, float("nan"), 1e30], device="cuda")
    np.testing.assert_array_equal(np.asarray(values.to("int64")), np.asarray(values.to("cpu").to("int64")))
    large = cnnx.tensor([-(2**53) - 1, -3, 0, 2**53 + 1])
    for fn in (operator.neg, abs, F.relu, lambda x: x.clip(-2, 2**53)):
        assert fn(large.to("cuda")).tolist() == fn(large).tolist()
    assert cnnx.full((2,), 2**53 + 1, device="cuda").tolist() == [2**53 + 1] * 2
    assert np.asarray(values.to("bool")).all()
    assert values.to("float64").dtype == "float64"


@needs_cuda
@pytest.mark.parametrize(
    "shape", [(1,), (33,), (9000,), (3, 9000), (7, 5, 3), (2, 300, 5), (2, 5000, 40), (0, 3)], ids=str
)
def test_reductions(shape, dtype):
    (array,) = randoms(3, shape)
    for axis in [None, *range(len(shape))]:
        on_both(lambda x, axis=axis: x.sum(axis), [array], dtype, 10)
        if array.size:
            on_both(lambda x, axis=axis: x.max(axis), [array], dtype)
            on_both(lambda x, axis=axis: x.min(axis), [array], dtype)
            x = cnnx.tensor(array, dtype=dtype)
            np.testing.assert_array_equal(np.asarray(x.to("cuda").argmax(axis)), np.asarray(x.argmax(axis)))


@needs_cuda
def test_the_first_of_equal_values_wins_and_nan_over_all():
    rows = np.array([[1.0, 3.0] * 40, [float("nan"), 9.0] * 40, [2.0] * 80])
    rows[1, 0] = 5.0
    for array in (rows, np.ascontiguousarray(rows.T)):
        for axis in (0, 1):
            expected = cnnx.tensor(array).argmax(axis)
            np.testing.assert_array_equal(
                np.asarray(cnnx.tensor(array, device="cuda").argmax(axis)), np.asarray(expected)
            )


@needs_cuda
@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 1, 1), (5, 7, 3), (64, 64, 64), (33, 130, 70), (130, 516, 17), (4, 1000, 500), (65, 128, 4)]
)
def test_products(m, n, k, dtype):
    a, b, w, bias = randoms(4, (m, k), (k, n), (n, k), (n,))
    on_both(lambda x, y: x @ y, [a, b], dtype, 50)
    on_both(F.linear, [a, w, bias], dtype, 50)


@needs_cuda
def test_batched_products(dtype):
    on_both(lambda x, y: x @ y, randoms(5, (3, 2, 5, 4), (2, 4, 6)), dtype, 5)
    on_both(lambda x, y: x @ y, randoms(5, (3, 8, 4), (4, 8)), dtype, 5)


def conv_cases() -> list[dict]:
    """Odd sizes, every combination of small strides, dilations and paddings, groups, and enough for every tile."""
    cases = [
        {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
        for kernel, stride, dilation, padding in itertools.product([1, 2, 3], [1, 2, 3], [1, 2, 3], [0, 1])
    ]
    cases += [
        {"kernel": (5, 2), "stride": (1, 3), "dilation": (2, 1), "padding": (2, 1)},
        {"kernel": (1, 4), "stride": (3, 2), "padding": (0, 3), "batch": 1},
        {"groups": 2, "channels": 6, "filters": 10},
        {"groups": 3, "channels": 3, "filters": 6, "stride": 2},
        {"groups": 8, "channels": 8, "filters": 8, "dilation": 2},
        {"channels": 1, "filters": 6, "kernel": 5},
        {"channels": 3, "filters": 70, "size": (18, 17)},
        {"channels": 16, "filters": 130, "size": (20, 20)},
        {"channels": 130, "filters": 8, "size": (6, 5), "batch": 3},
        {"channels": 4, "filters": 33, "kernel": 1, "padding": 0, "size": (12, 12), "batch": 8},
        {"kernel": 11, "stride": 4, "padding": 2, "size": (27, 31), "channels": 3},
    ]
    return cases


@needs_cuda
@pytest.mark.parametrize("case", conv_cases(), ids=str)
@pytest.mark.parametrize("algorithm", ["auto", "implicit_gemm", "direct"])
def test_conv2d(case, algorithm, dtype):
    channels, groups, kernel = case.get("channels", 4), case.get("groups", 1), case.get("kernel", 3)
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    options = {name: case.get(name, default) for name, default in (("stride", 1), ("dilation", 1), ("padding", 1))}
    size = case.get("size", (9, 11))
    arrays = randoms(
        6,
        (case.get("batch", 2), channels, *size),
        (case.get("filters", 5), channels // groups, *kernel),
        (case.get("filters", 5),),
    )
    cnnx.set_conv_algorithm(algorithm)
    on_both(lambda x, w, b: F.conv2d(x, w, b, groups=groups, **options), arrays, dtype, 50)


@needs_cuda
def test_steps_longer_than_the_image(dtype):
    x, w = randoms(6, (2, 3, 5, 6), (3, 1, 2, 1))
    cnnx.set_conv_algorithm("direct")
    for long in (2**30, 2**31 - 1):
        on_both(lambda x, w, n=long: F.conv2d(x, w, stride=(1, n), dilation=(1, n), groups=3), [x, w], dtype, 10)
        on_both(lambda x, n=long: F.max_pool2d(x, 2, stride=n), [x], dtype)
        on_both(lambda x, n=long: F.avg_pool2d(x, (3, 2), stride=(n, 1)), [x], dtype)
        on_both(lambda x, n=long: F.max_pool2d(x, (1, 2), dilation=(n, 1)), [x], dtype)


@needs_cuda
@pytest.mark.parametrize("size", [*range(1, 10), 1021, 1024, 1027])
def test_lengths_that_fours_do_and_do_not_divide(size, dtype):
    a, b = randoms(21, (size,), (size,))
    on_both(lambda a, b: (a * b - F.silu(a)) * 2.0, [a, b], dtype, 5)
    on_both(lambda a: F.relu(a) + F.gelu(a), [a], dtype, 5)
    (x,) = randoms(22, (3, 2, 1, size))
    if size > 1:
        on_both(lambda x: F.relu(F.batch_norm(x, None, None, training=True)), [x], dtype, 50)


@needs_cuda
@pytest.mark.parametrize("shape", [(2, 4, 0, 3), (0, 4, 3, 3)])
def test_group_norm_without_values(shape):
    x, w, b = (cnnx.ones(*s, device="cuda", requires_grad=True) for s in (shape, (4,), (4,)))
    F.group_norm(x, 2, w, b).sum().backward()
    assert (x.grad.shape, w.grad.tolist(), b.grad.tolist()) == (shape, [0] * 4, [0] * 4)


@needs_cuda
def test_empty_tensors_with_long_axes(dtype):
    (x,) = randoms(6, (0, 1, 2**16, 2**16))
    on_both(lambda x: F.max_pool2d(x, 2) + F.avg_pool2d(x, 2), [x], dtype)
    on_both(lambda x: F.batch_norm(x, *(cnnx.ones(1, dtype=dtype, device=x.device) for _ in range(2))), [x], dtype)


@pytest.fixture(params=[None, "1 KB"])
def limit(request: pytest.FixtureRequest) -> Iterator[str | None]:
    cnnx.memory.set_workspace_limit(request.param)
    yield request.param
    cnnx.memory.set_workspace_limit(None)


@needs_cuda
@pytest.mark.parametrize("size", [(1, 1), (1, 19), (4, 4), (7, 7), (13, 6), (16, 12)], ids=str)
@pytest.mark.parametrize("padding", [1, 2, (2, 1, 1, 2), (5, 1, 1, 4)], ids=str)
def test_winograd(size, padding, limit, dtype):
    """With a limit, a run has four tiles."""
    cnnx.set_conv_algorithm("winograd")
    for batch, channels, filters, groups in ((1, 1, 1, 1), (5, 3, 6, 1), (2, 8, 4, 2)):
        arrays = randoms(6, (batch, channels, *size), (filters, channels // groups, 3, 3), (filters,))
        on_both(lambda x, w, b, groups=groups: F.conv2d(x, w, b, padding=padding, groups=groups), arrays, dtype, 50)


@needs_cuda
@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)], ids=str)
def test_winograd_of_images_without_pixels(size, dtype):
    cnnx.set_conv_algorithm("winograd")
    on_both(lambda x, w, b: F.conv2d(x, w, b, padding=2), randoms(6, (2, 3, *size), (4, 3, 3, 3), (4,)), dtype)
    on_both(lambda x, w, b: F.conv2d(x, w, b), randoms(6, (0, 3, 5, 5), (4, 3, 3, 3), (4,)), dtype)


@needs_cuda
@pytest.mark.parametrize(
    ("batch", "channels", "filters", "size", "limit"),
    [
        (2, 64, 32, 28, "1 KB"),
        (2, 256, 32, 28, None),
        (2, 256, 32, 28, "1 KB"),
        (1, 512, 512, 14, None),
        (16, 32, 32, 56, None),
    ],
    indirect=["limit"],
)
def test_winograd_rounds_little(batch, channels, filters, size, limit):
    """With many channels, the output's sums are long; with many filters, those of the gradient of x; with many
    positions, those of the gradient of w."""
    shapes = (batch, channels, size, size), (filters, channels, 3, 3), (batch, filters, size, size)
    x, w, gy = (a.astype("float32") for a in randoms(11, *shapes))
    found = {}
    for algorithm, device, dtype in (
        ("winograd", "cuda", "float32"),
        ("implicit_gemm", "cuda", "float32"),
        ("auto", "cpu", "float64"),
    ):
        cnnx.set_conv_algorithm(algorithm)
        inputs = [cnnx.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in (x, w)]
        y = F.conv2d(*inputs, padding=1)
        y.backward(cnnx.tensor(gy, dtype=dtype, device=device))
        found[algorithm] = [np.asarray(t) for t in (y.detach(), *(i.grad for i in inputs))]
    for winograd, gemm, exact in zip(*found.values(), strict=True):
        error = winograd - exact
        assert np.linalg.norm(error) < 2e-6 * np.linalg.norm(exact)
        assert np.abs(error).max() < 1e-5 * exact.std()
        assert (winograd != gemm).any()


@needs_cuda
def test_winograd_and_what_follows(limit):
    parts = [cnnx.Conv2d(5, 6, 3, padding=1), cnnx.BatchNorm2d(6), cnnx.ReLU()]
    fused = cnnx.Sequential(*parts).eval()
    (x,) = randoms(12, (3, 5, 9, 8))
    outputs = []
    for algorithm, device in (("implicit_gemm", "cpu"), ("winograd", "cuda")):
        cnnx.set_conv_algorithm(algorithm)
        with cnnx.no_grad():
            outputs.append(fused.to(device)(cnnx.tensor(x, dtype="float32", device=device)))
    assert_close(outputs[1], outputs[0], scale=5)


@needs_cuda
def test_autotune_measures_winograd_too():
    x, w = cnnx.randn(2, 5, 9, 11, device="cuda"), cnnx.randn(6, 5, 3, 3, device="cuda")
    with cnnx.autotune():
        F.conv2d(x, w)
        assert {"winograd", "implicit_gemm"} <= set(cnnx.autotune_choices()[-1]["ms"])
    cnnx.clear_autotune()


@needs_cuda
def test_conv2d_under_a_pinned_algorithm_that_the_gpu_lacks(dtype):
    cnnx.set_conv_algorithm("winograd_2x2")
    on_both(lambda x, w: F.conv2d(x, w, padding=1), randoms(6, (2, 4, 9, 9), (5, 4, 3, 3)), dtype, 20)


@needs_cuda
def test_conv_transpose2d(dtype):
    arrays = randoms(7, (2, 4, 5, 6), (4, 3, 3, 3), (3,))
    on_both(lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1), arrays, dtype, 20)


POOLS = {
    "2x2": lambda f, x: f(x, 2),
    "3x3 s2 p1": lambda f, x: f(x, 3, stride=2, padding=1),
    "overlapping": lambda f, x: f(x, (3, 2), stride=1),
    "ceil": lambda f, x: f(x, 3, stride=2, fit="ceil"),
    "gaps": lambda f, x: f(x, 2, stride=3),
    "large": lambda f, x: f(x, 17, stride=1, padding=8),
}


@needs_cuda
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("fn", [F.max_pool2d, F.avg_pool2d], ids=["max", "avg"])
def test_pooling(fn, name, dtype):
    on_both(lambda x: POOLS[name](fn, x), randoms(8, (2, 3, 11, 14)), dtype)


@needs_cuda
def test_more_pooling(dtype):
    (x,) = randoms(9, (2, 3, 11, 14))
    on_both(lambda x: F.max_pool2d(x, 3, stride=2, padding=1, dilation=2), [x], dtype)
    on_both(lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False), [x], dtype)
    for size in (1, (4, 5), (11, 14), (13, 3)):
        on_both(lambda x, size=size: F.adaptive_avg_pool2d(x, size), [x], dtype)
        on_both(lambda x, size=size: F.adaptive_max_pool2d(x, size), [x], dtype)
    ties = np.zeros((1, 1, 6, 6))
    ties[0, 0, 2, 3] = np.nan
    on_both(lambda x: F.max_pool2d(x, 2), [ties], dtype)


@needs_cuda
@pytest.mark.parametrize("shape", [(4, 10), (3, 1000), (2, 5, 3, 7), (70, 33)], ids=str)
def test_softmax_and_losses(shape, dtype):
    (logits,) = randoms(10, shape)
    rng = np.random.default_rng(0)
    targets = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    weights = np.abs(rng.standard_normal(shape[1])) + 0.1
    for axis in range(len(shape)):
        on_both(lambda x, axis=axis: F.softmax(x, axis), [logits], dtype)
        on_both(lambda x, axis=axis: F.log_softmax(x, axis), [logits], dtype, 5)
    for reduction, smoothing, weighted in itertools.product(["mean", "sum", "none"], [0.0, 0.1], [False, True]):

        def loss(x, reduction=reduction, smoothing=smoothing, weighted=weighted):
            return F.cross_entropy(
                x,
                cnnx.tensor(targets, device=x.device),
                weight=cnnx.tensor(weights, dtype=dtype, device=x.device) if weighted else None,
                ignore_index=1,
                reduction=reduction,
                label_smoothing=smoothing,
            )

        on_both(loss, [logits], dtype, 20)
    on_both(lambda x: F.mse_loss(x, x * 0.5 + 1.0), [logits], dtype, 5)


@needs_cuda
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (2, 5, 70, 60), (300, 2), (3, 1, 1, 7)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(shape, training, dtype):
    channels = shape[1]
    x, weight, bias, mean, var = randoms(11, shape, *[(channels,)] * 4)
    running = {
        device: [cnnx.tensor(mean, dtype=dtype, device=device), cnnx.tensor(var**2, dtype=dtype, device=device)]
        for device in ("cpu", "cuda")
    }

    def norm(x, weight, bias):
        stats = running[x.device.type]
        return F.batch_norm(x, stats[0], stats[1], weight, bias, training=training)

    on_both(norm, [x * 3 + 50, weight, bias], dtype, 200)
    for ours, other in zip(*running.values(), strict=True):
        assert_close(other, ours, dtype, 100)


@needs_cuda
def test_other_normalizations(dtype):
    x, w, b = randoms(15, (3, 6, 7, 8), (6,), (6,))
    on_both(lambda x, w, b: F.group_norm(x, 3, w, b), [x + 20, w, b], dtype, 100)
    on_both(lambda x, w, b: F.layer_norm(x, (8,), w, b), randoms(16, (5, 70, 8), (8,), (8,)), dtype, 20)
    on_both(lambda x: F.layer_norm(x, (7, 8)), [x], dtype, 20)
    on_both(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), [x, w, b], dtype, 20)
    for size, beta in ((3, 0.75), (4, 0.5), (20, 1.0)):
        on_both(lambda x, size=size, beta=beta: F.local_response_norm(x, size, alpha=0.5, beta=beta), [x], dtype, 5)


@needs_cuda
def test_other_operations(dtype):
    (x,) = randoms(17, (2, 3, 11, 9))
    for p in (1.5, 2, 3):
        on_both(lambda x, p=p: F.lp_pool2d(x, p, 3, stride=2), [abs(x) + 0.1], dtype, 10)
    on_both(lambda x: F.lp_pool2d(x, 2, 2), [np.zeros((1, 1, 4, 4))], dtype)
    on_both(lambda x: F.im2col(x, 3, stride=2, padding=1, dilation=2), [x], dtype)
    on_both(lambda x: F.col2im(F.im2col(x, 3, padding=1), (11, 9), 3, padding=1), [x], dtype)
    on_both(lambda x: F.upsample(x, scale_factor=2), [x], dtype)
    on_both(lambda x: F.upsample(x, size=(7, 20), mode="bilinear"), [x], dtype)
    on_both(lambda x: F.pad(x, (2, 3, 1, 4), mode="reflect"), [x], dtype)
    arrays = [x, *randoms(18, (5, 4, 4, 3, 3, 3), (4, 5, 4))]
    on_both(lambda x, w, b: F.locally_connected2d(x, w, b, stride=2), arrays, dtype, 20)
    targets = np.arange(5) % 40
    for squared in (1, 2):
        on_both(
            lambda x, p=squared: F.multi_margin_loss(x, cnnx.tensor(targets, device=x.device), p),
            randoms(19, (5, 40)),
            dtype,
            5,
        )


@needs_cuda
def test_shapes_and_indices(dtype):
    (x,) = randoms(12, (4, 3, 5))
    on_both(lambda x: x.transpose(0, 2), [x], dtype)
    on_both(lambda x: x.reshape(6, 10)[1:5], [x], dtype)
    on_both(lambda x: x[2], [x], dtype)
    on_both(lambda x: x[cnnx.tensor([3, 0, 3, -1])], [x], dtype)
    on_both(lambda x: x[np.array([[3, 0], [0, -1]]), cnnx.tensor([2, 0]).to(x.device)], [x], dtype)
    on_both(lambda x: x[cnnx.tensor(np.arange(12).reshape(4, 3) % 2 == 0)], [x], dtype)
    for key in (np.s_[:, 1], np.s_[..., 1:3], np.s_[::2, None, :, ::-2], np.s_[-1, ..., 0], np.s_[:, 3:]):
        on_both(lambda x, key=key: x[key], [x], dtype)

        def write(x, value, key=key):
            y = x * 2.0
            y[key] = value * 3.0
            return y

        on_both(write, [x, x[key][..., :1]], dtype)
    whole = cnnx.zeros(2, 3, device="cuda")
    whole[:, 1] = cnnx.tensor([1.0, 2.0], dtype="float64")
    whole[whole > 1] = 5
    assert whole.tolist() == [[0, 1, 0], [0, 5, 0]]
    on_both(lambda x: cnnx.concat([x, x * 2.0, x], dim=1), [x], dtype)
    on_both(lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), [x], dtype)
    flags = cnnx.tensor([[True, False, True]], device="cuda").transpose(0, 1)
    np.testing.assert_array_equal(np.asarray(flags), [[True], [False], [True]])


@needs_cuda
def test_random_numbers_are_those_of_the_cpu(dtype):
    for make in (cnnx.rand, cnnx.randn):
        values = []
        for device in ("cpu", "cuda"):
            cnnx.manual_seed(3)
            values.append(make(5, 7, dtype=dtype, device=device))
        assert_close(values[1], values[0], dtype)
    x = np.ones((9, 11))
    outputs = []
    for device in ("cpu", "cuda"):
        cnnx.manual_seed(3)
        outputs.append(F.dropout(cnnx.tensor(x, dtype=dtype, device=device), 0.4, training=True))
    assert_close(outputs[1], outputs[0], dtype)


OPTIMIZERS = {
    "sgd": lambda p: cnnx.optim.SGD(p, lr=0.1),
    "momentum": lambda p: cnnx.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: cnnx.optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: cnnx.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: cnnx.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: cnnx.optim.Adagrad(p, lr=0.1, lr_decay=0.1),
}


@needs_cuda
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, dtype):
    arrays = randoms(13, (20000,), (3, 4), *[(2,)] * 60)
    ends = []
    for device in ("cpu", "cuda"):
        params = [cnnx.tensor(a, dtype=dtype, device=device, requires_grad=True) for a in arrays]
        optimizer = OPTIMIZERS[name](params)
        for _ in range(3):
            optimizer.zero_grad()
            loss = params[0].sum() * 0.1
            for p in params[1:]:
                loss = loss + (p * p).sum()
            loss.backward()
            cnnx.optim.clip_grad_norm(params, 5.0)
            optimizer.step()
        ends.append(params)
    for ours, other in zip(*ends, strict=True):
        assert_close(other.detach(), ours.detach(), dtype, 5)
