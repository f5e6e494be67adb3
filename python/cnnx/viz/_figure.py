"""What all pictures share: figures without windows, axes of callers, colours that colour-blind people can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt

Array = npt.NDArray[Any]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's palette.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#999999"),
)
COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)


def check_available() -> None:
    """Raises ImportError, which says what to install, if pictures cannot be drawn because matplotlib is missing.

    Example:
        >>> import cnnx
        >>> cnnx.viz.check_available()
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "[viz] pictures need matplotlib; it is not installed. Try pip install 'cnnx[viz]'."
        ) from error


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches. pyplot does not know it, so it is freed like any object."""
    check_available()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def axes_of(op: str, ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The caller's axes with their figure, or new ones."""
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.add_subplot()
    if not hasattr(ax, "imshow") or not hasattr(ax, "figure"):
        raise TypeError(f"[{op}] ax must be matplotlib's Axes; got {type(ax).__name__}.")
    figure = ax.figure.figure  # of a subfigure, the figure that it is in
    return figure, ax


def draw(ax: Axes, pixels: Array) -> None:
    """Grey or coloured pixels from 0 to 1; NaN, between grey tiles, is pale blue so that white tiles have edges."""
    from matplotlib import colormaps

    ax.imshow(pixels, cmap=colormaps["gray"].with_extremes(bad="#cfe3f2"), vmin=0, vmax=1, interpolation="nearest")


def literal(text: object) -> str:
    """Text in which matplotlib finds no formula, for names that come from elsewhere."""
    return str(text).replace("$", r"\$")


def bare(ax: Axes) -> None:
    """Without ticks and frame."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_frame_on(False)
