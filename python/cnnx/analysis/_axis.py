"""Which pixels values see along one axis, to the pixel: layers as maps from outputs to the inputs they read, and chains of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

_MOST_PHASES = 4096


class IrregularError(ValueError):
    """The maps of the layers repeat only after very many values."""


@dataclass(frozen=True)
class AxisField:
    """Along one axis: output n * len(first) + k sees the pixels first[k] + n * advance to last[k] + n * advance.

    It goes on beyond the image's borders, as if the layers were endless. An output that sees nothing has first > last. A layer's
    map from its outputs to its inputs is one of these, too; of what lies between, it reads every gap-th.
    """

    first: tuple[int, ...]
    last: tuple[int, ...]
    advance: int
    count: int
    gap: int = 1

    def pixels(self, output: int) -> tuple[int, int]:
        """The first and the last pixel."""
        n, k = divmod(output, len(self.first))
        return self.first[k] + n * self.advance, self.last[k] + n * self.advance

    @property
    def stride(self) -> Fraction:
        """Pixels between neighbouring outputs, on average."""
        return Fraction(self.advance, len(self.first))

    @property
    def sizes(self) -> list[int]:
        """Pixels that each of the outputs sees until it repeats."""
        return [max(0, last - first + 1) for first, last in zip(self.first, self.last, strict=True)]

    @property
    def center(self) -> Fraction:
        """Of the first output's field; where fields repeat, such that center + i * stride fits all best."""
        middles = [
            Fraction(first + last, 2) - k * self.stride
            for k, (first, last) in enumerate(zip(self.first, self.last, strict=True))
            if first <= last
        ]
        return sum(middles, Fraction(0)) / max(1, len(middles))

    def _seen(self, outputs: Iterable[int]) -> list[tuple[int, int]]:
        return [(first, last) for first, last in map(self.pixels, outputs) if first <= last]

    def _hull(self, begin: int, end: int, gap: int) -> tuple[int, int]:
        """What every gap-th output from begin to end sees; a period's number of them at each end sees the outermost pixels."""
        outputs = range(begin, end + 1, gap)
        low, high = self._seen(outputs[: len(self.first)]), self._seen(outputs[-len(self.first) :])
        return (min(low)[0], max(last for _, last in high)) if low and high else (0, -1)

    def through(self, layer: AxisField) -> AxisField:
        """Behind a layer that reads these outputs as its pixels."""
        phases = len(layer.first) * (len(self.first) // math.gcd(len(self.first), layer.advance))
        if phases > _MOST_PHASES:
            raise IrregularError
        fields = [self._hull(*layer.pixels(output), layer.gap) for output in range(phases)]
        advance = self.stride * layer.advance * (phases // len(layer.first))
        return AxisField(tuple(f for f, _ in fields), tuple(e for _, e in fields), int(advance), layer.count)

    def joined(self, other: AxisField) -> AxisField:
        """Of values computed from both, output by output; where their strides differ, as it is at the first output."""
        if self.stride == other.stride:
            phases = math.lcm(len(self.first), len(other.first))
            pairs = [self._seen([k]) + other._seen([k]) for k in range(phases)]
            first = tuple(min((f for f, _ in pair), default=0) for pair in pairs)
            last = tuple(max((e for _, e in pair), default=-1) for pair in pairs)
            return AxisField(first, last, int(self.stride * phases), self.count)
        wide, narrow = (self, other) if self.stride > other.stride else (other, self)
        before = max(0, wide.first[0] - narrow.first[0])
        behind = max(0, narrow.last[0] - wide.last[0])
        first, last = tuple(f - before for f in wide.first), tuple(e + behind for e in wide.last)
        return AxisField(first, last, wide.advance, self.count)


def sliding(kernel: int, stride: int, dilation: int, pad: int, count: int) -> AxisField:
    """A window that moves over the input."""
    return AxisField((-pad,), ((kernel - 1) * dilation - pad,), stride, count, dilation)


def transposed(kernel: int, stride: int, dilation: int, pad: int, count: int) -> AxisField:
    """A transposed convolution: output o reads the inputs i with o = i * stride - pad + k * dilation."""
    first, last = [], []
    for output in range(stride):
        reached = [output + pad - k * dilation for k in range(kernel)]
        inputs = [place // stride for place in reached if place % stride == 0]
        first.append(min(inputs, default=0))
        last.append(max(inputs, default=-1))
    return AxisField(tuple(first), tuple(last), 1, count, dilation // math.gcd(stride, dilation))


def adaptive(inputs: int, outputs: int) -> AxisField:
    """Windows from floor(i * n / m) to ceil((i + 1) * n / m); a single one slides by 1, as on a larger image it would."""
    if outputs == 1:
        return sliding(inputs, 1, 1, 0, 1)
    phases = outputs // math.gcd(inputs, outputs)
    first = tuple(i * inputs // outputs for i in range(phases))
    last = tuple(-(-(i + 1) * inputs // outputs) - 1 for i in range(phases))
    return AxisField(first, last, phases * inputs // outputs, outputs)


def resampled(step: Fraction, offset: Fraction, blends: bool, count: int) -> AxisField:
    """Output o lies at o * step + offset: it reads the input before, and if it blends the one behind as well."""
    phases = step.denominator
    if phases > _MOST_PHASES:
        raise IrregularError
    places = [step * output + offset for output in range(phases)]
    last = tuple(math.ceil(place) if blends else math.floor(place) for place in places)
    return AxisField(tuple(math.floor(place) for place in places), last, step.numerator, count)
