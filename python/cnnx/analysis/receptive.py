"""Receptive fields: which pixels of the image a value of a layer depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from .._core import Module
from ._trace import Call, trace

__all__ = ["AxisField", "ReceptiveField", "receptive_field", "receptive_fields"]

_POINTWISE = {
    *("ReLU", "LeakyReLU", "Sigmoid", "Tanh", "SiLU", "GELU", "Identity", "Dropout", "Dropout2d", "BatchNorm2d"),
    *("LocalResponseNorm", "Softmax", "LogSoftmax", "Flatten"),
}
_WINDOWS = {"Conv2d", "LocallyConnected2d", "MaxPool2d", "AvgPool2d", "LPPool2d"}
_WHOLE_IMAGE_STATISTICS = {"GroupNorm", "LayerNorm", "InstanceNorm2d"}
_ADAPTIVE = {"AdaptiveAvgPool2d", "AdaptiveMaxPool2d"}
_PADS = {"ZeroPad2d", "ReflectionPad2d"}


@dataclass(frozen=True)
class AxisField:
    """Along one axis, output i of `count` sees the pixels from start + i * stride to start + i * stride + size - 1."""

    size: int
    stride: Fraction
    start: Fraction
    count: int

    @property
    def center(self) -> Fraction:
        """The middle of the first output's field."""
        return self.start + Fraction(self.size - 1, 2)

    def through(self, kernel: int, stride: int, dilation: int, pad: int, count: int) -> AxisField:
        """Behind a layer that slides a window over these outputs."""
        size = self.size + (kernel - 1) * dilation * self.stride
        return AxisField(_up(size), self.stride * stride, self.start - pad * self.stride, count)

    def through_all(self) -> AxisField:
        """Behind a layer whose outputs see all of these outputs."""
        return self.through(self.count, 1, 1, 0, 1)

    def through_transposed(self, kernel: int, stride: int, dilation: int, pad: int, count: int) -> AxisField:
        """Behind a transposed convolution: output o sees the inputs i with o = i * stride - pad + k * dilation."""
        taps = -(-((kernel - 1) * dilation + 1) // stride)
        size = self.size + (taps - 1) * self.stride
        first = Fraction(pad - (kernel - 1) * dilation, stride)
        return AxisField(_up(size), self.stride / stride, self.start + first * self.stride, count)

    def joined(self, other: AxisField) -> AxisField:
        """Both, at the first output."""
        start = min(self.start, other.start)
        stop = max(self.start + self.size, other.start + other.size)
        return AxisField(_up(stop - start), max(self.stride, other.stride), start, self.count)


def _up(value: Fraction | int) -> int:
    return -(-Fraction(value).numerator // Fraction(value).denominator)


def _number(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


@dataclass(frozen=True)
class ReceptiveField:
    """What a value of a layer sees of the image, height before width.

    Attributes:
        size: rows and columns of the field.
        stride: by how many pixels the fields of neighbouring values lie apart.
        start: the first pixel that the first value sees; negative in the padding.
        center: the middle of the first value's field.
        notes: where the plain rule needed an assumption, or branches do not line up.
    """

    size: tuple[int, int]
    stride: tuple[int | float, int | float]
    start: tuple[int | float, int | float]
    center: tuple[int | float, int | float]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.size[0]}x{self.size[1]} pixels, stride {self.stride[0]}x{self.stride[1]}, "
        text += f"first centre at ({self.center[0]}, {self.center[1]})"
        return text + "".join(f"\nnote: {note}" for note in self.notes)


@dataclass(frozen=True)
class _Field:
    h: AxisField
    w: AxisField
    notes: tuple[str, ...] = ()

    def public(self) -> ReceptiveField:
        def pair(name: str) -> tuple[int | float, int | float]:
            return _number(Fraction(getattr(self.h, name))), _number(Fraction(getattr(self.w, name)))

        return ReceptiveField((self.h.size, self.w.size), pair("stride"), pair("start"), pair("center"), self.notes)

    def noting(self, note: str) -> _Field:
        return self if note in self.notes else replace(self, notes=(*self.notes, note))


def pair(value: Any) -> tuple[int, int]:
    """An integer or (h, w) as (h, w)."""
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def pads_before(module: Any) -> tuple[int, int]:
    """The padding above and left of the image."""
    padding = module.padding
    if padding == "same":
        kernel, dilation = pair(module.kernel_size), pair(getattr(module, "dilation", 1))
        return (kernel[0] - 1) * dilation[0] // 2, (kernel[1] - 1) * dilation[1] // 2
    if padding == "valid":
        return 0, 0
    if isinstance(padding, tuple) and len(padding) == 4:
        return int(padding[0]), int(padding[2])
    return pair(padding)


def _adaptive(axis: AxisField, outputs: int) -> tuple[AxisField, bool]:
    """Windows from floor(i * n / m) to ceil((i + 1) * n / m); and whether they are all alike."""
    n, m = axis.count, outputs
    longest = max(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    size = axis.size + (longest - 1) * axis.stride
    step = 1 if m == 1 else Fraction(n, m)  # as the convolution it would be on a larger image
    return AxisField(_up(size), axis.stride * step, axis.start, m), n % m == 0 or longest == 1


def _layer_field(call: Call, field: _Field) -> _Field | None:
    """Behind a layer that calls no other; None for an unknown kind."""
    module: Any = call.module
    kind = call.type
    shape = call.output_shape
    if kind in _POINTWISE:
        return field
    if kind in _WHOLE_IMAGE_STATISTICS:
        return field.noting(f"the statistics of {call.path or kind} depend on the whole image; they are not counted")
    if kind == "Linear":
        return replace(field, h=field.h.through_all(), w=field.w.through_all()) if len(shape) == 2 else None
    if len(shape) != 4:
        return None
    if kind in _WINDOWS or kind == "ConvTranspose2d":
        kernel, stride = pair(module.kernel_size), module.stride
        stride = kernel if stride is None else pair(stride)
        dilation = pair(getattr(module, "dilation", 1))
        pad = pads_before(module) if hasattr(module, "padding") else (0, 0)
        method = AxisField.through_transposed if kind == "ConvTranspose2d" else AxisField.through
        h = method(field.h, kernel[0], stride[0], dilation[0], pad[0], shape[2])
        return replace(field, h=h, w=method(field.w, kernel[1], stride[1], dilation[1], pad[1], shape[3]))
    if kind in _ADAPTIVE:
        (h, even_h), (w, even_w) = _adaptive(field.h, shape[2]), _adaptive(field.w, shape[3])
        field = replace(field, h=h, w=w)
        if even_h and even_w:
            return field
        return field.noting(f"the windows of {call.path or kind} differ in size; the largest is given")
    if kind in _PADS:
        left, _, top, _ = module.padding if not isinstance(module.padding, int) else (module.padding,) * 4
        h, w = field.h, field.w
        return replace(
            field,
            h=replace(h, start=h.start - top * h.stride, count=shape[2]),
            w=replace(w, start=w.start - left * w.stride, count=shape[3]),
        )
    return None


def _join(path: str, fields: list[_Field]) -> _Field:
    """Of a value computed from several branches."""
    result = fields[0]
    for other in fields[1:]:
        notes = [*result.notes, *(note for note in other.notes if note not in result.notes)]
        for name, a, b in (("rows", result.h, other.h), ("columns", result.w, other.w)):
            if a.stride != b.stride:
                note = f"{path or 'the model'} joins branches of strides {_number(a.stride)} and {_number(b.stride)} along {name}"
            elif a.center != b.center:
                note = f"{path or 'the model'} joins branches whose {name} are centred {_number(abs(a.center - b.center))} pixels apart"
            else:
                continue
            if note not in notes:
                notes.append(note)
        result = _Field(result.h.joined(other.h), result.w.joined(other.w), tuple(notes))
    return result


class _Follower:
    """Carries fields from the image through the calls of a traced model, from tensor to tensor."""

    def __init__(self, op: str, root: Call) -> None:
        self.op = op
        self.known: dict[int, _Field] = {}
        self.of_call: dict[int, _Field] = {}
        shape = root.input_shape
        if len(shape) != 4:
            raise ValueError(f"[{op}] a receptive field needs images (channels, height, width); got {shape[1:]}.")
        h, w = (AxisField(1, Fraction(1), Fraction(0), count) for count in shape[2:])
        self.known[id(root.inputs[0])] = _Field(h, w)
        self.visit(root)

    def incoming(self, call: Call) -> _Field:
        fields = [self.known[id(x)] for x in call.inputs if id(x) in self.known]
        if not fields:
            raise ValueError(
                f"[{self.op}] the input of {call.path or call.type} ({call.type}) comes from no layer, so its field is not "
                "known. Use layers in place of functions in forward()."
            )
        return _join(call.path, fields)

    def visit(self, call: Call) -> None:
        field = self.incoming(call)
        for inner in call.calls:
            self.visit(inner)
        self.of_call[id(call)] = result = self.outgoing(call, field)
        for output in call.outputs:
            self.known.setdefault(id(output), result)

    def outgoing(self, call: Call, field: _Field) -> _Field:
        known = [self.known[id(x)] for x in call.outputs if id(x) in self.known]
        if known:
            return known[0]
        if call.is_layer:
            result = _layer_field(call, field)
        elif call.type == "Concat":
            result = _join(call.path, [self.of_call[id(inner)] for inner in call.calls])
        elif call.type == "Residual":
            is_shortcut = [inner.path.rsplit(".", 1)[-1] == "downsample" for inner in call.calls]
            ends = {on: self.of_call[id(inner)] for inner, on in zip(call.calls, is_shortcut, strict=True)}
            result = _join(call.path, [ends.get(False, field), ends.get(True, field)])
        else:
            result = None
        if result is None:
            raise ValueError(
                f"[{self.op}] the receptive field of {call.path or 'the model'} ({call.type}) is not known: what it does "
                "beside its layers cannot be seen. Use the library's layers, Residual and Concat."
            )
        return result


def follow(op: str, root: Call) -> dict[int, _Field]:
    """The field of every call of a traced model, by id."""
    return _Follower(op, root).of_call


def receptive_field(model: Module, input_shape: Sequence[int] = (3, 224, 224)) -> ReceptiveField:
    """Which pixels of the image one value of the model's output depends on.

    A layer whose window has F values, stride S and dilation D turns a field of size r whose neighbours lie j pixels apart
    into one of r + (F - 1) * D * j pixels, and j into S * j. Branches are joined: the field covers them all. A linear layer
    sees all that is left, as the convolution it is equal to. The statistics of normalization layers are not counted.

    Args:
        model: built of the library's layers; modules written in Python may pass tensors from layer to layer.
        input_shape: of one image, (channels, height, width).

    Returns:
        Size, stride, start and centre of the first value's field, and notes on what does not line up.

    Raises:
        ValueError: if the model applies something that is no layer, or does not take such images.

    Example:
        >>> import cnnx
        >>> three = cnnx.Sequential(*(cnnx.Conv2d(1, 1, 3, padding=1) for _ in range(3)))
        >>> print(cnnx.analysis.receptive_field(three, (1, 32, 32)))
        7x7 pixels, stride 1x1, first centre at (0, 0)
        >>> cnnx.analysis.receptive_field(cnnx.models.resnet18().layer4, (256, 14, 14)).stride
        (2, 2)

    Source: CS231n notes, "Convolutional Neural Networks"; Araujo, Norris and Sim, "Computing Receptive Fields of
    Convolutional Neural Networks" (2019).
    """
    root = trace("receptive_field", model, input_shape)
    return follow("receptive_field", root)[id(root)].public()


def receptive_fields(model: Module, input_shape: Sequence[int] = (3, 224, 224)) -> dict[str, ReceptiveField]:
    """The receptive field of every module, by its dotted name; see :func:`receptive_field`. "" is the model.

    Example:
        >>> import cnnx
        >>> fields = cnnx.analysis.receptive_fields(cnnx.models.vgg16())
        >>> fields["features.30"].size, fields["features.30"].stride
        ((212, 212), (32, 32))
    """
    root = trace("receptive_field", model, input_shape)
    fields = follow("receptive_field", root)
    return {call.path: fields[id(call)].public() for call in root.walk()}
