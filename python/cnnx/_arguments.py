"""Checks of arguments that functions written in Python share."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

from ._core import Module

_MOST = 2**31 - 1


def describe(value: Any) -> str:
    """What a value is, for the message of a TypeError."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_module(op: str, model: object) -> Module:
    """The module."""
    if not isinstance(model, Module):
        hint = " Call it: it makes one." if isinstance(model, type) and issubclass(model, Module) else ""
        raise TypeError(f"[{op}] expected a Module; got {describe(model)}.{hint}")
    return model


def as_integer(value: Any) -> int | None:
    """The value of an int or of NumPy's integers; None for anything else, booleans included."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_integer(op: str, name: str, value: Any, least: int = 1, most: int = _MOST) -> int:
    """An integer from `least` to `most`."""
    number = as_integer(value)
    if number is None or number < least:
        raise ValueError(f"[{op}] {name} must be an integer of at least {least}; got {value!r}.")
    if number > most:
        raise ValueError(f"[{op}] {name} must be at most {most}; got {value!r}.")
    return number


def check_names(op: str, name: str, value: Any) -> list[str]:
    """Names: a list of strings, or one string."""
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(each, str) for each in names):
        raise TypeError(f"[{op}] {name} must be dotted names; got {value!r}.")
    return names


def check_input_shape(op: str, input_shape: Sequence[int], axes: int | None = None) -> tuple[int, ...]:
    """The shape of one image as a tuple of positive integers; with `axes` = 3 it is (channels, height, width)."""
    try:
        sizes = [as_integer(size) for size in input_shape]
    except TypeError:
        sizes = []
    shape = tuple(size for size in sizes if size is not None and size >= 1)
    if not sizes or len(shape) != len(sizes) or len(shape) != (axes or len(shape)):
        form = "the shape of one image without the batch, such as (3, 224, 224)"
        if axes == 3:
            form = "(channels, height, width), at least 1 each"
        raise ValueError(f"[{op}] input_shape must be {form}; got {input_shape!r}.")
    return shape
