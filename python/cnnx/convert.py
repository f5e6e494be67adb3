"""Linear layers as convolutions and the reverse, and scores at many places of a larger image.

Source: CS231n, "Convolutional Neural Networks", section Converting FC layers to CONV layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ._arguments import check_input_shape, check_integer, check_module
from ._core import (
    GELU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool2d,
    Module,
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Tensor,
    float16,
    float32,
    float64,
    from_numpy,
    tensor,
    zeros,
)
from ._inputs import input_device, input_dtype, readable
from ._modes import evaluating, no_grad

__all__ = ["conv_to_linear", "linear_to_conv", "sliding_scores"]

_MAX_MATRIX = 2**28  # values of conv_to_linear's weight: 1 GiB
_MAX_SIZE = 2**20  # pixels of an image along one axis
_CONVERTED = (Flatten, Linear, AdaptiveAvgPool2d, AdaptiveMaxPool2d, Softmax, LogSoftmax)
_PER_CHANNEL = (ReLU, LeakyReLU, Sigmoid, Tanh, GELU, SiLU, Dropout, Identity)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return cast("tuple[int, ...]", tensor.shape)


def _is(module: Module, *classes: type[Module]) -> bool:
    """Whether it is of one of the classes and computes what that does."""
    known = next((cls for cls in classes if isinstance(module, cls)), None)
    return known is not None and type(module).forward is known.forward and "forward" not in vars(module)


def _empty_batch(model: Module, shape: Sequence[int]) -> Tensor:
    """No images, of the model's dtype and on its device."""
    return zeros(0, *shape, dtype=input_dtype(model), device=input_device(model))


def _parts(model: Module, op: str) -> list[tuple[str, Module]]:
    """The children that a container applies one after the other."""
    from .models import GoogLeNet

    if _is(model, Sequential):
        return list(model.named_children())
    if _is(model, GoogLeNet):
        return [(name, child) for name, child in model.named_children() if name not in ("aux1", "aux2")]
    own = " with a forward of its own" if isinstance(model, Sequential | GoogLeNet) else ""
    raise ValueError(
        f"[{op}] expected a Sequential, whose layers are known; got {type(model).__name__}{own}. Build the net as a Sequential."
    )


def _share(conv: Conv2d, name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    """Gives a convolution a parameter that is the same memory as a tensor, under another shape."""
    setattr(conv, name, Parameter(tensor.detach().reshape(*shape)))
    getattr(conv, name).requires_grad = tensor.requires_grad


def _conv_of(linear: Linear, channels: int, height: int, width: int) -> Conv2d:
    filters = linear.weight.shape[0]
    conv = Conv2d(1, 1, 1, dtype=linear.weight.dtype)  # small: its weights are replaced at once
    conv.in_channels, conv.out_channels, conv.kernel_size = channels, filters, (height, width)
    _share(conv, "weight", linear.weight, (filters, channels, height, width))
    if linear.bias is None:
        conv.bias = None
    else:
        _share(conv, "bias", linear.bias, (filters,))
    return conv


class _Converter:
    """Walks through a net with an empty batch of its input shape and collects the new layers."""

    def __init__(self, batch: Tensor) -> None:
        self.batch = batch  # what the original net has here; shape (0, C, H, W), or (0, features) behind Flatten
        self.volume: tuple[int, int, int] | None = None  # that is still to be flattened by the next Linear
        self.flat = False

    def run(self, module: Module, path: str) -> None:
        try:
            self.batch = module(self.batch)
        except ValueError as error:
            raise ValueError(f'[linear_to_conv] input_shape does not fit layer "{path}": {error}') from None

    def chain(self, model: Module, path: str) -> Sequential:
        made = Sequential()
        for name, module in _parts(model, "linear_to_conv"):
            place = f"{path}{name}"
            if isinstance(module, Sequential):
                made.add_module(name, self.chain(module, f"{place}."))
                continue
            converted = self.layer(module, place)
            if converted is not None:
                made.add_module(name, converted)
        return made

    def layer(self, module: Module, place: str) -> Module | None:
        """What stands for a layer; None if nothing does."""
        if isinstance(module, _CONVERTED) and not _is(module, *_CONVERTED):
            raise ValueError(
                f'[linear_to_conv] layer "{place}" has no form for volumes: {type(module).__name__} has a forward of its own.'
            )
        before = _shape(self.batch)
        self.run(module, place)
        if isinstance(module, Flatten):
            self.flatten(module, place, before)
            return None
        if isinstance(module, Linear):
            return self.linear(module, place)
        if isinstance(module, AdaptiveAvgPool2d | AdaptiveMaxPool2d):
            return self.adaptive(module, place, before[2:])
        if not self.flat:
            inner = [child for child in module.modules() if isinstance(child, Linear | Flatten)]
            if inner:
                raise ValueError(
                    f'[linear_to_conv] layer "{place}" has {inner[0]!r} inside; only a chain can be converted.'
                )
            return module
        if isinstance(module, Softmax | LogSoftmax) and module.dim in (1, -1):
            return Softmax(dim=1) if isinstance(module, Softmax) else LogSoftmax(dim=1)
        if _is(module, *_PER_CHANNEL):
            return module
        raise ValueError(f'[linear_to_conv] layer "{place}" behind Flatten has no form for volumes: {module!r}.')

    def flatten(self, module: Any, place: str, before: tuple[int, ...]) -> None:
        if self.flat:
            return
        if (module.start_dim, module.end_dim) not in ((1, -1), (1, 3)):
            raise ValueError(f'[linear_to_conv] layer "{place}" must flatten all axes but the first; got {module!r}.')
        self.volume, self.flat = (before[1], before[2], before[3]), True

    def linear(self, module: Linear, place: str) -> Conv2d:
        if not self.flat:
            raise ValueError(f'[linear_to_conv] layer "{place}" has no Flatten before it: {module!r}.')
        channels, height, width = self.volume or (module.weight.shape[1], 1, 1)
        self.volume = None
        return _conv_of(module, channels, height, width)

    def adaptive(self, module: Any, place: str, before: tuple[int, ...]) -> Module | None:
        after = _shape(self.batch)[2:]
        if after == before:
            return None
        kernel = (before[0] // after[0], before[1] // after[1])
        if (kernel[0] * after[0], kernel[1] * after[1]) != before:
            raise ValueError(
                f'[linear_to_conv] layer "{place}" pools {before} to {after}, by windows of different sizes. Choose an '
                "input_shape for which it changes nothing or the sizes divide."
            )
        stride = (1 if after[0] == 1 else kernel[0], 1 if after[1] == 1 else kernel[1])
        pool = AvgPool2d if isinstance(module, AdaptiveAvgPool2d) else MaxPool2d
        return pool(kernel, stride, fit="floor")


def linear_to_conv(model: Module, input_shape: Sequence[int]) -> Sequential:
    """A net whose linear layers are convolutions, and which so takes larger images and scores all their windows in one pass.

    The first linear layer becomes a convolution over the whole volume that it read (7x7 for VGG), the following ones 1x1
    convolutions. Flatten goes. An adaptive pool before them goes as well if it changes nothing for ``input_shape``, as VGG's;
    one that averages (ResNet, GoogLeNet) becomes pooling with windows of that size.

    The new net has the old one's names, so that state dicts load up to the shapes of the converted weights. It *shares* all
    layers that stay and the memory of the converted weights: training one changes the other. ``copy.deepcopy`` parts them.

    Args:
        model: a Sequential, nested ones included, or a GoogLeNet, whose auxiliary heads are left out.
        input_shape: (channels, height, width) of the images that the model is made for.

    Shape:
        (N, *input_shape) to (N, classes, 1, 1), the model's scores; (N, C, H, W) to (N, classes, OH, OW), where OH is
        floor((H - height) / T) + 1 for a net whose strides multiply to T. So AlexNet and VGG give 6 x 6 for 384 x 384.

        The scores at (i, j) are the model's scores of the crop that begins at pixel (i * T, j * T), if no layer pads. Where
        layers pad, as in VGG, a crop's border sees zeros and the whole image's does not: the scores are then those of the
        linear layers over the windows of the whole image's features, and differ somewhat from those of crops.

    Returns:
        The new net.

    Raises:
        ValueError: for a net that is no chain, an input shape that does not fit, and layers behind Flatten that have no form
            for volumes; names the layer.

    Example:
        >>> import cnnx
        >>> net = cnnx.convert.linear_to_conv(cnnx.models.lenet5(), (1, 32, 32))
        >>> net[6], net[8]
        (Conv2d(16, 120, kernel_size=(5, 5), stride=(1, 1)), Conv2d(120, 84, kernel_size=(1, 1), stride=(1, 1)))
        >>> net(cnnx.zeros(1, 1, 32, 32)).shape, net(cnnx.zeros(1, 1, 48, 40)).shape
        ((1, 10, 1, 1), (1, 10, 5, 3))
    """
    op = "linear_to_conv"
    check_module(op, model)
    shape = check_input_shape(op, input_shape, axes=3)
    with no_grad(), evaluating(model):
        converter = _Converter(_empty_batch(model, shape))
        made = converter.chain(model, "")
    made.training = model.training
    for name, module in made.named_modules():
        if name and type(module) is Sequential:
            module.training = model.get_submodule(name).training
    return made


def conv_to_linear(conv: Conv2d, input_shape: Sequence[int]) -> Linear:
    """The linear layer that computes the same as a convolution: a block matrix, mostly zeros, whose blocks share weights.

    Args:
        conv: the convolution.
        input_shape: (channels, height, width) of its input.

    Shape:
        Its weight is (K * OH * OW, C * H * W): ``linear(x.flatten(1))`` is ``conv(x).flatten(1)``.

    Returns:
        A new Linear; nothing is shared.

    Raises:
        ValueError: for an input shape that does not fit, and for matrices of more than 2^28 values.

    Example:
        >>> import cnnx
        >>> conv = cnnx.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False)
        >>> conv.weight.detach().copy_(cnnx.tensor([[[[1.0, 0.0, -1.0]]]]))
        tensor([[[[1., 0., -1.]]]])
        >>> cnnx.convert.conv_to_linear(conv, (1, 1, 5)).weight.tolist()[1]
        [1.0, 0.0, -1.0, 0.0, 0.0]
    """
    if not _is(conv, Conv2d):
        own = " with a forward of its own" if isinstance(conv, Conv2d) else ""
        raise ValueError(f"[conv_to_linear] expected a Conv2d; got {type(conv).__name__}{own}.")
    channels, height, width = check_input_shape("conv_to_linear", input_shape, axes=3)
    weight = readable(conv.weight)
    with no_grad():
        _, filters, rows, columns = conv(zeros(0, channels, height, width, dtype=conv.weight.dtype)).shape
    size = filters * rows * columns * channels * height * width
    if size > _MAX_MATRIX:
        raise ValueError(f"[conv_to_linear] the matrix would have {size:,} values; the limit is {_MAX_MATRIX:,}.")
    matrix = np.zeros((filters, rows, columns, channels, height, width), weight.dtype)
    top, left = _padding(conv)
    inputs, outputs = weight.shape[1], filters // conv.groups  # of one group
    for i, j, r, s in np.ndindex(rows, columns, *weight.shape[2:]):
        y = i * conv.stride[0] - top + r * conv.dilation[0]
        x = j * conv.stride[1] - left + s * conv.dilation[1]
        if 0 <= y < height and 0 <= x < width:
            for group in range(conv.groups):
                to = slice(group * outputs, (group + 1) * outputs)
                matrix[to, i, j, group * inputs : (group + 1) * inputs, y, x] = weight[to, :, r, s]
    linear = Linear(1, 1, bias=conv.bias is not None, dtype=conv.weight.dtype)
    linear.in_features, linear.out_features = channels * height * width, filters * rows * columns
    linear.weight = Parameter(from_numpy(matrix.reshape(filters * rows * columns, -1)).to(conv.weight.dtype))
    if conv.bias is not None:
        linear.bias = Parameter(from_numpy(np.repeat(readable(conv.bias), rows * columns)).to(conv.bias.dtype))
    return linear


def _padding(conv: Conv2d) -> tuple[int, int]:
    """Rows above and columns left of the image."""
    padding = conv.padding
    if isinstance(padding, str):
        same = padding == "same"
        extents = [(size - 1) * gap for size, gap in zip(conv.kernel_size, conv.dilation, strict=True)]
        return (extents[0] // 2, extents[1] // 2) if same else (0, 0)
    return padding[0], padding[len(padding) // 2]


class _Counter:
    """How many scores a net gives along one axis of an image; by empty batches, which cost next to nothing."""

    def __init__(self, model: Module, images: Tensor, axis: int) -> None:
        self.model = model
        self.shape = (0, *_shape(images)[1:])
        self.axis = axis
        self.dtype = images.dtype

    def __call__(self, size: int) -> int:
        shape = [*self.shape]
        shape[self.axis] = size
        scores = self.model(zeros(*shape, dtype=self.dtype))
        if not isinstance(scores, Tensor) or scores.ndim != 4:
            raise ValueError(
                "[sliding_scores] the model must give a map of scores (N, classes, OH, OW). Convert it with linear_to_conv, "
                "or pass input_shape."
            )
        return _shape(scores)[self.axis]

    def or_none(self, size: int) -> int:
        """0 for an image that is too small for one score."""
        try:
            return self(size)
        except ValueError:
            return 0

    def _first(self, count: int, low: int) -> int:
        """The smallest size with that many scores; `low` has fewer."""
        high = 2 * low
        while self(high) < count:
            if high > _MAX_SIZE:
                raise ValueError(
                    "[sliding_scores] the scores do not get more with larger images: the model has an adaptive pool. "
                    "Convert it with linear_to_conv."
                )
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self(middle) >= count else (middle, high)
        return high

    def stride(self, size: int) -> int:
        """Pixels from one score to the next."""
        count = self(size)
        first = self._first(count + 1, size)
        return self._first(count + 2, first) - first


def sliding_scores(
    model: Module,
    images: Tensor | npt.ArrayLike,
    stride: int | tuple[int, int] = 16,
    input_shape: Sequence[int] | None = None,
) -> Tensor:
    """Scores of all windows of images at a stride that is finer than the net's own.

    A net that halves the size five times scores windows at stride 32. For stride 16 it sees the images four times: as they
    are, and without the first 16 rows, columns, or both; the maps are interleaved. The model is in evaluation mode meanwhile,
    and no gradients are recorded.

    Args:
        model: a net that :func:`linear_to_conv` made, or any that maps images to maps of scores; with ``input_shape`` also one
            that still is to be converted.
        images: (N, C, H, W).
        stride: pixels between windows, down and right; it must divide the net's own.
        input_shape: (channels, height, width) of the images that an unconverted model is made for.

    Shape:
        (N, C, H, W) to (N, classes, OH, OW) with OH = floor((H - F) / stride) + 1. F is what one score sees: the height that
        the model is made for, or less where its strides do not divide that height. Padding shifts the count as it does that
        of crops.

    Returns:
        The scores; ``[:, :, i, j]`` belong to the window that begins at pixel (i * stride, j * stride). Their ``mean((2, 3))``
        is a usual summary.

    Raises:
        ValueError: for a stride that does not divide the net's own, and for a net that gives no map.

    Example:
        >>> import cnnx
        >>> net = cnnx.models.lenet5()
        >>> images = cnnx.randn(1, 1, 40, 36)
        >>> cnnx.convert.sliding_scores(net, images, stride=2, input_shape=(1, 32, 32)).shape
        (1, 10, 5, 3)
    """
    op = "sliding_scores"
    check_module(op, model)
    batch = _as_batch(model, images)
    if batch.ndim != 4:
        raise ValueError(f"[{op}] expected images of shape (N, C, H, W); got {batch.shape}.")
    net = model if input_shape is None else linear_to_conv(model, input_shape)
    pair = stride if isinstance(stride, tuple | list) and len(stride) == 2 else (stride, stride)
    steps = [check_integer(op, "stride", step) for step in pair]
    with no_grad(), evaluating(net):
        shifts = [_shifts(_Counter(net, batch, axis), _shape(batch)[axis], steps[axis - 2]) for axis in (2, 3)]
        rows, columns = (sum(count for _, count in axis) for axis in shifts)
        scores: Any = None
        pixels = readable(batch)
        for i, (top, down) in enumerate(shifts[0]):
            for j, (left, right) in enumerate(shifts[1]):
                part = readable(net(from_numpy(np.ascontiguousarray(pixels[:, :, top:, left:])).to(batch.dtype)))
                if scores is None:
                    scores = np.empty((*part.shape[:2], rows, columns), part.dtype)
                scores[:, :, i :: len(shifts[0]), j :: len(shifts[1])] = part[:, :, :down, :right]
    return from_numpy(scores).to(batch.dtype)


def _as_batch(model: Module, images: Tensor | npt.ArrayLike) -> Tensor:
    """A tensor as it is; other numbers in the model's dtype, as NumPy's are float64 when nobody asked for it."""
    if isinstance(images, Tensor):
        return images
    batch = tensor(images)
    return batch.to(input_dtype(model)) if batch.dtype in (float16, float32, float64) else batch


def _shifts(count: _Counter, size: int, stride: int) -> list[tuple[int, int]]:
    """(shift, scores of that pass) along one axis; passes without scores are left out."""
    own = count.stride(size)
    if own % stride:
        raise ValueError(f"[sliding_scores] stride must divide the net's own, {own}; got {stride}.")
    passes = [(0, count(size))]
    for shift in range(stride, own, stride):
        passes.append((shift, count.or_none(size - shift)))
    return [entry for entry in passes if entry[1]]
