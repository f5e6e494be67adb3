"""Checks of gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import _core
from ._core import Tensor

__all__ = ["gradcheck"]


def _numerical_gradient(
    value: Callable[[], float], tensor: Tensor, eps: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Central differences of value() in each element of the tensor."""
    gradient = np.zeros(tensor.shape)
    values = tensor.numpy()  # on the CPU the tensor's own
    elements, flat = values.reshape(-1), gradient.reshape(-1)

    def assign(i: int, element: float) -> None:
        elements[i] = element
        if tensor.device != "cpu":
            tensor.detach().copy_(_core.tensor(values, device=tensor.device))

    for i, original in enumerate(elements.copy()):
        try:
            assign(i, original + eps)
            above = value()
            assign(i, original - eps)
            below = value()
        finally:
            assign(i, original)
        flat[i] = (above - below) / (2 * eps)
    return gradient


def gradcheck(
    fn: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compares the gradients of ``fn`` with central differences.

    The output is weighted with fixed random numbers, so that errors cannot cancel.

    Args:
        fn: takes the inputs and returns one tensor; must give the same result every time.
        inputs: one tensor or several; those that require a gradient must be float64 leaves.
        eps: step of the differences.
        atol: absolute tolerance.
        rtol: relative tolerance.
        raise_exception: raise on a mismatch instead of returning False.

    Returns:
        Whether all gradients agree.

    Raises:
        ValueError: if no input requires a gradient, or one that does is not float64.
        AssertionError: on a mismatch; says where and how large.

    Example:
        >>> import cnnx
        >>> x = cnnx.randn(2, 3, dtype="float64", requires_grad=True)
        >>> cnnx.testing.gradcheck(lambda x: (x * x).sum(), x)
        True
    """
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [i for i, x in enumerate(tensors) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("[gradcheck] no input requires a gradient. Make one with requires_grad=True.")
    for i in checked:
        if tensors[i].dtype != "float64" or not tensors[i].is_leaf:
            raise ValueError(
                f"[gradcheck] inputs that require a gradient must be float64 leaves; got {tensors[i].dtype} in input {i}."
            )
    previous = [tensors[i].grad for i in checked]
    for i in checked:
        tensors[i].grad = None
    try:
        output = fn(*tensors)
        weights = np.random.default_rng(0).uniform(0.5, 1.5, output.shape)
        output.backward(_core.tensor(weights, dtype="float64", device=output.device))
        found = [None if (grad := tensors[i].grad) is None else grad.numpy().copy() for i in checked]
    finally:
        for i, grad in zip(checked, previous, strict=True):
            tensors[i].grad = grad
    analytical = [np.zeros(tensors[i].shape) if grad is None else grad for i, grad in zip(checked, found, strict=True)]

    def value() -> float:
        return float((np.asarray(fn(*tensors).numpy()) * weights).sum())

    for i, gradient in zip(checked, analytical, strict=True):
        expected = _numerical_gradient(value, tensors[i], eps)
        wrong = ~np.isclose(gradient, expected, atol=atol, rtol=rtol)
        if wrong.any():
            if not raise_exception:
                return False
            at = np.unravel_index(np.argmax(np.where(wrong, np.abs(gradient - expected), -1)), expected.shape)
            place = tuple(int(k) for k in at)
            raise AssertionError(
                f"[gradcheck] the gradient of input {i} is wrong in {int(wrong.sum())} of {wrong.size} places; "
                f"worst at {place}: backward says {gradient[at]:.6g}, differences say {expected[at]:.6g}."
            )
    return True
