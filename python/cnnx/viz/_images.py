"""Images, feature maps and filters as arrays that can be drawn."""

from __future__ import annotations

import math

import numpy as np

from .. import _core
from .._arguments import check_module
from .._core import Module, Tensor
from .._inputs import input_dtype, readable
from ._figure import Array

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, for torchvision's weights


def check_model(op: str, model: object) -> Module:
    """The module, all of whose parameters have values."""
    model = check_module(op, model)
    for name, parameter in model.named_parameters():
        if parameter.device.type == "meta":
            raise ValueError(
                f'[{op}] the model needs values; got {name} on the device "meta". Make it outside of Device("meta").'
            )
    return model


def as_array(op: str, what: str, value: object) -> Array:
    """Finite numbers of a tensor or of anything that NumPy takes."""
    if isinstance(value, Tensor):
        if value.device.type == "meta":
            raise ValueError(f'[{op}] {what} must have values; got a tensor on the device "meta".')
        value = readable(value)
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "buif":
        raise TypeError(f"[{op}] {what} must be an array of numbers; got {type(value).__name__}.")
    if not np.isfinite(array).all():
        raise ValueError(f"[{op}] {what} must be finite; got NaN or infinity.")
    return array


def as_image(op: str, image: object) -> Array:
    """One image (C, H, W) of an image, a batch of one or a grey image (H, W)."""
    array = as_array(op, "the image", image)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[np.newaxis]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            f"[{op}] expected one image (C, H, W); got shape {np.shape(array)}. Pick one of a batch: images[0]."
        )
    return array


def as_batch(model: Module, image: Array) -> Tensor:
    """An image as the batch of one that the model takes; integers become 0..1."""
    scaled = image / 255.0 if image.dtype.kind in "ui" else image
    return _core.tensor(np.ascontiguousarray(scaled)[np.newaxis], dtype=input_dtype(model))


def stretch(values: Array) -> Array:
    """From the least value, 0, to the greatest, 1."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)


def picture(image: Array) -> Array:
    """What imshow takes: (H, W) or (H, W, 3) between 0 and 1. Other numbers of channels are shown by their mean."""
    if image.dtype.kind in "ui":
        image = image / 255.0
    if image.min() < 0 or image.max() > 1:
        image = stretch(image)
    return image.transpose(1, 2, 0) if image.shape[0] == 3 else image.mean(axis=0)


def grid_columns(count: int, columns: int | None, aspect: float = 1.0) -> int:
    """As wanted, or so that the grid is about `aspect` times as wide as high, with full rows where that comes close."""
    if columns is not None:
        return min(columns, count)
    wanted = min(count, max(1, round(math.sqrt(count * aspect))))
    near = [n for n in range(wanted, min(count, 2 * wanted) + 1) if count % n == 0]
    return near[0] if near else wanted


def mosaic(tiles: Array, columns: int, gap: int = 1) -> Array:
    """Tiles (N, h, w) or (N, h, w, 3) side by side in one array, row by row; between grey ones is NaN, else white."""
    count, h, w = tiles.shape[:3]
    rows = -(-count // columns)
    shape = (rows * (h + gap) - gap, columns * (w + gap) - gap, *tiles.shape[3:])
    out = np.full(shape, np.nan if tiles.ndim == 3 else 1.0)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        out[top : top + h, left : left + w] = tile
    return out
