"""Hypothesis strategies for the geometries of convolution and pooling, shared by all tests that need one."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from reference import out_size


@dataclass(frozen=True)
class ConvCase:
    batch: int
    in_channels: int
    out_channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    bias: bool

    @property
    def options(self) -> dict[str, object]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


@dataclass(frozen=True)
class TransposeCase:
    batch: int
    in_channels: int
    out_channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    output_padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    bias: bool

    @property
    def options(self) -> dict[str, object]:
        names = ("stride", "padding", "output_padding", "dilation", "groups")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class PoolCase:
    shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    fit: str


def _pair(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def conv_cases(draw: st.DrawFn, symmetric: bool = False) -> ConvCase:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    depthwise = draw(st.booleans()) and groups > 1
    in_channels = groups * (1 if depthwise else draw(st.integers(1, 4)))
    out_channels = groups * draw(st.integers(1, 4))
    kernel, stride, dilation = draw(_pair(1, 5)), draw(_pair(1, 4)), draw(_pair(1, 3))
    if draw(st.integers(0, 3)) == 0:  # what some algorithms are made for
        kernel, stride, dilation = (3, 3), (1, 1), (1, 1)
    vertical, horizontal = draw(_pair(0, 4)), draw(_pair(0, 4))
    if symmetric:
        vertical, horizontal = (vertical[0],) * 2, (horizontal[0],) * 2
    padding = (*vertical, *horizontal)
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    low = (max(1, extent[0] - sum(vertical)), max(1, extent[1] - sum(horizontal)))
    size = (low[0] + draw(st.integers(0, 8)), low[1] + draw(st.integers(0, 8)))
    return ConvCase(
        draw(st.integers(1, 3)),
        in_channels,
        out_channels,
        size,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
    )


@st.composite
def pool_cases(
    draw: st.DrawFn, dilated: bool = True, symmetric: bool = False, fits: tuple[str, ...] = ("floor", "ceil")
) -> PoolCase:
    kernel, stride = draw(_pair(1, 5)), draw(_pair(1, 4))
    dilation = draw(_pair(1, 3)) if dilated else (1, 1)
    if draw(st.integers(0, 3)) == 0:  # the usual windows, on rows of several vectors
        planes = (draw(st.integers(1, 2)), draw(st.integers(1, 3)))
        size = (draw(st.integers(2, 9)), draw(st.integers(2, 70)))
        return PoolCase((*planes, *size), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), draw(st.sampled_from(fits)))

    def pads(k: int) -> tuple[int, int]:
        before, after = draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))
        return (before, before) if symmetric else (before, after)

    vertical, horizontal = pads(kernel[0]), pads(kernel[1])
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    size = tuple(e + draw(st.integers(0, 8)) for e in extent)  # every window touches the image
    return PoolCase(
        (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size),
        kernel,
        stride,
        (*vertical, *horizontal),
        dilation,
        draw(st.sampled_from(fits)),
    )


def conv_output_size(case: ConvCase, fit: str = "floor") -> tuple[int, int]:
    top, bottom, left, right = case.padding
    return (
        out_size(case.size[0], case.kernel[0], case.stride[0], top, bottom, case.dilation[0], fit),
        out_size(case.size[1], case.kernel[1], case.stride[1], left, right, case.dilation[1], fit),
    )


@st.composite
def transpose_cases(draw: st.DrawFn, symmetric: bool = False) -> TransposeCase:
    """Cases of transposed convolution: padding leaves at least one row and column."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    in_channels, out_channels = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    size, kernel, stride, dilation = draw(_pair(1, 6)), draw(_pair(1, 4)), draw(_pair(1, 4)), draw(_pair(1, 3))
    if draw(st.integers(0, 3)) == 0:  # what some algorithms are made for
        size, kernel, stride, dilation = draw(_pair(1, 12)), (3, 3), (1, 1), (1, 1)
    extra, padding = [], []
    for axis in range(2):
        extra.append(draw(st.integers(0, max(stride[axis], dilation[axis]) - 1)))
        full = (size[axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 + extra[axis]
        before = draw(st.integers(0, min(4, (full - 1) // 2)))
        padding += [before, before if symmetric else draw(st.integers(0, min(4, full - 1 - before)))]
    return TransposeCase(
        draw(st.integers(1, 3)),
        in_channels,
        out_channels,
        size,
        kernel,
        stride,
        (padding[0], padding[1], padding[2], padding[3]),
        (extra[0], extra[1]),
        dilation,
        groups,
        draw(st.booleans()),
    )
