"""What values deep in a model see of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._arguments import check_module, check_names
from .._core import Module
from ..analysis import LayerRow, summary
from ..analysis import receptive_field as _field_of_output
from ._figure import COLORS, Array, axes_of, draw
from ._images import as_image, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WINDOWED = ("Conv2d", "ConvTranspose2d", "LocallyConnected2d", "Pool2d")


def _image_or_shape(image: object) -> tuple[Array | None, tuple[int, ...]]:
    """An image with its shape, or the shape alone."""
    if isinstance(image, tuple) and image and all(isinstance(size, int) for size in image):
        return None, image
    pixels = as_image("receptive_field", image)
    return pixels, pixels.shape


def _chosen(model: Module, shape: tuple[int, ...], layers: Sequence[str] | None) -> list[LayerRow]:
    """Rows of the layers, those with a field smaller than the next one's by default, at most six of them."""
    rows = {row.path: row for row in summary(model, shape).rows if row.receptive_field is not None}
    if not rows:
        _field_of_output(model, shape)  # says why
        raise ValueError("[receptive_field] expected a model with layers; got none.")
    if layers is not None:
        layers = check_names("receptive_field", "layers", layers)
        for name in layers:
            if name not in rows:
                raise ValueError(
                    f'[receptive_field] no layer with a receptive field is called "{name}"; there are {", ".join(rows)}.'
                )
        return [rows[name] for name in layers]
    sizes: dict[tuple[int, int], LayerRow] = {}
    for row in rows.values():
        if row.type.endswith(_WINDOWED) and len(row.output_shape) == 3 and row.receptive_field is not None:
            sizes.setdefault(row.receptive_field.size, row)
    found = sorted(sizes.values(), key=lambda row: row.receptive_field.size if row.receptive_field else (0, 0))
    if not found:
        return list(rows.values())[-1:]
    picked = np.linspace(0, len(found) - 1, min(len(found), len(COLORS))).round().astype(int)
    return [found[i] for i in picked]


def _pixels(row: LayerRow, at: tuple[float, float]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row, first and last column of the field of the value whose centre is nearest to a pixel."""
    field = row.receptive_field
    assert field is not None
    counts = row.output_shape[1:] if len(row.output_shape) == 3 else (1, 1)
    nearest = [(at[i] - float(field.center[i])) / (float(field.stride[i]) or 1) for i in (0, 1)]
    return field.pixels(*(min(max(round(nearest[i]), 0), counts[i] - 1) for i in (0, 1)))


def _draw_fields(
    ax: Axes, rows: list[LayerRow], size: tuple[int, int], at: tuple[float, float], blank: bool
) -> tuple[Array, Array]:
    """The image's frame and a rectangle for each layer; returns the corners of what holds them all."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    frame = Rectangle((-0.5, -0.5), size[1], size[0], fill=blank, facecolor="#e6e6e6", edgecolor="black", linewidth=1)
    ax.add_patch(frame)
    low, high = np.array([-0.5, -0.5]), np.array([size[0] - 0.5, size[1] - 0.5])
    for i, row in enumerate(rows):
        field = row.receptive_field
        assert field is not None
        (top, bottom), (left, right) = _pixels(row, at)
        low = np.minimum(low, (top - 0.5, left - 0.5))
        high = np.maximum(high, (bottom + 0.5, right + 0.5))
        label = f"{row.path or row.type} ({row.type}): {field.size[1]}x{field.size[0]}"
        patch = Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, label=label)
        patch.set(edgecolor=COLORS[i % len(COLORS)], linewidth=2, linestyle=("-", "--")[i // len(COLORS) % 2])
        patch.set_path_effects([withStroke(linewidth=3.5, foreground="white")])
        ax.add_patch(patch)
    return low, high


def receptive_field(
    model: Module,
    image: object,
    layers: Sequence[str] | None = None,
    *,
    at: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draws over an image which pixels values of some layers depend on.

    For each layer it takes the value whose field is centred nearest to `at`. What reaches beyond the image lies in the padding.

    Args:
        model: built of the library's layers, as for :func:`cnnx.analysis.receptive_field`; it may be without values.
        image: the image, or only the shape (channels, height, width).
        layers: dotted names; default: up to six convolutions and pooling layers, from the smallest field to the largest.
        at: the pixel (row, column); default: the middle of the image.
        ax: matplotlib axes to draw into; a new figure if not given.

    Returns:
        The figure.

    Raises:
        ValueError: for names that no layer has, a pixel outside of the image, or fields that are not known.

    Example:
        >>> import cnnx
        >>> three = cnnx.Sequential(*(cnnx.Conv2d(1, 1, 3, padding=1) for _ in range(3)))
        >>> figure = cnnx.viz.receptive_field(three, (1, 15, 15))
        >>> [(patch.get_x(), patch.get_width()) for patch in figure.axes[0].patches[1:]]  # pixel 7 is from 6.5 to 7.5
        [(5.5, 3), (4.5, 5), (3.5, 7)]
    """
    check_module("receptive_field", model)
    pixels, shape = _image_or_shape(image)
    rows = _chosen(model, shape, [layers] if isinstance(layers, str) else layers)
    h, w = shape[-2:]
    try:
        row_at, column_at = (h // 2, w // 2) if at is None else map(float, at)
    except (TypeError, ValueError):
        row_at = column_at = -1
    if not (0 <= row_at < h and 0 <= column_at < w):
        raise ValueError(
            f"[receptive_field] at must be (row, column) of a pixel within {h} rows and {w} columns; got {at!r}."
        )
    figure, ax = axes_of("receptive_field", ax, 7.5, 5)
    if pixels is not None:
        draw(ax, picture(pixels))
    low, high = _draw_fields(ax, rows, (h, w), (row_at, column_at), blank=pixels is None)
    margin = 0.03 * max(high - low)
    ax.set_xlim(low[1] - margin, high[1] + margin)
    ax.set_ylim(high[0] + margin, low[0] - margin)
    ax.set_aspect("equal")
    ax.set(xlabel="column (pixels)", ylabel="row (pixels)")
    ax.set_title(f"receptive fields around pixel ({row_at:g}, {column_at:g}) of {w}x{h}", fontsize="medium")
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        frameon=False,
        fontsize=8,
        title="layer: width x height",
        title_fontsize=9,
    )
    return figure
