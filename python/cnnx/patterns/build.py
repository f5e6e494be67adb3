"""From the tree of a pattern to layers: sizes are inferred, numbers that are left out get their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .._arguments import check_input_shape, check_integer
from .._core import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    conv2d,
    max_pool2d,
    zeros,
)
from .grammar import MAX_STEPS, Group, Source, Step, Token, parse

__all__ = ["pattern"]

MAX_PARAMETERS = 2**30
LRN: dict[str, Any] = {"alpha": 5e-4, "beta": 0.75, "k": 2.0}  # AlexNet's


class LayerSpec(NamedTuple):
    """A layer that is planned: its class, its arguments, where its token stands, and the output's shape without batch."""

    layer: type[Module]
    arguments: dict[str, Any]
    token: Token
    shape: tuple[int, ...]


class _DoesNotFitError(ValueError):
    """The volume is too small for a window."""


@dataclass
class _Planner:
    source: Source
    shape: tuple[int, ...]
    filters: int
    growth: int
    kernel_size: int
    hidden: int
    rate: float
    optional: bool
    specs: list[LayerSpec] = field(default_factory=list)
    parameters: int = 0

    def chain(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Token):
                self.token(step)
            elif not step.optional:
                self.group(step)
            elif self.optional:
                before = self.shape, self.filters, len(self.specs), self.parameters
                try:
                    self.group(step)
                except _DoesNotFitError:
                    self.shape, self.filters, count, self.parameters = before
                    del self.specs[count:]

    def group(self, step: Group) -> None:
        for _ in range(step.repeats):
            count = len(self.specs)
            self.chain(step.steps)
            if len(self.specs) == count:  # and so would all further rounds do nothing
                return

    def token(self, token: Token) -> None:
        if len(self.specs) >= MAX_STEPS:
            raise self.source.error(token.at, f"a pattern has at most {MAX_STEPS} layers; got more.")
        if token.kind in ("CONV", "POOL", "BN", "LRN") and len(self.shape) == 1:
            raise self.source.error(
                token.at, f"{token.kind} needs a volume; here is a vector of {self.shape[0]} values, behind FC."
            )
        getattr(self, token.kind.lower())(token)

    def add(self, token: Token, layer: type[Module], parameters: int = 0, **arguments: Any) -> None:
        self.parameters += parameters
        _check_parameters(self.source, token, self.parameters)
        self.specs.append(LayerSpec(layer, arguments, token, self.shape))

    def window(self, token: Token, size: int, stride: int, padding: int) -> tuple[int, int]:
        """The output's height and width, by the library's own rule; an empty batch costs nothing."""
        _, height, width = self.shape
        try:
            if token.kind == "POOL":
                columns = max_pool2d(zeros(0, 1, height, width), size, stride, padding)
                return columns.shape[2], columns.shape[3]  # type: ignore[index]
            rows = conv2d(zeros(0, 1, height, 1), zeros(1, 1, size, 1), None, (stride, 1), (padding, 0))
            columns = conv2d(zeros(0, 1, 1, width), zeros(1, 1, 1, size), None, (1, stride), (0, padding))
            return rows.shape[2], columns.shape[3]  # type: ignore[index]
        except ValueError as error:
            text = f"{token.kind} does not fit the volume of {height} x {width}: {error}"
            raise _DoesNotFitError(self.source.error(token.at, text).args[0]) from None

    def positive(self, token: Token, name: str, default: int) -> int:
        value = int(token.numbers.get(name, default))
        if value < 1:
            raise self.source.error(token.at, f"{name} must be at least 1; got {value}.")
        return value

    # ---- One method for each kind of token

    def input(self, token: Token) -> None:
        raise self.source.error(token.at, "INPUT comes once, at the beginning.")

    def conv(self, token: Token) -> None:
        size = self.positive(token, "size", self.kernel_size)
        count = self.positive(token, "count", self.filters)
        stride = self.positive(token, "stride", 1)
        padding = int(token.numbers.get("padding", (size - 1) // 2))
        channels = self.shape[0]
        self.shape = (count, *self.window(token, size, stride, padding))
        arguments = {"in_channels": channels, "out_channels": count, "kernel_size": size}
        self.add(token, Conv2d, (channels * size * size + 1) * count, **arguments, stride=stride, padding=padding)

    def pool(self, token: Token) -> None:
        size = self.positive(token, "size", 2)
        stride = self.positive(token, "stride", 2)
        padding = int(token.numbers.get("padding", 0))
        self.shape = (self.shape[0], *self.window(token, size, stride, padding))
        self.filters *= self.growth
        self.add(token, MaxPool2d, kernel_size=size, stride=stride, padding=padding)

    def fc(self, token: Token) -> None:
        features = 1
        for extent in self.shape:
            features *= extent
        if len(self.shape) > 1:
            self.shape = (features,)
            self.add(token, Flatten)
        count = self.positive(token, "count", self.hidden)
        self.shape = (count,)
        self.add(token, Linear, (features + 1) * count, in_features=features, out_features=count)

    def relu(self, token: Token) -> None:
        self.add(token, ReLU)

    def bn(self, token: Token) -> None:
        self.add(token, BatchNorm2d, 2 * self.shape[0], num_features=self.shape[0])

    def lrn(self, token: Token) -> None:
        self.add(token, LocalResponseNorm, size=self.positive(token, "size", 5), **LRN)

    def dropout(self, token: Token) -> None:
        rate = float(token.numbers.get("rate", self.rate))
        if rate > 1:
            raise self.source.error(token.at, f"the rate of DROPOUT must lie in [0, 1]; got {rate:g}.")
        self.add(token, Dropout, p=rate)


def _check_parameters(source: Source, token: Token, count: int) -> None:
    if count > MAX_PARAMETERS:
        text = f"with this layer the net has {count:,} parameters; the limit is {MAX_PARAMETERS:,}."
        raise source.error(token.at, text)


def _without_input(source: Source, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    first = steps[0]
    while isinstance(first, Group) and first.repeats == 1 and not first.optional and len(first.steps) == 1:
        first = first.steps[0]
    if not isinstance(first, Token) or first.kind != "INPUT":
        raise source.error(steps[0].at, "a pattern begins with INPUT.")
    return steps[1:]


def _set_classes(source: Source, specs: list[LayerSpec], classes: int | None) -> None:
    """The last FC layer gives the scores: without a number of its own it has one for each class."""
    last = next((i for i in reversed(range(len(specs))) if specs[i].layer is Linear), None)
    if last is None:
        if classes is not None:
            raise ValueError(f"[pattern] classes={classes} is given, but no FC layer gives scores. End with FC.")
        return
    layer, arguments, token, _ = specs[last]
    if "count" in token.numbers:
        if classes not in (None, arguments["out_features"]):
            raise source.error(token.at, f"this FC layer gives {arguments['out_features']} scores; classes={classes}.")
        return
    if classes is None:
        raise source.error(token.at, "how many scores? Pass classes=..., or write the number: FC10.")
    _check_parameters(source, token, (arguments["in_features"] + 1) * classes)
    specs[last] = LayerSpec(layer, {**arguments, "out_features": classes}, token, (classes,))
    for i in range(last + 1, len(specs)):
        specs[i] = specs[i]._replace(shape=(classes,))


def plan(
    text: str,
    *,
    input_shape: Sequence[int],
    classes: int | None = None,
    filters: int = 32,
    growth: int = 2,
    kernel_size: int = 3,
    hidden: int = 256,
    dropout: float = 0.5,
    optional: bool = True,
    **repeats: int,
) -> list[LayerSpec]:
    """The layers of a pattern with their sizes, before any is made. Arguments as for :func:`pattern`."""
    if not isinstance(text, str):
        raise TypeError(f"[pattern] expected a string; got {type(text).__name__}.")
    op = "pattern"
    shape = check_input_shape(op, input_shape, axes=3)
    numbers = {"filters": filters, "growth": growth, "kernel_size": kernel_size, "hidden": hidden}
    numbers = {name: check_integer(op, name, value) for name, value in numbers.items()}
    counts = {name: check_integer(op, name, value, least=0) for name, value in repeats.items()}
    if classes is not None:
        classes = check_integer(op, "classes", classes)
    if not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
        raise ValueError(f"[pattern] dropout must lie in [0, 1]; got {dropout!r}.")
    source = Source(text)
    steps = _without_input(source, parse(source, counts))
    planner = _Planner(
        source,
        shape,
        filters=numbers["filters"],
        growth=numbers["growth"],
        kernel_size=numbers["kernel_size"],
        hidden=numbers["hidden"],
        rate=dropout,
        optional=optional,
    )
    try:
        planner.chain(steps)
    except _DoesNotFitError as error:
        raise ValueError(*error.args) from None
    _set_classes(source, planner.specs, classes)
    return planner.specs


def pattern(
    text: str,
    *,
    input_shape: Sequence[int],
    classes: int | None = None,
    filters: int = 32,
    growth: int = 2,
    kernel_size: int = 3,
    hidden: int = 256,
    dropout: float = 0.5,
    optional: bool = True,
    **repeats: int,
) -> Sequential:
    """Builds a net from its layer pattern, as CS231n's notes write it. Sizes follow from those before.

    Steps are joined by ``->``; ``[...]`` groups, ``*3`` or ``*N`` repeats, ``?`` makes a step optional: it is left out where
    its window does not fit the volume that is left. Letters may be small or capital.

    ======================  ===============================================================================================
    INPUT                   the images; every pattern begins with it
    CONV, CONV3-64          convolution of 3x3 windows and 64 filters, padded to keep the size; ``/2`` is the stride and
                            ``P0`` the padding: CONV11-96/4P0. Without numbers: ``kernel_size`` and ``filters``, multiplied
                            by ``growth`` for each POOL before
    POOL, POOL3/2           max pooling of 3x3 windows with stride 2; without numbers 2 and 2; ``P1`` is the padding
    FC, FC4096              linear layer, behind Flatten if a volume comes in; without a number ``hidden`` values, or
                            ``classes`` in the last one
    RELU, BN, DROPOUT       ReLU, batch normalization, dropout (DROPOUT0.3: that rate)
    LRN                     local response normalization over 5 channels with AlexNet's constants (LRN3: over 3)
    ======================  ===============================================================================================

    Args:
        text: the pattern.
        input_shape: (channels, height, width) of the images.
        classes: length of the score vector: values of the last FC layer.
        filters: of the first convolutions without a number.
        growth: factor of the filters behind each POOL; 1 keeps them.
        kernel_size: of convolutions without a number.
        hidden: values of FC layers without a number.
        dropout: rate of DROPOUT without a number.
        optional: whether optional steps that fit are built.
        repeats: values of the names behind ``*``, such as ``N=2``; 0 leaves the step out.

    Returns:
        A Sequential of layers named "0", "1", ...

    Raises:
        ValueError: for text that is no pattern, sizes that do not fit, names without a value, and nets of more than 10,000
            layers or 2^30 parameters; points at the place in the text.

    Source:
        CS231n, "Convolutional Neural Networks", section Layer Patterns.

    Example:
        >>> import cnnx
        >>> net = cnnx.pattern("INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC",
        ...                    N=1, M=2, K=1, input_shape=(3, 32, 32), classes=10, filters=16, hidden=64)
        >>> net
        Sequential(
          (0): Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (1): ReLU()
          (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1)
          (3): Conv2d(16, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (4): ReLU()
          (5): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1)
          (6): Flatten(start_dim=1, end_dim=-1)
          (7): Linear(in_features=2048, out_features=64, bias=True)
          (8): ReLU()
          (9): Linear(in_features=64, out_features=10, bias=True)
        )
        >>> cnnx.pattern("INPUT -> CONV -> REUL -> FC", input_shape=(3, 32, 32), classes=10)
        Traceback (most recent call last):
        ValueError: [pattern] "REUL" is no layer. Layers are INPUT, CONV, CONV3-64, ...
          INPUT -> CONV -> REUL -> FC
                           ^
    """
    specs = plan(
        text,
        input_shape=input_shape,
        classes=classes,
        filters=filters,
        growth=growth,
        kernel_size=kernel_size,
        hidden=hidden,
        dropout=dropout,
        optional=optional,
        **repeats,
    )
    return Sequential(*(layer(**arguments) for layer, arguments, _, _ in specs))
