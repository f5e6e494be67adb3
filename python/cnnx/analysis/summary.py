"""The table of a model's layers: shapes, values, weights, arithmetic, receptive fields and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .._arguments import check_input_shape
from .._core import Module
from ._trace import Call, Shape, shape_of, trace
from ._units import format_bytes, format_count, format_volume
from .receptive import ReceptiveField, follow, pair

__all__ = ["LayerRow", "Summary", "summary"]

_CONVOLUTIONS = {"Conv2d", "ConvTranspose2d", "LocallyConnected2d"}
_POOLINGS = {"MaxPool2d", "AvgPool2d", "LPPool2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d"}
_FREE = {"Flatten", "Identity", "Dropout", "Dropout2d"}


@dataclass(frozen=True)
class LayerRow:
    """One layer, for one image.

    Attributes:
        path: dotted name within the model.
        type: the layer's class.
        input_shape: without the batch.
        output_shape: without the batch.
        activations: values of the output.
        weights: parameters but the biases; 0 where the layer was counted before.
        biases: parameters called "bias".
        flops: multiplications and additions; see :func:`summary`.
        memory: bytes of the output.
        receptive_field: what one output value sees of the image; None where it cannot be followed.
        unshared_parameters: weights and biases if each output value had its own, for convolutions.

    Example:
        >>> import cnnx
        >>> row = cnnx.analysis.summary(cnnx.models.lenet5(), (1, 32, 32)).rows[3]
        >>> row.path, row.type, row.output_shape, row.parameters, row.receptive_field.size
        ('3', 'Conv2d', (16, 10, 10), 2416, (14, 14))
    """

    path: str
    type: str
    input_shape: Shape
    output_shape: Shape
    activations: int
    weights: int
    biases: int
    flops: int
    memory: int
    receptive_field: ReceptiveField | None
    unshared_parameters: int | None
    label: str

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        field = self.receptive_field
        return asdict(replace(self, receptive_field=None)) | {"receptive_field": field and field.to_dict()}


@dataclass(frozen=True)
class Summary:
    """A model's layers in the order in which they run. ``str()`` and ``print`` give the table in the chosen style.

    Attributes:
        model: the class of the model.
        input_shape: of one image.
        rows: a :class:`LayerRow` each.
        style: "table" or "notes".

    Example:
        >>> import cnnx
        >>> table = cnnx.analysis.summary(cnnx.models.lenet5(), (1, 32, 32))
        >>> table.parameters, table.flops, sum(row.activations for row in table.rows) == table.activations
        (61706, 852370, True)
    """

    model: str
    input_shape: Shape
    rows: tuple[LayerRow, ...]
    style: str = "table"

    def _total(self, name: str) -> int:
        return sum(int(getattr(row, name)) for row in self.rows)

    @property
    def activations(self) -> int:
        """Values of all outputs together."""
        return self._total("activations")

    @property
    def weights(self) -> int:
        """Parameters but the biases."""
        return self._total("weights")

    @property
    def biases(self) -> int:
        """Parameters called "bias"."""
        return self._total("biases")

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def flops(self) -> int:
        """Multiplications and additions of one forward pass."""
        return self._total("flops")

    @property
    def memory(self) -> int:
        """Bytes of all outputs together."""
        return self._total("memory")

    @property
    def volumes(self) -> tuple[LayerRow, ...]:
        """The rows that the notes count: those that make new volumes of convolution, pooling and linear layers."""
        return tuple(row for row in self.rows if row.label)

    @property
    def volume_values(self) -> int:
        """Values of the input and of the notes' volumes."""
        return math.prod(self.input_shape) + sum(row.activations for row in self.volumes)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with the totals."""
        names = ("activations", "weights", "biases", "parameters", "flops", "memory", "volume_values")
        plain = {"model": self.model, "input_shape": self.input_shape, "style": self.style}
        return plain | {"rows": [row.to_dict() for row in self.rows]} | {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return _notes_text(self) if self.style == "notes" else _table_text(self)


def _row_label(call: Call) -> str:
    """The notes' name of a volume; "" for what they do not list."""
    module: Any = call.module
    if call.type in _CONVOLUTIONS:
        h, w = pair(module.kernel_size)
        return f"CONV{h if h == w else f'{h}x{w}'}-{call.output_shape[1]}"
    if call.type in _POOLINGS:
        if call.input_shape == call.output_shape:
            return ""  # an adaptive pooling that has nothing to do
        if not hasattr(module, "kernel_size"):
            return "POOL"
        h, w = pair(module.kernel_size)
        return f"POOL{h if h == w else f'{h}x{w}'}"
    return "FC" if call.type == "Linear" else ""


def _flops(call: Call, weight_values: int) -> int:
    module: Any = call.module
    values = math.prod(call.output_shape[1:])
    kind = call.type
    if kind in ("Conv2d", "Linear", "LocallyConnected2d", "ConvTranspose2d"):
        bias = values if getattr(module, "bias", None) is not None else 0
        if kind == "LocallyConnected2d":
            return 2 * weight_values + bias
        weight = shape_of(module.weight)
        weight_size = math.prod(weight)
        positions = math.prod((call.input_shape if kind == "ConvTranspose2d" else call.output_shape)[2:])
        if kind == "Linear":
            return 2 * weight[1] * values + bias
        return 2 * weight_size * positions + bias
    if kind in ("MaxPool2d", "AvgPool2d", "LPPool2d"):
        return values * math.prod(pair(module.kernel_size))
    if kind in _POOLINGS:
        return max(values, math.prod(call.input_shape[1:]))
    if kind == "LocalResponseNorm":
        return values * (2 * int(module.size) + 3)
    if kind in ("BatchNorm2d", "GroupNorm", "LayerNorm", "InstanceNorm2d"):
        return 2 * values
    if kind == "Residual":
        return 2 * values
    return 0 if kind in _FREE or not call.is_layer else values


class _Counter:
    """Counts each parameter once, where it is met first."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.kept: list[Any] = []

    def count(self, module: Module) -> tuple[int, int]:
        totals = [0, 0]
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in self.seen:
                self.seen.add(id(parameter))
                self.kept.append(parameter)
                totals[name == "bias"] += parameter.numel()
        return totals[0], totals[1]


def _makes_volume(call: Call) -> bool:
    """Layers, and containers that compute something themselves."""
    return call.is_layer or call.type in ("Residual", "Concat")


def summary(model: Module, input_shape: Sequence[int] = (3, 224, 224), style: str = "table") -> Summary:
    """The layers of a model with their sizes, for one image.

    It runs the model without values: a matter of milliseconds for any size. Only layers that are called appear.

    FLOPs are multiplications and additions, a multiply-add being two: 2 * weights * positions of convolutions and linear
    layers and one for each bias added; one for each value that a pooling window reads; two a value for batch
    normalization and for the sum and ReLU of residual blocks; one a value for activation functions; none for what only
    moves or, outside training, passes values on.

    Args:
        model: any module that takes one batch of images.
        input_shape: of one image, (channels, height, width).
        style: of the printed form: "table", or "notes" for the way in which the notes list VGG: volumes as width x height
            x depth, layers with weights and pooling only, biases apart.

    Returns:
        A :class:`Summary`: print it, or use its rows and totals.

    Raises:
        ValueError: for an unknown style, or if the model does not take such images.

    Example:
        >>> import cnnx
        >>> vgg = cnnx.analysis.summary(cnnx.models.vgg16(), (3, 224, 224))
        >>> vgg.weights, vgg.biases, vgg.parameters
        (138344128, 13416, 138357544)
        >>> vgg.volume_values
        15237608
        >>> first = cnnx.analysis.summary(cnnx.models.alexnet(variant="notes"), (3, 227, 227)).rows[0]
        >>> first.activations, first.unshared_parameters, first.parameters
        (290400, 105705600, 34944)
        >>> print(cnnx.analysis.summary(cnnx.models.lenet5(), (1, 32, 32), style="notes"))
        INPUT:    [32x32x1]   memory: 32*32*1=1024   weights: 0
        CONV5-6:  [28x28x6]   memory: 28*28*6=4704   weights: (5*5*1)*6 = 150
        POOL2:    [14x14x6]   memory: 14*14*6=1176   weights: 0
        CONV5-16: [10x10x16]  memory: 10*10*16=1600  weights: (5*5*6)*16 = 2,400
        POOL2:    [5x5x16]    memory: 5*5*16=400     weights: 0
        FC:       [1x1x120]   memory: 120            weights: 5*5*16*120 = 48,000
        FC:       [1x1x84]    memory: 84             weights: 120*84 = 10,080
        FC:       [1x1x10]    memory: 10             weights: 84*10 = 840
        TOTAL memory: 9,118 values * 4 bytes = 35.6 KiB an image (forward only; about twice that with backward)
        TOTAL weights: 61,470, and 236 biases: 61,706 parameters

    Source: CS231n notes, "Convolutional Neural Networks", the table of VGGNet.
    """
    if style not in ("table", "notes"):
        raise ValueError(f'[summary] style must be "table" or "notes"; got "{style}".')
    shape = check_input_shape("summary", input_shape)
    root = trace("summary", model, shape)
    try:
        fields = {key: field.public() for key, field in follow("summary", root).items()}
    except ValueError:  # something between the layers that is no layer
        fields = {}
    counter = _Counter()
    rows = []
    for call in root.walk():
        weights, biases = counter.count(call.module)
        if not _makes_volume(call) and not weights + biases:
            continue
        values = sum(math.prod(shape_of(output)[1:]) for output in call.outputs) if _makes_volume(call) else 0
        neurons = math.prod(call.output_shape[1:])
        unshared = None
        if call.type == "Conv2d":
            parameter: Any = call.module
            bias = 1 if parameter.bias is not None else 0
            unshared = neurons * (math.prod(parameter.weight.shape[1:]) + bias)
        rows.append(
            LayerRow(
                call.path,
                call.type,
                call.input_shape[1:],
                call.output_shape[1:],
                values,
                weights,
                biases,
                _flops(call, weights),
                values * (call.outputs[0].dtype.itemsize if call.outputs else 0),
                fields.get(id(call)),
                unshared,
                _row_label(call) if call.is_layer else "",
            )
        )
    return Summary(type(model).__name__, shape, tuple(rows), style)


# ---- Text


def _weights_text(row: LayerRow, label: str) -> str:
    if label.startswith("CONV"):
        kernel = label[4:].split("-")[0]
        kernel = kernel.replace("x", "*") if "x" in kernel else f"{kernel}*{kernel}"
        per_filter = row.weights // row.output_shape[0]
        depth = per_filter // math.prod(int(size) for size in kernel.split("*"))
        return f"({kernel}*{depth})*{row.output_shape[0]} = {row.weights:,}"
    return f"{row.weights:,}"


def _notes_text(table: Summary) -> str:
    lines = [("INPUT:", format_volume(table.input_shape), _memory_text(table.input_shape), "0")]
    before = table.input_shape
    for row in table.volumes:
        weights = _weights_text(row, row.label)
        if row.label == "FC":
            source = before if math.prod(before) == row.input_shape[-1] else row.input_shape[-1:]
            inputs = (
                "*".join(str(size) for size in (source[2], source[1], source[0]))
                if len(source) == 3
                else str(source[-1])
            )
            weights = f"{inputs}*{row.output_shape[-1]} = {row.weights:,}"
        lines.append((f"{row.label}:", format_volume(row.output_shape), _memory_text(row.output_shape), weights))
        before = row.output_shape
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    text = [
        f"{label:<{widths[0]}} [{volume}]{'':<{widths[1] - len(volume)}}  memory: {memory:<{widths[2]}}  weights: {weights}"
        for label, volume, memory, weights in lines
    ]
    itemsize = next((row.memory // row.activations for row in table.rows if row.activations), 4)
    values = table.volume_values
    text.append(
        f"TOTAL memory: {values:,} values * {itemsize} bytes = {format_bytes(values * itemsize)} an image "
        "(forward only; about twice that with backward)"
    )
    text.append(f"TOTAL weights: {table.weights:,}, and {table.biases:,} biases: {table.parameters:,} parameters")
    return "\n".join(text)


def _memory_text(shape: Shape) -> str:
    count = format_count(math.prod(shape))
    return f"{'*'.join(str(size) for size in reversed(shape))}={count}" if len(shape) == 3 else count


def _shape_text(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)


def _table_text(table: Summary) -> str:
    from ._render import render_table

    columns = ("layer", "type", "output", "activations", "weights", "biases", "FLOPs", "field", "memory")
    rows = []
    for row in table.rows:
        field = row.receptive_field
        seen = (
            "" if field is None else f"{field.size[0]}" if field.size[0] == field.size[1] else _shape_text(field.size)
        )
        rows.append(
            (
                *(row.path, row.type, _shape_text(row.output_shape), f"{row.activations:,}"),
                *(f"{row.weights:,}", f"{row.biases:,}", f"{row.flops:,}", seen, format_bytes(row.memory)),
            )
        )
    total = (
        *("total", "", "", f"{table.activations:,}", f"{table.weights:,}", f"{table.biases:,}"),
        *(f"{table.flops:,}", "", format_bytes(table.memory)),
    )
    title = f"{table.model} on {_shape_text(table.input_shape)}: {table.parameters:,} parameters, one image"
    return render_table(title, columns, rows, total)
