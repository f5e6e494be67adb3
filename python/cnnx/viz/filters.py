"""The filters of a convolution as small pictures, as AlexNet's first layer is usually shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._arguments import check_integer, check_names
from .._core import Conv2d, Module, Tensor
from ._figure import Array, axes_of, bare, draw
from ._images import as_array, grid_columns, mosaic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TILES = 4096


def _weight(model: object, layer: str | None) -> tuple[object, str]:
    """The weight and the name of the layer, by default the first convolution."""
    if not isinstance(model, Module):
        return model, ""
    if layer is not None:
        (name,) = check_names("filter_grid", "layer", [layer])
        module = model.get_submodule(name)
        if getattr(module, "weight", None) is None:
            raise ValueError(f"[filter_grid] expected a layer with weights; {name} is a {type(module).__name__}.")
        return getattr(module, "weight"), name  # noqa: B009 - Module's attributes are not declared
    for name, module in model.named_modules():
        if isinstance(module, Conv2d):
            return module.weight, name
    raise ValueError(f"[filter_grid] expected a model with a Conv2d; got {type(model).__name__} without one.")


def _tiles(weight: Array, scale: str) -> Array:
    """Filters between 0 and 1, with 0.5 for weights of 0: (K, R, S, 3) in colour, or (tiles, R, S)."""
    over = tuple(range(1, weight.ndim)) if scale == "each" else None
    largest = np.abs(weight.astype(np.float64)).max(axis=over, keepdims=True)
    shades = 0.5 + weight / (2 * np.where(largest == 0, 1, largest))
    tiles: Array = shades.transpose(0, 2, 3, 1) if weight.shape[1] == 3 else shades.reshape(-1, *weight.shape[2:])
    return tiles


def filter_grid(
    model: Module | Tensor | Array,
    layer: str | None = None,
    *,
    scale: str = "each",
    columns: int | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws the filters of a convolution, by default the first one of the model.

    Filters over three channels are shown in colour. Others are shown channel by channel in grey; where there are several,
    each filter has a line of its own. A weight of 0 is mid-grey.

    Args:
        model: a model, a layer, or weights (K, C, R, S).
        layer: the dotted name of the convolution within the model.
        scale: "each" stretches every filter to its own largest weight, "all" to that of the layer.
        columns: filters side by side; chosen if not given.
        ax: matplotlib axes to draw into; a new figure if not given.

    Returns:
        The figure.

    Raises:
        ValueError: without a convolution, without values, or for more than 4096 tiles.

    Example:
        >>> import cnnx
        >>> figure = cnnx.viz.filter_grid(cnnx.Conv2d(3, 96, 11))
        >>> figure.axes[0].get_title()
        '96 filters of 11x11x3'
        >>> figure.axes[0].images[0].get_array().shape  # 8 lines of 12 filters, one pixel apart
        (95, 143, 3)

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012),
    figure 3; CS231n notes.
    """
    if scale not in ("each", "all"):
        raise ValueError(f'[filter_grid] scale must be "each" or "all"; got {scale!r}.')
    if columns is not None:
        columns = check_integer("filter_grid", "columns", columns)
    value, name = _weight(model, layer)
    weight = as_array("filter_grid", "the weight", value)
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(f"[filter_grid] expected weights (K, C, R, S); got shape {weight.shape}.")
    count, channels, h, w = weight.shape
    tiles = _tiles(weight, scale)
    if len(tiles) > _MOST_TILES:
        raise ValueError(
            f"[filter_grid] at most {_MOST_TILES} tiles can be told apart; got {count} filters over {channels} channels. "
            "Pass some of them: filter_grid(layer.weight[:16])."
        )
    by_channel = channels not in (1, 3)
    across = channels if by_channel else grid_columns(count, columns, 1.5 if count > 8 else 4)
    pixels = mosaic(tiles, across)
    ratio = pixels.shape[0] / pixels.shape[1]
    width = 6.0 if ratio < 1.3 else 7.5 / ratio
    figure, ax = axes_of("filter_grid", ax, width, max(1.4, width * ratio) + 0.5)
    draw(ax, pixels)
    bare(ax)
    if by_channel:
        ax.set_xlabel(f"input channel, 0 to {channels - 1}")
        ax.set_ylabel(f"filter, 0 to {count - 1}")
    ax.set_title(f"{name + ': ' if name else ''}{count} filters of {w}x{h}x{channels}")
    return figure
