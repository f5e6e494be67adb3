"""A model as the notes draw it: the volumes of values, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._arguments import check_module
from .._core import Module
from ..analysis import LayerRow, summary
from ..analysis._units import format_volume
from ._figure import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, literal, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = {
    "input": GREY,
    "convolution": BLUE,
    "pooling": ORANGE,
    "fully connected": GREEN,
    "residual block": VERMILION,
    "parallel branches": PURPLE,
}
_BLOCKS = {"Residual": ("RESIDUAL", "residual block"), "Concat": ("CONCAT", "parallel branches")}
_SLANT = (0.42, 0.30)  # of the width's axis, which points into the page
_LEAST_LARGEST = 8  # so that nets without images are not drawn as huge boxes
_GAP = 0.42  # between volumes, for their labels


@dataclass
class Volume:
    """A box of the drawing: what made it, and its shape (channels, height, width) or (values,)."""

    label: str
    kind: str
    shape: tuple[int, ...]
    count: int = 1

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Depth, height and width."""
        if len(self.shape) == 3:
            return self.shape[0], self.shape[1], self.shape[2]
        return self.shape[-1], 1, 1


def _kind(row: LayerRow) -> str:
    if row.label.startswith("CONV"):
        return "convolution"
    return "pooling" if row.label.startswith("POOL") else "fully connected"


def volumes_of(model: Module, input_shape: Sequence[int]) -> list[Volume]:
    """The input and the volumes that layers with weights, pooling and blocks make; equal neighbours count as one."""
    table = summary(model, input_shape)
    blocks = [row.path for row in table.rows if row.type in _BLOCKS]
    outer = [path for path in blocks if not any(path != other and _is_in(path, other) for other in blocks)]
    volumes = [Volume("INPUT", "input", tuple(table.input_shape))]
    for row in table.rows:
        if row.path in outer and row.type in _BLOCKS:
            label, kind = _BLOCKS[row.type]
        elif row.label and not any(_is_in(row.path, path) for path in outer):
            label, kind = row.label.split("-")[0], _kind(row)
        else:
            continue
        last = volumes[-1]
        if (last.label, last.shape) == (label, row.output_shape):
            last.count += 1
        else:
            volumes.append(Volume(label, kind, row.output_shape))
    return volumes


def _is_in(path: str, block: str) -> bool:
    return not block or path.startswith(f"{block}.")


class _Drawing:
    """Boxes from left to right, line by line. Lengths grow with the square root of the sizes, so that all can be seen."""

    def __init__(self, volumes: list[Volume]) -> None:
        self.deepest = max(volume.sizes[0] for volume in volumes)
        self.largest = max(_LEAST_LARGEST, *(max(volume.sizes[1:]) for volume in volumes))
        self.volumes = volumes

    def lengths(self, volume: Volume) -> tuple[float, float, float]:
        """Along x, y and into the page."""
        depth, height, width = volume.sizes
        return (
            max(0.04, 1.5 * (depth / self.deepest) ** 0.5),
            max(0.05, 1.8 * (height / self.largest) ** 0.5),
            max(0.05, 1.8 * (width / self.largest) ** 0.5),
        )

    def extent(self, volume: Volume) -> float:
        """How far the box, or the text below it, reaches along x."""
        x, _, z = self.lengths(volume)
        return max(x + z * _SLANT[0], 0.085 * len(format_volume(volume.shape)))

    def balanced_lines(self, per_line: float) -> list[list[Volume]]:
        """As few lines as possible, and these as short as possible."""
        lines = self.lines(per_line)
        while len(shorter := self.lines(per_line := per_line - 0.1)) == len(lines) and per_line > 0:
            lines = shorter
        return lines

    def lines(self, per_line: float) -> list[list[Volume]]:
        """Lines filled one after the other."""
        lines: list[list[Volume]] = [[]]
        used = 0.0
        for volume in self.volumes:
            needed = self.extent(volume) + _GAP
            if lines[-1] and used + needed > per_line:
                lines.append([])
                used = 0.0
            lines[-1].append(volume)
            used += needed
        return lines

    def box(self, ax: Axes, volume: Volume, left: float, middle: float) -> None:
        from matplotlib.colors import to_rgb
        from matplotlib.patches import Polygon

        x, y, z = self.lengths(volume)
        dx, dy = z * _SLANT[0], z * _SLANT[1]
        bottom = middle - (y + dy) / 2
        red, green, blue = to_rgb(_COLORS[volume.kind])
        faces = (
            ([(0, 0), (x, 0), (x, y), (0, y)], 0.25),
            ([(0, y), (x, y), (x + dx, y + dy), (dx, y + dy)], 0.55),
            ([(x, 0), (x + dx, dy), (x + dx, y + dy), (x, y)], 0.0),
        )
        for corners, white in faces:
            shade = tuple(part + (1 - part) * white for part in (red, green, blue))
            points = [(left + a, bottom + b) for a, b in corners]
            ax.add_patch(Polygon(points, facecolor=shade, edgecolor="white", linewidth=0.6, joinstyle="round"))

    def draw(self, ax: Axes, lines: list[list[Volume]], heights: list[float]) -> float:
        """All boxes with their labels; returns where the drawing ends below."""
        top = 0.0
        for line, tall in zip(lines, heights, strict=True):
            left, bottom = 0.0, top - 0.3 - tall
            for volume in line:
                space = self.extent(volume)
                x, _, z = self.lengths(volume)
                self.box(ax, volume, left + (space - x - z * _SLANT[0]) / 2, bottom + tall / 2)
                label = volume.label + (f" x{volume.count}" if volume.count > 1 else "")
                for text, y, size in ((label, top - 0.05, 8), (format_volume(volume.shape), bottom - 0.08, 7)):
                    ax.text(left + space / 2, y, text, ha="center", va="top", fontsize=size)
                left += space + _GAP
            top = bottom - 0.45
        return top + 0.1


def architecture(
    model: Module, input_shape: Sequence[int] = (3, 224, 224), *, name: str | None = None, per_line: float = 13.0
) -> Figure:
    """Draws a model as the notes do: volumes of width x height x depth, layer by layer.

    Boxes are the outputs of convolutions, pooling and fully connected layers; what keeps a volume's shape and has few or no
    weights, such as ReLU or normalization, is not drawn. Residual blocks and parallel branches are one box each. Equal
    neighbours are one box that says how often it occurs. Lengths grow with the square root of the sizes.

    Args:
        model: any module that takes one batch of images; it may be without values.
        input_shape: of one image, (channels, height, width).
        name: of the model, for the title; default: its class.
        per_line: inches of a line of boxes; long models take several lines.

    Returns:
        The figure.

    Raises:
        ValueError: if the model does not take such images, or has no such layer.

    Example:
        >>> import cnnx
        >>> figure = cnnx.viz.architecture(cnnx.models.lenet5(), (1, 32, 32))
        >>> [text.get_text().replace("\\n", " ") for text in figure.axes[0].texts][:3]
        ['INPUT', '32x32x1', 'CONV5']

    Source: CS231n notes, "Convolutional Neural Networks", the arrangement of neurons in three dimensions.
    """
    if not per_line >= 3:
        raise ValueError(f"[architecture] per_line must be at least 3 inches; got {per_line}.")
    volumes = volumes_of(check_module("architecture", model), input_shape)
    if len(volumes) == 1:
        raise ValueError(
            f"[architecture] expected convolutions, pooling or linear layers; {type(model).__name__} has none."
        )
    drawing = _Drawing(volumes)
    lines = drawing.balanced_lines(per_line)
    heights = [max(y + z * _SLANT[1] for _, y, z in map(drawing.lengths, line)) for line in lines]
    width = max(3.0, max(sum(drawing.extent(volume) + _GAP for volume in line) for line in lines))
    height = sum(heights) + 0.75 * len(lines)
    figure = new_figure(width + 0.3, height + 0.8)
    from matplotlib.patches import Patch

    ax = figure.add_subplot()
    bottom = drawing.draw(ax, lines, heights)
    ax.set_xlim(-0.1, width)
    ax.set_ylim(bottom, 0.1)
    ax.set_aspect("equal")
    ax.set_axis_off()
    image = format_volume(tuple(input_shape))
    ax.set_title(f"{literal(name or type(model).__name__)} on {image}", fontsize=10)
    note = "width x height x depth; lengths grow with the square roots of the sizes"
    figure.supxlabel(note, fontsize=7, color="#555555")
    handles = [Patch(color=_COLORS[kind], label=kind) for kind in dict.fromkeys(volume.kind for volume in volumes)]
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(handles),
        frameon=False,
        fontsize=8,
    )
    return figure
