"""Every operation on tensors of 16 bits against the same in float32, rounded: the cases of test_half and test_cuda_half."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from helpers import randoms

import cnnx
import cnnx.functional as F

DTYPES = ["float16", "bfloat16"]
ULP = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
LEAST = {"float16": 2.0**-24, "bfloat16": 2.0**-126}  # that is not flushed to zero

Op = Callable[..., cnnx.Tensor]
X = (2, 4, 9, 7)


def labels(x: cnnx.Tensor) -> cnnx.Tensor:
    return cnnx.tensor([i % x.shape[1] for i in range(x.shape[0])], device=x.device)


def running(x: cnnx.Tensor) -> tuple[cnnx.Tensor, cnnx.Tensor]:
    channels = x.shape[1]
    values = cnnx.arange(channels).to("float32") / 8.0
    return values.to(x.dtype).to(x.device), (values + 0.5).to(x.dtype).to(x.device)


def updated_statistics(x: cnnx.Tensor) -> cnnx.Tensor:
    """All that batch and instance normalization write."""
    parts = []
    for norm in (F.batch_norm, F.instance_norm):
        mean, var = running(x)
        norm(x, mean, var, **({"training": True} if norm is F.batch_norm else {"use_input_stats": True}))
        parts += [mean, var]
    return cnnx.concat(parts)


def written(x: cnnx.Tensor, y: cnnx.Tensor) -> cnnx.Tensor:
    z = x * 1.0
    z[1:, 2] = y
    return z


CASES: dict[str, tuple[Op, Sequence[tuple[int, ...]]]] = {
    "neg": (lambda x: -x, [X]),
    "exp": (cnnx.exp, [X]),
    "log": (lambda x: abs(x).log(), [X]),
    "sqrt": (lambda x: abs(x).sqrt(), [X]),
    "abs": (abs, [X]),
    "clip": (lambda x: x.clip(-0.5, 0.5), [X]),
    "relu": (F.relu, [X]),
    "leaky_relu": (F.leaky_relu, [X]),
    "sigmoid": (F.sigmoid, [X]),
    "tanh": (F.tanh, [X]),
    "gelu": (F.gelu, [X]),
    "silu": (F.silu, [X]),
    "softmax": (lambda x: F.softmax(x, 1), [X]),
    "log_softmax": (F.log_softmax, [X]),
    "add": (lambda a, b: a + b, [X, (4, 1, 7)]),
    "sub": (lambda a, b: a - b, [X, X]),
    "mul": (lambda a, b: a * b, [X, (7,)]),
    "square": (lambda x: x * x, [X]),
    "div": (lambda a, b: a / (abs(b) + 0.5), [X, (9, 7)]),
    "pow": (lambda a, b: (abs(a) + 0.5) ** b, [X, X]),
    "numbers": (lambda x: 1 - x * 3, [X]),
    "sum": (lambda x: x.sum((0, 2)), [X]),
    "mean": (lambda x: x.mean(), [X]),
    "max": (lambda x: x.max(1), [X]),
    "min": (lambda x: x.min((2, 3), keepdim=True), [X]),
    "concat": (lambda a, b: cnnx.concat([a, b, a], 1), [X, (2, 3, 9, 7)]),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 1), value=0.5), [X]),
    "reflect": (lambda x: F.pad(x, (1, 2, 0, 1), "reflect"), [X]),
    "reshape": (lambda x: x.reshape(8, -1).transpose(0, 1), [X]),
    "index": (lambda x: x[:, 1:, ..., ::2], [X]),
    "rows": (lambda x: x[cnnx.tensor([1, 0, 1, 1])], [X]),
    "mask": (lambda x: x[x > 0.25], [X]),
    "written": (written, [X, (1, 9, 7)]),
    "clone": (lambda x: x.clone(), [X]),
    "upsample": (lambda x: F.upsample(x, scale_factor=2, mode="bilinear"), [X]),
    "matmul": (lambda a, b: a @ b, [(2, 5, 6), (6, 3)]),
    "vectors": (lambda a, b: a @ b, [(6,), (6,)]),
    "linear": (F.linear, [(5, 6), (3, 6), (3,)]),
    "wide linear": (F.linear, [(2, 300), (900, 300)]),  # whose weight's gradient is left a product
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), [X, (6, 4, 3, 3), (6,)]),
    "grouped conv2d": (lambda x, w: F.conv2d(x, w, padding=1, groups=4), [X, (8, 1, 3, 3)]),
    "conv_transpose2d": (lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2), [X, (4, 3, 2, 2), (3,)]),
    "locally_connected2d": (F.locally_connected2d, [(2, 2, 4, 3), (2, 2, 3, 2, 3, 2), (3, 2, 2)]),
    "im2col": (lambda x: F.im2col(x, 3, padding=1), [X]),
    "col2im": (lambda x: F.col2im(x, (4, 4), 2, stride=2), [(2, 8, 4)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), [X]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), [X]),
    "lp_pool2d": (lambda x: F.lp_pool2d(x, 2, 2), [X]),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, 2), [X]),
    "adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, 2), [X]),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, *running(x), w, b, training=True), [X, (4,), (4,)]),
    "batch_norm in evaluation": (lambda x, w, b: F.batch_norm(x, *running(x), w, b), [X, (4,), (4,)]),
    "statistics": (lambda x: updated_statistics(x) + 0 * x.sum(), [X]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [X, (4,), (4,)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (7,), w, b), [X, (7,), (7,)]),
    "instance_norm": (lambda x: F.instance_norm(x), [X]),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3), [X]),
    "cross_entropy": (lambda x, w: F.cross_entropy(x, labels(x), w.detach().abs()), [(6, 5), (5,)]),
    "cross_entropy of items": (lambda x: F.cross_entropy(x, labels(x), reduction="none"), [(6, 5)]),
    "svm_loss": (lambda x: F.svm_loss(x, labels(x)), [(6, 5)]),
    "multi_margin_loss": (lambda x: F.multi_margin_loss(x, labels(x), p=2), [(6, 5)]),
    "mse_loss": (F.mse_loss, [X, X]),
}


def narrow(array: np.ndarray, dtype: str) -> cnnx.Tensor:
    return cnnx.tensor(array.astype(np.float32), dtype=dtype)


def values(x: cnnx.Tensor) -> np.ndarray:
    return x.detach().to("float32").numpy()


def close(got: cnnx.Tensor, expected: cnnx.Tensor, dtype: str, ulps: float) -> None:
    want = values(expected)
    scale = max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(values(got), want, rtol=ulps * ULP[dtype], atol=ulps * ULP[dtype] * scale / 4)


def check_against_float32(name: str, dtype: str, device: str = "cpu") -> None:
    """Outputs are those of float32, rounded once; gradients too, but for the rounding of what is saved."""
    fn, shapes = CASES[name]
    inputs = [narrow(a, dtype).to(device) for a in randoms(len(name), *shapes)]
    results = []
    for computed_in in (dtype, "float32"):
        leaves = [x.to(computed_in).detach().requires_grad_() for x in inputs]
        y = fn(*leaves)
        assert y.dtype == computed_in
        weights = narrow(randoms(99, y.shape)[0], dtype).to(device).to(computed_in)
        y.backward(weights)
        for leaf in leaves:
            assert leaf.grad is None or leaf.grad.dtype == computed_in
        results.append((y, [leaf.grad for leaf in leaves]))
    (y, grads), (wide_y, wide_grads) = results
    is_composite = name in ("numbers", "div", "pow", "statistics", "batch_norm")
    other_sums = device == "cuda" and len(shapes) > 1  # products of 16 bits have kernels of their own
    close(y, wide_y.to(dtype), dtype, 4 if is_composite else 2 if other_sums else 0)
    for grad, wide_grad in zip(grads, wide_grads, strict=True):
        assert (grad is None) == (wide_grad is None)
        if grad is not None:
            close(grad, wide_grad, dtype, 8 if is_composite else 4)
