"""Receptive fields: which pixels of the image a value of a layer depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any

from .._arguments import check_integer
from .._core import Module
from ._axis import AxisField, IrregularError, adaptive, resampled, sliding, transposed
from ._trace import Call, trace

__all__ = ["ReceptiveField", "receptive_field", "receptive_fields"]

_POINTWISE = {
    *("ReLU", "LeakyReLU", "Sigmoid", "Tanh", "SiLU", "GELU", "Identity", "Dropout", "Dropout2d", "BatchNorm2d"),
    *("LocalResponseNorm", "Softmax", "LogSoftmax", "Flatten"),
}
_WINDOWS = {"Conv2d", "LocallyConnected2d", "MaxPool2d", "AvgPool2d", "LPPool2d"}
_WHOLE_IMAGE_STATISTICS = {"GroupNorm", "LayerNorm", "InstanceNorm2d"}
_ADAPTIVE = {"AdaptiveAvgPool2d", "AdaptiveMaxPool2d"}
_PADS = {"ZeroPad2d", "ReflectionPad2d"}


def _number(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


@dataclass(frozen=True)
class ReceptiveField:
    """What a value of a layer sees of the image, height before width.

    Attributes:
        size: rows and columns of the field; of the largest, where upsampling makes neighbours see different numbers of pixels.
        stride: by how many pixels the fields of neighbouring values lie apart.
        start: the first pixel that the first value sees; negative in the padding.
        center: the middle of the first value's field. Where upsampling gives neighbours the same field, and their middles so
            lie unevenly, it is such that center + i * stride is off as little as possible.
        notes: where the plain rule needed an assumption, or branches do not line up.
    """

    size: tuple[int, int]
    stride: tuple[int | float, int | float]
    start: tuple[int | float, int | float]
    center: tuple[int | float, int | float]
    notes: tuple[str, ...] = ()
    _axes: tuple[AxisField, ...] = field(default=(), repr=False, compare=False)

    def pixels(self, row: int, column: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first and last row, and the first and last column, that the value at (row, column) sees.

        What lies outside of the image is padding. A value that sees nothing, as a transposed convolution whose stride is
        larger than its filter makes them, has a last row or column before the first.

        Args:
            row: of the value in the layer's output.
            column: likewise.

        Returns:
            Two pairs, each of the first and the last.

        Raises:
            ValueError: for a value that the output does not have.

        Example:
            >>> import cnnx
            >>> up = cnnx.Sequential(cnnx.Conv2d(1, 1, 3, padding=1), cnnx.Upsample(scale_factor=2, mode="bilinear"))
            >>> field = cnnx.analysis.receptive_field(up, (1, 16, 16))
            >>> field.size, field.stride, field.pixels(8, 9)
            ((4, 4), (0.5, 0.5), ((2, 5), (3, 6)))
        """
        h, w = self._axes
        row = check_integer("receptive_field", "row", row, 0, h.count - 1)
        return h.pixels(row), w.pixels(check_integer("receptive_field", "column", column, 0, w.count - 1))

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {each.name: getattr(self, each.name) for each in fields(self) if not each.name.startswith("_")}

    def __str__(self) -> str:
        text = f"{self.size[0]}x{self.size[1]} pixels, stride {self.stride[0]}x{self.stride[1]}, "
        text += f"first centre at ({self.center[0]}, {self.center[1]})"
        return text + "".join(f"\nnote: {note}" for note in self.notes)


@dataclass(frozen=True)
class _Field:
    h: AxisField
    w: AxisField
    notes: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[AxisField, AxisField]:
        return self.h, self.w

    def public(self) -> ReceptiveField:
        def pair(values: list[Fraction]) -> tuple[int | float, int | float]:
            return _number(values[0]), _number(values[1])

        return ReceptiveField(
            (max(self.h.sizes), max(self.w.sizes)),
            pair([axis.stride for axis in self.axes]),
            (self.h.first[0], self.w.first[0]),
            pair([axis.center for axis in self.axes]),
            self.notes,
            self.axes,
        )

    @property
    def is_even(self) -> bool:
        """Whether all values see as many pixels."""
        return all(len(set(axis.sizes)) == 1 for axis in self.axes)

    def through(self, place: str, h: AxisField, w: AxisField) -> _Field:
        """Behind a layer."""
        behind = replace(self, h=self.h.through(h), w=self.w.through(w))
        if behind.is_even or not self.is_even:
            return behind
        return behind.noting(f"fields behind {place} differ in size; the largest is given")

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


def _upsampling(module: Any, inputs: int, outputs: int, axis: int) -> AxisField:
    """Of Upsample along one axis; the factor that was given counts, even where the size that it gives was rounded down."""
    blends = module.mode == "bilinear"
    if inputs == outputs:
        return sliding(1, 1, 1, 0, outputs)
    if module.align_corners:
        step = Fraction(inputs - 1, outputs - 1) if outputs > 1 else Fraction(1)
        return resampled(step, Fraction(0), blends, outputs)
    step = Fraction(inputs, outputs)
    if module.scale_factor is not None:
        factor = module.scale_factor
        step = 1 / Fraction(factor[axis] if isinstance(factor, tuple) else factor).limit_denominator(1000)
    return resampled(step, (step - 1) / 2 if blends else Fraction(0), blends, outputs)


def _window_maps(call: Call) -> list[AxisField]:
    """Of a layer that slides a window, along both axes."""
    module: Any = call.module
    kernel, stride = pair(module.kernel_size), module.stride
    stride = kernel if stride is None else pair(stride)
    dilation = pair(getattr(module, "dilation", 1))
    pad = pads_before(module) if hasattr(module, "padding") else (0, 0)
    make = transposed if call.type == "ConvTranspose2d" else sliding
    return [make(kernel[i], stride[i], dilation[i], pad[i], call.output_shape[2 + i]) for i in (0, 1)]


def _layer_maps(call: Call, field: _Field) -> list[AxisField] | None:
    """Which values of its input a layer's values see, along both axes; None for an unknown kind."""
    module: Any = call.module
    kind, shape = call.type, call.output_shape
    if kind == "Linear" and len(shape) == 2:
        return [sliding(axis.count, 1, 1, 0, 1) for axis in field.axes]
    if len(shape) != 4:
        return None
    if kind in _WINDOWS or kind == "ConvTranspose2d":
        return _window_maps(call)
    if kind in _ADAPTIVE:
        return [adaptive(axis.count, shape[2 + i]) for i, axis in enumerate(field.axes)]
    if kind == "Upsample":
        return [_upsampling(module, axis.count, shape[2 + i], i) for i, axis in enumerate(field.axes)]
    if kind in _PADS:
        left, _, top, _ = module.padding if not isinstance(module.padding, int) else (module.padding,) * 4
        return [sliding(1, 1, 1, int(before), shape[2 + i]) for i, before in enumerate((top, left))]
    return None


def _layer_field(op: str, call: Call, field: _Field) -> _Field | None:
    """Behind a layer that calls no other; None for an unknown kind."""
    place = call.path or call.type
    if call.type in _POINTWISE:
        return field
    if call.type in _WHOLE_IMAGE_STATISTICS:
        return field.noting(f"the statistics of {place} depend on the whole image; they are not counted")
    try:
        maps = _layer_maps(call, field)
        return field.through(place, *maps) if maps else None
    except IrregularError:
        raise ValueError(
            f"[{op}] fields behind {place} follow no pattern that repeats within a few thousand values. Use whole factors for "
            "upsampling, or sizes that divide."
        ) from None


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
        h, w = (sliding(1, 1, 1, 0, count) for count in shape[2:])
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
            result = _layer_field(self.op, call, field)
        elif call.type == "Concat":
            result = _join(call.path, [self.of_call[id(inner)] for inner in call.calls])
        elif call.type == "Residual":
            first = int("downsample" in dict(call.module.named_children()))  # a shortcut is called before the body
            fields = [self.of_call[id(inner)] for inner in call.calls]
            result = _join(call.path, [*(fields[:first] or [field]), *(fields[first:][-1:] or [field])])
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
    sees all that is left, as the convolution it is equal to. Transposed convolution and upsampling divide j; what each single
    value sees then differs from its neighbour's, and :meth:`ReceptiveField.pixels` tells it to the pixel. Padding layers shift
    the field. The statistics of normalization layers are not counted.

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
    """The receptive field of every module.

    Args:
        model: as for :func:`receptive_field`.
        input_shape: of one image, (channels, height, width).

    Returns:
        Fields by dotted name, in the order in which modules end; "" is the model.

    Raises:
        ValueError: as for :func:`receptive_field`.

    Example:
        >>> import cnnx
        >>> fields = cnnx.analysis.receptive_fields(cnnx.models.vgg16())
        >>> fields["features.30"].size, fields["features.30"].stride
        ((212, 212), (32, 32))
    """
    root = trace("receptive_field", model, input_shape)
    fields = follow("receptive_field", root)
    return {call.path: fields[id(call)].public() for call in root.walk()}
