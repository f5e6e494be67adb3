"""Which pixels a class score depends on: the gradient of the score with respect to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from .._core import Module, Tensor
from .._inputs import readable
from .._modes import enable_grad
from ..analysis._trace import shape_of
from ._figure import Array, bare, draw, literal, new_figure
from ._images import as_batch, as_image, check_model, picture
from .activations import evaluation_copy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Saliency:
    image: Array
    values: Array
    target: int
    score: float
    count: int


def _compute(op: str, model: Module, image: object, target: int | None) -> _Saliency:
    check_model(op, model)
    pixels = as_image(op, image)
    twin = evaluation_copy(model)
    with enable_grad():
        x = as_batch(model, pixels)
        x.requires_grad = True
        scores = twin(x)
        if not isinstance(scores, Tensor):
            raise ValueError(f"[{op}] expected a model with scores (N, classes); got a {type(scores).__name__}.")
        shape = shape_of(scores)
        if len(shape) != 2 or shape[0] != 1:
            raise ValueError(f"[{op}] expected a model with scores (N, classes); got an output of shape {shape}.")
        chosen = int(readable(scores)[0].argmax()) if target is None else target
        if not isinstance(chosen, int | np.integer) or not 0 <= chosen < shape[1]:
            raise ValueError(f"[{op}] target must be a class from 0 to {shape[1] - 1}; got {target}.")
        of_class = np.arange(shape[1]) == chosen
        score = (scores * _core.tensor(of_class[np.newaxis], dtype=scores.dtype)).sum()
        score.backward()
    gradient = x.grad
    if gradient is None:
        raise ValueError(f"[{op}] expected scores that depend on the image; got none that does.")
    return _Saliency(pixels, np.abs(readable(gradient)[0]).max(axis=0), int(chosen), score.item(), shape[1])


def saliency_map(model: Module, image: object, target: int | None = None) -> Array:
    """How much the score of a class changes with each pixel: the largest |d score / d pixel| over the channels.

    The model runs in evaluation mode and is left as it was, its gradients included.

    Args:
        model: maps images (N, C, H, W) to scores (N, classes).
        image: (C, H, W), (1, C, H, W) or (H, W), an array or a tensor; integers are divided by 255.
        target: the class; default: the one with the highest score.

    Returns:
        An array (H, W).

    Raises:
        ValueError: for a class that does not exist, or a model whose outputs are no scores.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> model = cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(4, 2, bias=False))
        >>> _ = model.load_state_dict({"1.weight": np.array([[1, -2, 0, 3], [0, 0, 0, 1]], np.float32)})
        >>> cnnx.viz.saliency_map(model, np.ones((1, 2, 2)), target=0).tolist()
        [[1.0, 2.0], [0.0, 3.0]]

    Source: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks" (2013).
    """
    return _compute("saliency_map", model, image, target).values


def saliency(
    model: Module, image: object, target: int | None = None, *, classes: Sequence[str] | None = None
) -> Figure:
    """Draws an image beside the map of its pixels that the score of a class depends on; see :func:`saliency_map`.

    Args:
        model: maps images (N, C, H, W) to scores (N, classes).
        image: (C, H, W), (1, C, H, W) or (H, W), an array or a tensor; integers are divided by 255.
        target: the class; default: the one with the highest score.
        classes: their names, for the title; numbers if not given.

    Returns:
        The figure: the image, and the map.

    Raises:
        ValueError: for a class that does not exist, or a model whose outputs are no scores.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> figure = cnnx.viz.saliency(cnnx.models.small_convnet(10), np.eye(8), target=3, classes=list("abcdefghij"))
        >>> figure.axes[0].get_title().startswith("d: score ")
        True
    """
    found = _compute("saliency", model, image, target)
    if classes is not None and len(classes) != found.count:
        raise ValueError(f"[saliency] expected {found.count} class names; got {len(classes)}.")
    height, width = found.values.shape
    figure = new_figure(8, min(10.0, max(2.0, 3.4 * height / width + 0.5)))
    left, right = figure.subplots(1, 2)
    draw(left, picture(found.image))
    left.set_title(
        f"{f'class {found.target}' if classes is None else literal(classes[found.target])}: score {found.score:.4g}"
    )
    shown = right.imshow(found.values, cmap="inferno", vmin=0, interpolation="nearest")
    right.set_title("saliency")
    for ax in (left, right):
        bare(ax)
    figure.colorbar(shown, ax=right, label="|d score / d pixel|", fraction=0.046, pad=0.03)
    return figure
