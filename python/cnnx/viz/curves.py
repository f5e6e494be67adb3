"""Loss and accuracy over the epochs of a training run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..training import Epoch, History
from ._figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _draw(ax: Axes, numbers: list[int], label: str, values: list[float | None], factor: float, held_out: bool) -> None:
    known = [value for value in values if value is not None]
    if not known:
        return
    points = [math.nan if value is None else value * factor for value in values]
    color, line, marker = (VERMILION, "--", "s") if held_out else (BLUE, "-", "o")
    text = f"{known[-1]:.2%}" if factor == 100 else f"{known[-1]:.4g}"
    marks = marker if len(numbers) <= 40 else ""
    ax.plot(numbers, points, line, color=color, marker=marks, markersize=4, label=f"{label}: {text} at the end")


def training_curves(history: History | Sequence[Epoch], *, log: bool = False) -> Figure:
    """Draws loss and accuracy, of the training set and of the held-out one if there was one, over the epochs.

    Args:
        history: what :func:`cnnx.fit` returned, or its epochs.
        log: a logarithmic axis for the loss.

    Returns:
        A figure with two plots: loss, and accuracy in percent.

    Raises:
        ValueError: if no epoch was finished.

    Example:
        >>> import cnnx
        >>> from cnnx.training import Epoch
        >>> epochs = [Epoch(1, 2.1, 0.25, 1.0, 500.0), Epoch(2, 0.9, 0.75, 1.0, 500.0)]
        >>> figure = cnnx.viz.training_curves(epochs)
        >>> [ax.get_ylabel() for ax in figure.axes]
        ['loss', 'accuracy (%)']
        >>> figure.axes[1].lines[0].get_ydata().tolist()
        [25.0, 75.0]
    """
    epochs = history.epochs if isinstance(history, History) else history
    if not isinstance(epochs, Sequence) or not all(isinstance(epoch, Epoch) for epoch in epochs):
        raise TypeError(f"[training_curves] expected the History of cnnx.fit; got {type(history).__name__}.")
    if not epochs:
        raise ValueError("[training_curves] expected at least one finished epoch; got none.")
    figure = new_figure(9, 3.6)
    from matplotlib.ticker import MaxNLocator

    loss, accuracy = figure.subplots(1, 2)
    numbers = [epoch.number for epoch in epochs]
    _draw(loss, numbers, "training", [e.loss for e in epochs], 1, False)
    _draw(loss, numbers, "held out", [e.validation_loss for e in epochs], 1, True)
    _draw(accuracy, numbers, "training", [e.accuracy for e in epochs], 100, False)
    _draw(accuracy, numbers, "held out", [e.validation_accuracy for e in epochs], 100, True)
    if log:
        loss.set_yscale("log")
    for ax, title, unit in ((loss, "Loss", "loss"), (accuracy, "Accuracy", "accuracy (%)")):
        ax.set(title=title, xlabel="epoch", ylabel=unit)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    if isinstance(history, History) and history.interrupted:
        figure.suptitle(f"interrupted after {len(epochs)} epochs", fontsize="medium")
    return figure
