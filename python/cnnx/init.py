"""Initialisation in place, with torch.nn.init's names and formulas. Every function returns the tensor.

The fans of a weight (outputs, inputs, ...) are its inputs and outputs times the values of a filter.

Example:
    >>> import cnnx
    >>> conv = cnnx.Conv2d(3, 64, 3)
    >>> weight = cnnx.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    >>> weight is conv.weight, round(float(weight.numpy().std()), 2) == round((2 / (64 * 9)) ** 0.5, 2)
    (True, True)
"""

from ._core.init import (
    calculate_gain,
    constant_,
    kaiming_normal_,
    kaiming_uniform_,
    normal_,
    ones_,
    uniform_,
    xavier_normal_,
    xavier_uniform_,
    zeros_,
)

__all__ = [
    "calculate_gain",
    "constant_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]
