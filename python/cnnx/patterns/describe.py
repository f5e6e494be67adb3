"""The way back: the pattern of a Sequential."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .._arguments import check_input_shape
from .._core import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    zeros,
)
from .._modes import no_grad
from .build import LRN

__all__ = ["pattern_of"]

_LONGEST_PART = 24  # units that are looked at as one repeated part


def _one(value: Any) -> int | None:
    """A size that is the same in both directions."""
    if isinstance(value, tuple):
        return int(value[0]) if len(set(value)) == 1 else None
    return int(value) if isinstance(value, int) else None


def _window(module: Any, text: str, usual_stride: int | None, usual_padding: int) -> str | None:
    stride, padding = _one(module.stride), _one(module.padding)
    if stride is None or padding is None or _one(module.dilation) != 1 or module.fit is not None:
        return None
    text += "" if stride == usual_stride else f"/{stride}"
    return text + ("" if padding == usual_padding else f"P{padding}")


def _conv(module: Any) -> str | None:
    size = _one(module.kernel_size)
    if size is None or module.groups != 1 or module.bias is None:
        return None
    return _window(module, f"CONV{size}-{module.out_channels}", 1, (size - 1) // 2)


def _pool(module: Any) -> str | None:
    size = _one(module.kernel_size)
    return None if size is None else _window(module, f"POOL{size}", 2 if size == 2 else None, 0)


def _lrn(module: Any) -> str | None:
    return f"LRN{module.size}" if all(getattr(module, name) == value for name, value in LRN.items()) else None


def _bn(module: Any) -> str | None:
    usual = BatchNorm2d(module.num_features)
    return "BN" if repr(usual) == repr(module) else None


_NAMES: dict[type[Module], Callable[[Any], str | None]] = {
    Conv2d: _conv,
    MaxPool2d: _pool,
    Linear: lambda module: f"FC{module.out_features}" if module.bias is not None else None,
    ReLU: lambda module: "RELU",
    BatchNorm2d: _bn,
    LocalResponseNorm: _lrn,
    Dropout: lambda module: f"DROPOUT{module.p:.7g}",
}


class _Shapes:
    """Follows an empty batch through the layers that change its shape."""

    def __init__(self, input_shape: Sequence[int] | None) -> None:
        self.batch = None if input_shape is None else zeros(0, *check_input_shape("pattern_of", input_shape, axes=3))

    def changes(self, module: Module, place: str) -> bool:
        """Moves on behind the layer; whether the shape differs there. Yes if no shape is known."""
        if self.batch is None:
            return True
        before = self.batch.shape
        if isinstance(module, Conv2d | MaxPool2d | AdaptiveAvgPool2d | Flatten | Linear):
            try:
                with no_grad():
                    self.batch = module(self.batch)
            except ValueError as error:
                raise ValueError(f'[pattern_of] input_shape does not fit layer "{place}": {error}') from None
        return before != self.batch.shape


def _tokens(model: Sequential, path: str, shapes: _Shapes) -> Iterator[str]:
    for name, module in model.named_children():
        place = f"{path}{name}"
        if type(module) is Sequential:
            yield from _tokens(module, f"{place}.", shapes)
            continue
        changes = shapes.changes(module, place)
        if not isinstance(module, Flatten | Identity) and (changes or not isinstance(module, AdaptiveAvgPool2d)):
            make = _NAMES.get(type(module))
            token = make(module) if make else None
            if token is None:
                hint = ""
                if isinstance(module, AdaptiveAvgPool2d) and shapes.batch is None:
                    hint = " Pass input_shape=...: where it changes nothing, it is left out."
                raise ValueError(f'[pattern_of] no pattern can say layer "{place}": {module!r}.{hint}')
            yield token


def _fold_runs(units: list[str], length: int) -> list[str]:
    """Writes every run of equal parts of that many units as one unit ``[...]*k``."""
    folded: list[str] = []
    at = 0
    while at < len(units):
        part, repeats = units[at : at + length], 1
        starts_well = length == 1 or not part[0].startswith(("POOL", "RELU"))  # as people write: POOL ends a part
        while starts_well and units[at + repeats * length : at + (repeats + 1) * length] == part:
            repeats += 1
        if repeats > 1:
            inside = " -> ".join(part)
            is_token = length == 1 and "*" not in inside
            folded.append(f"{inside}*{repeats}" if is_token else f"[{inside}]*{repeats}")
            at += repeats * length
        else:
            folded.append(units[at])
            at += 1
    return folded


def _fold(units: list[str]) -> str:
    """Joins units; repeated parts go into brackets, short ones first, so that longer ones may repeat them."""
    length = 1
    while length <= min(len(units) // 2, _LONGEST_PART):
        folded = _fold_runs(units, length)
        length = length + 1 if len(folded) == len(units) else 1
        units = folded
    return " -> ".join(units)


def pattern_of(model: Sequential, numbers: bool = True, input_shape: Sequence[int] | None = None) -> str:
    """The pattern of a net of convolutions, pooling and linear layers: what :func:`cnnx.pattern` builds it from.

    ``cnnx.pattern(cnnx.pattern_of(model), input_shape=...)`` has the same layers, in one flat Sequential, for the input shape
    that the model is made for.

    Args:
        model: a Sequential, nested ones included.
        numbers: whether layers carry their numbers; without, only the structure is written, which repeats more often.
        input_shape: (channels, height, width) of the images. With it, adaptive pooling that changes nothing is left out.

    Returns:
        The pattern, repeated parts in brackets.

    Raises:
        ValueError: for a layer that patterns have no word for; names it.

    Example:
        >>> import cnnx
        >>> cnnx.pattern_of(cnnx.models.lenet5())
        'INPUT -> CONV5-6P0 -> RELU -> POOL2 -> CONV5-16P0 -> RELU -> POOL2 -> FC120 -> RELU -> FC84 -> RELU -> FC10'
        >>> cnnx.pattern_of(cnnx.models.cifar_net(), numbers=False)
        'INPUT -> [[CONV -> RELU]*2 -> POOL]*2 -> FC -> RELU -> FC'
        >>> cnnx.pattern_of(cnnx.models.vgg11(), numbers=False, input_shape=(3, 224, 224))
        'INPUT -> [CONV -> RELU -> POOL]*2 -> [[CONV -> RELU]*2 -> POOL]*3 -> [FC -> RELU -> DROPOUT]*2 -> FC'
    """
    if not isinstance(model, Sequential):
        raise ValueError(f"[pattern_of] expected a Sequential; got {type(model).__name__}.")
    units = list(_tokens(model, "", _Shapes(input_shape)))
    if not numbers:
        units = [re.match("[A-Z]+?(?=[0-9]|$)", unit)[0] for unit in units]  # type: ignore[index]
    return " -> ".join(part for part in ("INPUT", _fold(units)) if part)
