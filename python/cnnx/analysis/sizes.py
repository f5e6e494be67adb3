"""A linter for the sizes of a convnet: the rules of thumb of the CS231n notes, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .._core import Module
from ._trace import Call, trace
from .receptive import pads_before, pair

__all__ = ["Finding", "check_sizes"]

_POOLS = {"MaxPool2d", "AvgPool2d", "LPPool2d"}
_LARGEST_POOL = 3
_LARGEST_FILTER = 5
_LARGE_SHARE = 0.5
_AXES = ("height", "width")
_LINES = ("rows", "columns")


@dataclass(frozen=True)
class Finding:
    """A rule that a model does not follow.

    Attributes:
        rule: "input-size", "changed-size", "lost-pixels", "uneven-windows", "skipped-pixels", "large-pool", "large-filter" or
            "linear-parameters".
        path: the layer's dotted name; "" for the model.
        message: what was found.
        reason: why the rule exists.
        suggestion: what to change.

    Example:
        >>> import cnnx
        >>> [finding] = cnnx.analysis.check_sizes(cnnx.Sequential(cnnx.MaxPool2d(5)), (3, 20, 20))
        >>> print(finding)
        large-pool: 0: the pooling window is 5x5. A window larger than 3 throws away too much at once and usually costs accuracy. Use 2x2 with stride 2, or 3x3 with stride 2, more than once.
    """

    rule: str
    path: str
    message: str
    reason: str
    suggestion: str

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.rule}: {self.path + ': ' if self.path else ''}{self.message} {self.reason} {self.suggestion}"


@dataclass(frozen=True)
class _Window:
    """A layer's window along one axis."""

    axis: int
    size: int
    kernel: int
    extent: int
    stride: int
    before: int
    after: int
    output: int

    @property
    def covers(self) -> bool:
        """Whether one window takes the whole input, as a linear layer or global pooling does."""
        return self.output == 1 and self.extent >= self.size

    @property
    def remainder(self) -> int:
        """Padded values behind the last window; negative if the window was allowed to reach beyond them."""
        return self.before + self.size + self.after - ((self.output - 1) * self.stride + self.extent)


def _pads_after(module: Any, before: tuple[int, int]) -> tuple[int, int]:
    padding = module.padding
    if padding == "same":
        kernel, dilation = pair(module.kernel_size), pair(getattr(module, "dilation", 1))
        return (kernel[0] - 1) * dilation[0] - before[0], (kernel[1] - 1) * dilation[1] - before[1]
    if isinstance(padding, tuple) and len(padding) == 4:
        return int(padding[1]), int(padding[3])
    return before


def _windows(call: Call) -> list[_Window]:
    module: Any = call.module
    kernel, dilation = pair(module.kernel_size), pair(getattr(module, "dilation", 1))
    stride = kernel if module.stride is None else pair(module.stride)
    before = pads_before(module) if hasattr(module, "padding") else (0, 0)
    after = _pads_after(module, before) if hasattr(module, "padding") else (0, 0)
    return [
        _Window(
            axis,
            call.input_shape[2 + axis],
            kernel[axis],
            (kernel[axis] - 1) * dilation[axis] + 1,
            stride[axis],
            before[axis],
            after[axis],
            call.output_shape[2 + axis],
        )
        for axis in (0, 1)
    ]


def _both(windows: list[_Window]) -> list[_Window]:
    """Both axes if they differ, else the first for both."""
    h, w = windows
    same = (h.size, h.kernel, h.extent, h.stride, h.before, h.after) == (
        w.size,
        w.kernel,
        w.extent,
        w.stride,
        w.before,
        w.after,
    )
    return [h] if same else windows


def _axis_name(window: _Window, windows: list[_Window]) -> str:
    return "height and width" if len(_both(windows)) == 1 else _AXES[window.axis]


def _input_size(root: Call, strided: list[Call]) -> Iterator[Finding]:
    """The image is divisible by the product of the strides on the way down."""
    for axis in (0, 1):
        size, smallest = root.input_shape[2 + axis], root.input_shape[2 + axis]
        factor, total = 1, 1
        for call in strided:
            window = _windows(call)[axis]
            factor = window.stride
            # branches side by side shrink the image once
            if window.output < smallest and factor > 1 and not window.covers:
                smallest = window.output
                total *= factor
        if total > 1 and size % total:
            below = size // total * total
            close = f"{below} or {below + total}" if below else f"{total}"
            yield Finding(
                "input-size",
                "",
                f"the image's {_AXES[axis]} of {size} is not divisible by {total}, the product of the strides.",
                "A size that can be halved as often as the network halves it, such as 32, 64, 96, 224, 384 or 512, keeps "
                "every layer's windows whole.",
                f"Use {close}.",
            )


def _changed_size(call: Call, windows: list[_Window]) -> Iterator[Finding]:
    for window in _both(windows):
        if window.stride != 1 or window.output == window.size or window.covers:
            continue
        fits = window.extent % 2 == 1
        yield Finding(
            "changed-size",
            call.path,
            f"the {window.kernel}-wide filter with padding {window.before} turns {_axis_name(window, windows)} {window.size} "
            f"into {window.output}.",
            "If convolutions keep the size, only pooling and strides change it: there is less to work out, and the border is "
            "not worn away layer by layer.",
            f"Use padding={(window.extent - 1) // 2}."
            if fits
            else "Use an odd filter size, which can be padded evenly.",
        )


def _lost_pixels(call: Call, windows: list[_Window]) -> Iterator[Finding]:
    for window in _both(windows):
        remainder = window.remainder
        if remainder == 0 or 0 < remainder <= window.stride - window.extent:
            continue  # of a stride beyond the window, what lies behind the last one is skipped as the rest is
        total = window.size - window.extent + window.before + window.after
        start = (
            f"({window.size} - {window.extent} + {window.before + window.after}) / {window.stride} + 1 = "
            f"{total / window.stride + 1:g} is not an integer: "
        )
        lost = min(window.size, remainder - window.after)
        lines = _LINES[window.axis] if len(_both(windows)) == 2 else "rows and columns"
        if remainder < 0:
            what = f"the last window reaches {-remainder} beyond the input."
        elif lost > 0:
            which = f"{window.size - lost} to {window.size - 1}" if lost > 1 else f"{window.size - 1}"
            what = f"{lines} {which} of the input are never read."
        else:
            what = f"of the padding, the last {remainder} of the {lines} is never read: the windows sit off centre."
        step = window.stride
        fitting = [
            size
            for size in range(max(1, window.size - step + 1), window.size + step)
            if (total + size - window.size) % step == 0
        ]
        yield Finding(
            "lost-pixels" if lost > 0 else "uneven-windows",
            call.path,
            start + what,
            "Windows that fit see every pixel and lie evenly over the image.",
            f"Give this layer an input of {' or '.join(str(size) for size in fitting)}, or change its padding.",
        )


def _skipped_pixels(call: Call, windows: list[_Window]) -> Iterator[Finding]:
    for window in _both(windows):
        if window.output > 1 and window.stride > window.kernel and window.extent == window.kernel:
            lines = _LINES[window.axis] if len(_both(windows)) == 2 else "rows and columns"
            yield Finding(
                "skipped-pixels",
                call.path,
                f"stride {window.stride} with a window of {window.kernel} reads {window.kernel} of {window.stride} {lines}.",
                "What lies between the windows is computed and never used.",
                f"Use a window of at least {window.stride}, or average pooling before it.",
            )


def _large_pool(call: Call, windows: list[_Window]) -> Iterator[Finding]:
    largest = max(windows, key=lambda window: window.kernel)
    if largest.kernel > _LARGEST_POOL and not all(window.covers for window in windows):
        yield Finding(
            "large-pool",
            call.path,
            f"the pooling window is {windows[0].kernel}x{windows[1].kernel}.",
            "A window larger than 3 throws away too much at once and usually costs accuracy.",
            "Use 2x2 with stride 2, or 3x3 with stride 2, more than once.",
        )


def _large_filter(call: Call, windows: list[_Window], is_first: bool) -> Iterator[Finding]:
    largest = max(windows, key=lambda window: window.kernel)
    if is_first or largest.kernel <= _LARGEST_FILTER or all(window.covers for window in windows):
        return
    count = (largest.kernel - 1) // 2
    stacked, one = count * 9, windows[0].kernel * windows[1].kernel
    yield Finding(
        "large-filter",
        call.path,
        f"the filter is {windows[0].kernel}x{windows[1].kernel}, and not on the image itself.",
        f"{count} layers of 3x3 see as much with {stacked} weights a pair of channels in place of {one}, and more "
        "nonlinearities between them.",
        f"Use a stack of {count} 3x3 layers.",
    )


def _linear_parameters(layers: list[Call]) -> Iterator[Finding]:
    seen: dict[int, Any] = {}
    linear = total = 0
    for call in layers:
        for parameter in call.module.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen[id(parameter)] = parameter
            total += parameter.numel()
            linear += parameter.numel() if call.type == "Linear" else 0
    if any(call.type == "Conv2d" for call in layers) and total and linear > _LARGE_SHARE * total:
        first = max(
            (call for call in layers if call.type == "Linear"), key=lambda call: math.prod(call.module.weight.shape)
        )
        yield Finding(
            "linear-parameters",
            first.path,
            f"linear layers hold {linear:,} of {total:,} parameters ({linear / total:.0%}).",
            "They are most of what is stored, updated and overfitted, for little of the accuracy.",
            "Put global average pooling before the last linear layer, as GoogLeNet and ResNet do.",
        )


def check_sizes(model: Module, input_shape: Sequence[int] = (3, 224, 224)) -> list[Finding]:
    """Checks the sizes of a convnet against the rules of thumb of the CS231n notes.

    - ``input-size``: the image is divisible by the product of the strides.
    - ``changed-size``: convolutions of stride 1 keep the size: padding (F - 1) / 2.
    - ``lost-pixels``: (W - F + 2P) / S + 1 is an integer; otherwise it says which rows and columns are never read.
    - ``uneven-windows``: the same where nothing but padding is cut off, or windows reach beyond the input.
    - ``skipped-pixels``: a stride is not larger than the window.
    - ``large-pool``: pooling windows are 2 or 3, but for pooling of the whole image.
    - ``large-filter``: filters are 5 at most, but for the first layer and for those that stand for a linear layer.
    - ``linear-parameters``: linear layers do not hold most of the parameters.

    They are advice: AlexNet breaks several. The model runs without values, so a check costs milliseconds.

    Args:
        model: any module that takes one batch of images.
        input_shape: of one image, (channels, height, width).

    Returns:
        What was found, in the order of the layers; an empty list for a model that follows all rules.

    Raises:
        ValueError: if the model does not take such images.

    Example:
        >>> import cnnx
        >>> for finding in cnnx.analysis.check_sizes(cnnx.models.vgg16(), (3, 224, 224)):
        ...     print(finding.rule, finding.path, finding.message)
        linear-parameters classifier.0 linear layers hold 123,642,856 of 138,357,544 parameters (89%).
        >>> net = cnnx.Sequential(cnnx.Conv2d(3, 8, 3, stride=2))
        >>> print(cnnx.analysis.check_sizes(net, (3, 10, 10))[0].message)
        (10 - 3 + 0) / 2 + 1 = 4.5 is not an integer: rows and columns 9 of the input are never read.

    Source: CS231n notes, "Convolutional Neural Networks", section Layer Sizing Patterns.
    """
    root = trace("check_sizes", model, input_shape)
    layers = [call for call in root.walk() if call.is_layer]
    sliding = [call for call in layers if call.type in _POOLS | {"Conv2d"} and len(call.input_shape) == 4]
    findings = list(_input_size(root, sliding)) if len(root.input_shape) == 4 else []
    first = next((call for call in sliding if call.type == "Conv2d"), None)
    for call in sliding:
        windows = _windows(call)
        if call.type == "Conv2d":
            findings += _changed_size(call, windows)
            findings += _large_filter(call, windows, call is first)
        else:
            findings += _large_pool(call, windows)
        findings += _lost_pixels(call, windows)
        findings += _skipped_pixels(call, windows)
    return [*findings, *_linear_parameters(layers)]
