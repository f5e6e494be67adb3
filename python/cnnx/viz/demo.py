"""The notes' animated convolution as one HTML page, with the library's numbers. It needs no matplotlib and no network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from .. import functional as F
from .._arguments import as_integer, check_integer
from .._modes import fit_mode, no_grad
from ._figure import Array
from ._images import as_array

_TEMPLATE = Path(__file__).with_name("conv_demo.html")
_MOST_CELLS, _MOST_OUTPUTS = 2000, 600


def _given(name: str, value: object, ndim: int) -> Array:
    array = as_array("conv_demo", name, value).astype(np.float64)
    if array.ndim == ndim + 1 and array.shape[0] == 1 and name == "input":
        array = array[0]
    if array.ndim != ndim:
        shape = {"input": "(C, H, W)", "weight": "(K, C, R, S)", "bias": "(K,)"}[name]
        raise ValueError(f"[conv_demo] expected {name} of shape {shape}; got {array.shape}.")
    return array


def _pair(name: str, value: object, least: int) -> tuple[int, int]:
    values = [as_integer(each) for each in (value if isinstance(value, tuple | list) else (value, value))]
    h, w = (*values, None, None)[:2]
    if len(values) != 2 or h is None or w is None or min(h, w) < least:
        raise ValueError(
            f"[conv_demo] {name} must be an integer of at least {least}, or (height, width) of such; got {value!r}."
        )
    return h, w


def _check_small(shape: tuple[int, ...], weight_shape: tuple[int, ...], padding: tuple[int, int]) -> None:
    """Before anything of that size is made."""
    channels, height, width = shape
    cells = channels * (height + 2 * padding[0]) * (width + 2 * padding[1]) + math.prod(weight_shape)
    if cells > _MOST_CELLS:
        raise ValueError(
            f"[conv_demo] a page shows at most {_MOST_CELLS} values of padded input and filters; got {cells}. "
            "Take a smaller geometry."
        )


def _convolve(x: Array, weight: Array, bias: Array | None, options: dict[str, tuple[int, int]]) -> Array:
    tensors = [_core.tensor(np.ascontiguousarray(a)) if a is not None else None for a in (x[np.newaxis], weight, bias)]
    result: Array = F.conv2d(*tensors, **options).numpy()[0]  # type: ignore[arg-type]
    return result


def _numbers(array: Array) -> Any:
    """Nested lists, whole numbers as integers."""
    if array.ndim:
        return [_numbers(part) for part in array]
    return int(array) if array == np.floor(array) and abs(array) < 2**53 else float(array)


def _operands(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], pads: tuple[int, int], values: dict[str, object], seed: int
) -> tuple[Array, Array, Array]:
    """Input, weight and bias: the caller's values, or random integers where there are none."""
    x = None if values["input"] is None else _given("input", values["input"], 3)
    w = None if values["weight"] is None else _given("weight", values["weight"], 4)
    weight_shape = w.shape if w is not None else weight_shape
    shape = x.shape if x is not None else (weight_shape[1], *shape[1:])
    weight_shape = (weight_shape[0], shape[0], *weight_shape[2:]) if w is None else weight_shape
    _check_small(shape, weight_shape, pads)
    random = np.random.default_rng(seed)
    x = _random(random, 0, 2, shape) if x is None else x
    w = _random(random, -1, 1, weight_shape) if w is None else w
    b = _random(random, 0, 1, weight_shape[:1]) if values["bias"] is None else _given("bias", values["bias"], 1)
    return x, w, b


def _page(x: Array, w: Array, b: Array, outputs: Array, partial: Array, options: dict[str, tuple[int, int]]) -> str:
    """The HTML page with its numbers."""
    vertical, horizontal = options["padding"]
    arrays = {
        "padded": np.pad(x, ((0, 0), (vertical,) * 2, (horizontal,) * 2)),
        **{"weight": w, "bias": b, "output": outputs, "partial": partial},
    }
    data = {name: _numbers(array) for name, array in arrays.items()} | options
    page = _TEMPLATE.read_text(encoding="utf-8")
    for name, text in (
        ("@INPUT@", _volume(x.shape)),
        ("@OUTPUT@", _volume(outputs.shape)),
        ("@GEOMETRY@", _geometry(x, w, outputs, options)),
        ("@DATA@", json.dumps(data, allow_nan=False, separators=(",", ":"))),
    ):
        page = page.replace(name, text)
    return page


def conv_demo(
    path: str | Path,
    input_size: int | tuple[int, int] = 5,
    channels: int = 3,
    filters: int = 2,
    kernel_size: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 2,
    padding: int | tuple[int, int] = 1,
    dilation: int | tuple[int, int] = 1,
    *,
    input: object = None,
    weight: object = None,
    bias: object = None,
    seed: int = 0,
) -> Path:
    """Writes the notes' animated demo of a convolution as one HTML file, for any small geometry.

    The page shows the padded input, the filters and the output with a window that moves over the input, and the sum behind
    each output value: play, pause, step, or point at an output value, with mouse or keyboard. All numbers are computed by
    :func:`cnnx.functional.conv2d` in float64. The defaults are the notes' geometry, with small random integers.

    Args:
        path: the file to write; it needs no network to be shown.
        input_size: height and width of the input.
        channels: of the input.
        filters: how many, the channels of the output.
        kernel_size: of the filters.
        stride: by which the window moves.
        padding: zeros around the input.
        dilation: distance between the pixels that neighbouring weights read.
        input: values (C, H, W) in place of random ones; input_size and channels are theirs then.
        weight: values (K, C, R, S); filters, channels and kernel_size are theirs then.
        bias: values (K,).
        seed: of the random values.

    Shape:
        Output (filters, OH, OW), OH = floor((H + 2 * padding - dilation * (R - 1) - 1) / stride) + 1, OW likewise.

    Returns:
        The path.

    Raises:
        ValueError: for a geometry that conv2d refuses, or one that is too large for a page.

    Example:
        >>> import tempfile
        >>> import cnnx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = cnnx.viz.conv_demo(folder + "/demo.html").read_text(encoding="utf-8")
        >>> "5x5x3" in page and "3x3x2" in page
        True

    Source: CS231n notes, "Convolutional Neural Networks", the convolution demo.
    """
    shape = (check_integer("conv_demo", "channels", channels), *_pair("input_size", input_size, 1))
    weight_shape = (check_integer("conv_demo", "filters", filters), shape[0], *_pair("kernel_size", kernel_size, 1))
    options = {
        "stride": _pair("stride", stride, 1),
        "padding": _pair("padding", padding, 0),
        "dilation": _pair("dilation", dilation, 1),
    }
    seed = check_integer("conv_demo", "seed", seed, 0, 2**64 - 1)
    values = {"input": input, "weight": weight, "bias": bias}
    x, w, b = _operands(shape, weight_shape, options["padding"], values, seed)
    with no_grad(), fit_mode("floor"):
        outputs = _convolve(x, w, b, options)
        if outputs.size > _MOST_OUTPUTS:
            raise ValueError(
                f"[conv_demo] a page shows at most {_MOST_OUTPUTS} output values; got {outputs.size}. Take a larger stride."
            )
        partial = np.stack([_convolve(x[c : c + 1], w[:, c : c + 1], None, options) for c in range(len(x))])
    if not (np.isfinite(outputs).all() and np.isfinite(partial).all()):
        raise ValueError("[conv_demo] sums must be finite; got infinity. Take smaller values.")
    target = Path(path)
    target.write_text(_page(x, w, b, outputs, partial, options), encoding="utf-8")
    return target


def _random(random: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> Array:
    return random.integers(low, high, shape, endpoint=True).astype(np.float64)


def _volume(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}x{shape[1]}x{shape[0]}"


def _axis(size: int, kernel: int, stride: int, padding: int, dilation: int, count: int) -> str:
    span = f"{kernel}" if dilation == 1 else f"({dilation}*({kernel} - 1) + 1)"
    whole = (size - dilation * (kernel - 1) - 1 + 2 * padding) % stride == 0
    formula = f"({size} - {span} + 2*{padding})/{stride} + 1"
    return f"{formula} = {count}" if whole else f"floor({formula}) = {count}"


def _geometry(x: Array, w: Array, outputs: Array, options: dict[str, tuple[int, int]]) -> str:
    """The notes' formula with this demo's numbers."""
    stride, padding, dilation = options.values()
    axes = [
        _axis(x.shape[i + 1], w.shape[i + 2], stride[i], padding[i], dilation[i], outputs.shape[i + 1]) for i in (0, 1)
    ]
    names = (("K", w.shape[:1]), ("F", w.shape[2:]), ("S", stride), ("P", padding))
    shown = [f"{name} = {values[0] if len(set(values)) == 1 else values}" for name, values in names]
    if dilation != (1, 1):
        shown.append(f"dilation = {dilation[0] if dilation[0] == dilation[1] else dilation}")
    sizes = f"width = height = {axes[0]}" if axes[0] == axes[1] else f"height = {axes[0]}, width = {axes[1]}"
    return f"{', '.join(shown)}; output {sizes}"
