"""What the layers of a model make of an image: feature maps, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._arguments import check_integer, check_names
from .._copies import copy_model
from .._core import Module, Tensor
from .._inputs import readable
from .._modes import no_grad
from ._figure import BLUE, Array, bare, draw, literal, new_figure
from ._images import as_batch, as_image, check_model, mosaic, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HIDDEN = {"Dropout", "Dropout2d", "Identity", "Flatten"}
_MOST_LAYERS = 32
_TILE = 60  # pixels at least, so that gaps between maps of all sizes are alike


def evaluation_copy(model: Module) -> Module:
    """A copy in evaluation mode that shares all values: it can run without a trace in the model."""
    tensors = [*model.parameters(), *model.buffers()]  # kept, for their ids' sake
    memo: dict[int, Any] = {id(tensor): tensor.detach() for tensor in tensors}
    return copy_model(model, memo).eval()


class _Outputs:
    """Keeps the outputs of the layers, by name; a layer called again has a number behind its name."""

    def __init__(self, wanted: set[str] | None) -> None:
        self.wanted = wanted
        self.kinds: dict[str, str] = {}
        self.values: dict[str, Array] = {}
        self.calls: dict[str, int] = {}
        self.inner = [False]

    def entered(self, path: str, kind: str, inputs: list[Tensor]) -> None:
        self.inner[-1] = True
        self.inner.append(False)

    def left(self, path: str, kind: str, outputs: list[Tensor]) -> None:
        has_inner = self.inner.pop()
        if not outputs or (has_inner if self.wanted is None else path not in self.wanted):
            return
        self.calls[path] = count = self.calls.get(path, 0) + 1
        name = path if count == 1 else f"{path}#{count}"
        self.kinds[name] = kind
        self.values[name] = readable(outputs[0]).copy()


def _run(op: str, model: Module, image: object, layers: Sequence[str] | None) -> tuple[_Outputs, Array]:
    check_model(op, model)
    pixels = as_image(op, image)
    wanted = set(check_names(op, "layers", layers)) if layers is not None else None
    for name in wanted or ():
        model.get_submodule(name)
    outputs = _Outputs(wanted)
    twin = evaluation_copy(model)
    with no_grad(), _core._CallWatch(outputs.entered, outputs.left):
        twin(as_batch(model, pixels))
    missing = sorted((wanted or set()) - outputs.values.keys())
    if missing:
        raise ValueError(f"[{op}] layers must be called by the model; {', '.join(missing)} is not, in evaluation mode.")
    return outputs, pixels


def layer_outputs(model: Module, image: object, layers: Sequence[str] | None = None) -> dict[str, Array]:
    """The outputs of layers for one image, in evaluation mode. The model is left as it was.

    Args:
        model: any module that takes one batch of images.
        image: (C, H, W), (1, C, H, W) or (H, W), an array or a tensor; integers are divided by 255.
        layers: dotted names of layers or of modules with layers in them; default: all layers that are called.

    Returns:
        Arrays by name, in the order in which the layers ran. A layer that is called twice appears as "name" and "name#2".

    Raises:
        ValueError: for a name that no module has, or if the model does not take such an image.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> net = cnnx.Sequential(cnnx.Conv2d(1, 4, 3), cnnx.ReLU(), cnnx.MaxPool2d(2))
        >>> {name: output.shape for name, output in cnnx.viz.layer_outputs(net, np.zeros((1, 8, 8))).items()}
        {'0': (1, 4, 6, 6), '1': (1, 4, 6, 6), '2': (1, 4, 3, 3)}
    """
    return _run("layer_outputs", model, image, layers)[0].values


def _draw_maps(ax: Axes, name: str, kind: str, output: Array, maps: int) -> None:
    shown = output[0, :maps].astype(np.float64)
    low, high = float(output[0].min()), float(output[0].max())
    tiles = (shown - low) / (high - low) if high > low else np.zeros(shown.shape)
    enlarged = tiles.repeat(factor := -(-_TILE // tiles.shape[1]), axis=1).repeat(factor, axis=2)
    draw(ax, mosaic(enlarged, 1, round(enlarged.shape[1] / 12)))
    bare(ax)
    channels, h, w = output.shape[1:]
    if len(kind) > 12:
        kind = re.sub("(?<=[a-z])(?=[A-Z])", "\n", kind, count=1)
    ax.set_title(f"{kind}\n{name}", fontsize=7)
    ax.set_xlabel(f"{w}x{h}x{channels}\n{low:.2g}..{high:.2g}", fontsize=7)


def _draw_scores(ax: Axes, name: str, scores: Array, classes: Sequence[str] | None, top: int) -> None:
    best = np.argsort(-scores, kind="stable")[:top]
    places = np.arange(len(best))
    ax.barh(places, scores[best], color=BLUE)
    ax.set_yticks(places, [literal(classes[i] if classes is not None else i) for i in best], fontsize=7)
    ax.tick_params(axis="x", labelsize=7)
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"scores\n{name}" if name else "scores", fontsize=7)
    ax.set_xlabel("score", fontsize=7)
    ax.set_ylabel("class", fontsize=7)


def _chosen(outputs: _Outputs, layers: Sequence[str] | None) -> list[str]:
    """The layers with feature maps; by default those that change them, and of very many every n-th."""
    names = [name for name, value in outputs.values.items() if value.ndim == 4]
    if layers is None:
        names = [name for name in names if outputs.kinds[name] not in _HIDDEN]
        if len(names) > _MOST_LAYERS:
            picked = np.linspace(0, len(names) - 1, _MOST_LAYERS).round().astype(int)
            names = [names[i] for i in picked]
    return names


def activation_maps(
    model: Module,
    image: object,
    layers: Sequence[str] | None = None,
    *,
    maps: int = 10,
    classes: Sequence[str] | None = None,
    top: int = 5,
) -> Figure:
    """Draws the feature maps of an image, a column for each layer, with the class scores at the end.

    Maps of a layer share one scale, from its least value in black to its greatest in white; the range stands below.

    Args:
        model: any module that takes one batch of images; it is left as it was.
        image: (C, H, W), (1, C, H, W) or (H, W), an array or a tensor; integers are divided by 255.
        layers: dotted names; default: all layers that change feature maps, evenly chosen if there are more than 32.
        maps: how many maps of each layer, the first ones.
        classes: their names, for the scores.
        top: how many scores to show, from the highest; 0 for none.

    Returns:
        A figure with the image, a column for each layer, and the scores if the model ends in some.

    Raises:
        ValueError: for names that no module has, or if there is no feature map.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> net = cnnx.Sequential(cnnx.Conv2d(1, 4, 3), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(144, 10))
        >>> figure = cnnx.viz.activation_maps(net, np.eye(8))
        >>> [ax.get_title().replace("\\n", " ") for ax in figure.axes]
        ['input', 'Conv2d 0', 'ReLU 1', 'scores 3']

    Source: CS231n notes, "Convolutional Neural Networks", the activations of an example architecture.
    """
    maps, top = check_integer("activation_maps", "maps", maps), check_integer("activation_maps", "top", top, least=0)
    outputs, pixels = _run("activation_maps", model, image, layers)
    names = _chosen(outputs, layers)
    if not names:
        raise ValueError("[activation_maps] expected layers with outputs (N, C, H, W); got none.")
    last = next(reversed(outputs.values))
    scores = outputs.values[last].reshape(-1) if outputs.values[last].ndim == 2 else np.zeros(0)
    with_scores = top > 0 and scores.size > 0
    if with_scores and classes is not None and len(classes) != scores.size:
        raise ValueError(f"[activation_maps] expected {scores.size} class names; got {len(classes)}.")
    ratios = [1.6, *[1.0] * len(names), *[1.8] * with_scores]
    rows = min(maps, max(outputs.values[name].shape[1] for name in names))
    figure = new_figure(max(5.0, 0.85 * sum(ratios)), 0.85 * max(rows, 3) + 1.1)
    axes = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    draw(axes[0], picture(pixels))
    bare(axes[0])
    axes[0].set_title("input", fontsize=7)
    axes[0].set_xlabel(f"{pixels.shape[2]}x{pixels.shape[1]}x{pixels.shape[0]}", fontsize=7)
    for ax, name in zip(axes[1:], names, strict=False):
        _draw_maps(ax, name, outputs.kinds[name], outputs.values[name], maps)
    for ax in axes[: len(names) + 1]:
        ax.set_anchor("N")
    if with_scores:
        _draw_scores(axes[-1], last, scores, classes, top)
        axes[-1].set_box_aspect(1.2)
        axes[-1].set_anchor("N")
    return figure
