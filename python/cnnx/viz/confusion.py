"""Which classes a model takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..training import Evaluation
from ._figure import Array, axes_of, literal
from ._images import as_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NUMBERED = 25


def _counts(confusion: object) -> Array:
    counts = as_array("confusion_matrix", "the matrix", confusion)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"[confusion_matrix] expected a square matrix of counts; got shape {counts.shape}.")
    if (counts < 0).any() or (counts != np.floor(counts)).any():
        raise ValueError(
            f"[confusion_matrix] counts must be whole and not negative; got {counts.min()} to {counts.max()}."
        )
    return counts.astype(np.int64)


def confusion_matrix(
    confusion: Evaluation | Array,
    classes: Sequence[str] | None = None,
    *,
    percent: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draws a confusion matrix: lines are the true classes, columns the model's answers.

    Colours show which share of the images of a class got an answer, so that rare classes count as much as frequent ones.

    Args:
        confusion: what :func:`cnnx.evaluate` returned, or counts (classes, classes).
        classes: their names; numbers if not given.
        percent: write shares of the true class in percent in place of counts. Beyond 25 classes nothing is written.
        ax: matplotlib axes to draw into; a new figure if not given.

    Returns:
        The figure.

    Raises:
        ValueError: if the matrix is not square, holds no counts, or the names do not match it.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> figure = cnnx.viz.confusion_matrix(np.array([[9, 1], [0, 10]]), ["cat", "dog"])
        >>> figure.axes[0].get_title()
        'accuracy 95.00% of 20 images'
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['9', '1', '0', '10']
    """
    counts = _counts(confusion.confusion if isinstance(confusion, Evaluation) else confusion)
    names = [str(i) for i in range(len(counts))] if classes is None else [literal(name) for name in classes]
    if len(names) != len(counts):
        raise ValueError(f"[confusion_matrix] expected {len(counts)} class names; got {len(names)}.")
    total = int(counts.sum())
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(12.0, max(3.5, 0.45 * len(names) + 1.6)) if len(names) <= _MOST_NUMBERED else 9.0
    figure, ax = axes_of("confusion_matrix", ax, side + 0.9, side)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            text = f"{100 * shares[row, column]:.0f}" if percent else str(count)
            color = "white" if shares[row, column] > 0.55 else "black" if count else "#888888"
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    step = 1 if len(names) <= 60 else -(-len(names) // 40)
    places, shown = range(0, len(names), step), names[::step]
    turned = max(map(len, names)) > 3
    ax.set_xticks(places, shown, rotation=60 if turned else 0, ha="right" if turned else "center", fontsize=8)
    ax.set_yticks(places, shown, fontsize=8)
    if turned:
        for label in ax.get_xticklabels():
            label.set_rotation_mode("anchor")
    ax.set(xlabel="answer" + (" (% of the true class)" if percent else ""), ylabel="true class")
    accuracy = np.trace(counts) / max(total, 1)
    ax.set_title(f"accuracy {accuracy:.2%} of {total:,} images")
    figure.colorbar(image, ax=ax, label="share of the true class", fraction=0.046, pad=0.03)
    return figure
