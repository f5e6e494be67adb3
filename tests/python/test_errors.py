"""Bad calls: the exception and the message, which are part of the interface. Nothing here may crash or change anything."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

import cnnx
import cnnx.functional as F

_X = cnnx.zeros(2, 3, 8, 8)
_W = cnnx.zeros(4, 3, 3, 3)
_T = cnnx.zeros(3, 4, 3, 3)
_INTS = cnnx.zeros(2, 3, 8, 8, dtype="int64")
_SCORES = cnnx.zeros(2, 5)
_PARAMETER = cnnx.ones(2, requires_grad=True)
_HUGE = 2**62
_NET = cnnx.Sequential(cnnx.Conv2d(3, 2, 3), cnnx.AdaptiveAvgPool2d(1), cnnx.Flatten())


class _Product(cnnx.Module):
    """Does something that is no layer, then perhaps a layer."""

    def __init__(self, layer: cnnx.Module | None = None) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        return x * x if self.layer is None else self.layer(x * x)


class _Unused(cnnx.Module):
    """Has a layer that it does not call, and may return two tensors."""

    def __init__(self, two: bool = False) -> None:
        super().__init__()
        self.unused, self.two = cnnx.ReLU(), two

    def forward(self, x: cnnx.Tensor) -> object:
        return (x, x) if self.two else x


def _meta_net() -> cnnx.Module:
    with cnnx.Device("meta"):
        return cnnx.Conv2d(3, 2, 3)


def _misaligned() -> np.ndarray:
    return np.zeros(9, np.uint8)[1:].view(np.float32)


_CASES: list[tuple[Callable[[], object], type[Exception], str]] = [
    # Convolution
    (
        lambda: F.conv2d(_X[0], _W),
        ValueError,
        "[conv2d] expected an input of shape (N, C, H, W); got shape (3, 8, 8). Add a batch axis",
    ),
    (
        lambda: F.conv2d(_X, _W[0]),
        ValueError,
        "[conv2d] expected a weight of shape (K, C / groups, R, S); got shape (3, 3, 3).",
    ),
    (
        lambda: F.conv2d(cnnx.zeros(8, 4, 32, 32), cnnx.zeros(16, 3, 5, 5)),
        ValueError,
        "[conv2d] expected 3 input channels (weight is (16, 3, 5, 5)); got input of shape (8, 4, 32, 32).",
    ),
    (lambda: F.conv2d(_X, _W, cnnx.zeros(3)), ValueError, "[conv2d] expected a bias of shape (4,); got (3,)."),
    (lambda: F.conv2d(_X, _W.to("float64")), ValueError, "[conv2d] expected weight of dtype float32; got float64."),
    (lambda: F.conv2d(_INTS, _W), ValueError, "[conv2d] expected float32 or float64; got int64."),
    (lambda: F.conv2d(_X, _W, stride=0), ValueError, "[conv2d] stride must be at least 1; got 0"),
    (
        lambda: F.conv2d(_X, _W, stride=_HUGE),
        ValueError,
        "[conv2d] kernel size, stride, dilation and padding must be below 2^31",
    ),
    (lambda: F.conv2d(_X, _W, padding=-1), ValueError, "[conv2d] padding must not be negative; got -1"),
    (
        lambda: F.conv2d(_X, _W, padding=_HUGE),
        ValueError,
        "stride, dilation and padding must be below 2^31; got 3, 1, 1",
    ),
    (lambda: F.conv2d(_X, _W, dilation=0), ValueError, "[conv2d] dilation must be at least 1"),
    (
        lambda: F.conv2d(_X, _W, dilation=10),
        ValueError,
        "[conv2d] kernel 3 with dilation 10 covers 21 values, more than the padded height of 8.",
    ),
    (lambda: F.conv2d(_X, _W, groups=0), ValueError, "[conv2d] groups must be at least 1; got 0."),
    (
        lambda: F.conv2d(_X, _W, groups=3),
        ValueError,
        "[conv2d] out channels must be a positive multiple of groups; got 4 and groups 3.",
    ),
    (lambda: F.conv2d(_X, _W, padding="same", stride=2), ValueError, '[conv2d] padding="same" needs stride 1; got 2'),
    (
        lambda: F.conv2d(_X, _W, padding="some"),
        ValueError,
        '[padding] expected an int, (h, w), (top, bottom, left, right), "same" or "valid"; got "some".',
    ),
    (lambda: F.conv2d(_X, _W, fit="tight"), ValueError, '[fit] expected "floor", "ceil" or "strict"; got "tight".'),
    (lambda: F.conv2d(_X, _W, stride=1.5), TypeError, "stride"),
    (lambda: F.conv2d(_X, _W, stride=(1, 2, 3)), TypeError, "stride"),
    (lambda: F.conv2d(_X, None), TypeError, "conv2d"),
    (lambda: cnnx.set_conv_algorithm("magic"), ValueError, "magic"),
    (lambda: cnnx.fit_mode("loose"), ValueError, "loose"),
    # Pooling
    (lambda: F.max_pool2d(_X, 0), ValueError, "[max_pool2d] kernel size must be at least 1; got 0"),
    (
        lambda: F.max_pool2d(_X, 9),
        ValueError,
        "[max_pool2d] kernel 9 with dilation 1 covers 9 values, more than the padded height of 8.",
    ),
    (
        lambda: F.max_pool2d(_X, 2, padding=2),
        ValueError,
        "[max_pool2d] padding must be at most half the kernel, 1; got 2.",
    ),
    (
        lambda: F.max_pool2d(cnnx.zeros(8, 8), 2),
        ValueError,
        "[max_pool2d] expected images of shape (N, C, H, W); got shape (8, 8).",
    ),
    (lambda: F.avg_pool2d(_INTS, 2), ValueError, "[avg_pool2d] expected float32 or float64; got int64."),
    (lambda: F.local_response_norm(_X, 0), ValueError, "[local_response_norm] size must be at least 1; got 0."),
    (
        lambda: F.local_response_norm(_SCORES, 5),
        ValueError,
        "[local_response_norm] expected an input of shape (N, C, ...)",
    ),
    (lambda: F.local_response_norm(_X, 5, k=0.0), ValueError, "[local_response_norm] k must be finite and positive"),
    (lambda: F.lp_pool2d(_X, 0, 2), ValueError, "[lp_pool2d] norm_type must be positive and finite; got 0."),
    (lambda: F.lp_pool2d(_X, float("nan"), 2), ValueError, "[lp_pool2d] norm_type must be positive"),
    (
        lambda: F.adaptive_avg_pool2d(_X, 0),
        ValueError,
        "[adaptive_avg_pool2d] output size must be at least 1; got (0, 0).",
    ),
    (
        lambda: F.adaptive_max_pool2d(cnnx.zeros(1, 1, 0, 4), 1),
        ValueError,
        "[adaptive_max_pool2d] expected images with pixels",
    ),
    # Linear, normalisation, activations
    (
        lambda: F.linear(_SCORES, cnnx.zeros(3, 4)),
        ValueError,
        "[linear] expected 4 input features (weight is (3, 4)); got input of shape (2, 5).",
    ),
    (lambda: F.linear(_X, cnnx.zeros(3, 192)), ValueError, "Flatten it first."),
    (lambda: F.linear(_SCORES, cnnx.zeros(5)), ValueError, "[linear] expected a weight of shape (out, in)"),
    (lambda: F.batch_norm(_X), ValueError, "[batch_norm] evaluation needs running_mean and running_var."),
    (
        lambda: F.batch_norm(_X, cnnx.zeros(4), cnnx.zeros(4)),
        ValueError,
        "[batch_norm] expected running_mean of shape (3,)",
    ),
    (
        lambda: F.batch_norm(cnnx.zeros(1, 3, 1, 1), training=True),
        ValueError,
        "[batch_norm] training needs more than one value a channel",
    ),
    (lambda: cnnx.BatchNorm2d(3)(_SCORES), ValueError, "[BatchNorm2d] expected an input (N, C, H, W)"),
    (lambda: F.dropout(_X, 1.5), ValueError, "[dropout] p must lie in [0, 1]; got 1.5."),
    (lambda: F.gelu(_X, "rough"), ValueError, '[gelu] approximate must be "none" or "tanh"; got "rough".'),
    (lambda: F.softmax(_X, 4), IndexError, "[softmax] axis must lie in [-4, 4); got 4."),
    # Transposed and locally connected layers, columns
    (lambda: F.conv_transpose2d(_X[0], _T), ValueError, "[conv_transpose2d] expected an input of shape (N, C, H, W)"),
    (
        lambda: F.conv_transpose2d(_X, _T[0]),
        ValueError,
        "[conv_transpose2d] expected a weight of shape (C, K / groups, R, S); got shape (4, 3, 3).",
    ),
    (
        lambda: F.conv_transpose2d(_X, _W),
        ValueError,
        "[conv_transpose2d] expected 4 input channels (weight is (4, 3, 3, 3)); got input of shape (2, 3, 8, 8).",
    ),
    (
        lambda: F.conv_transpose2d(_X, _T, groups=2),
        ValueError,
        "[conv_transpose2d] in channels must be a positive multiple of groups; got weight (3, 4, 3, 3) and groups 2.",
    ),
    (lambda: F.conv_transpose2d(_X, _T, groups=0), ValueError, "[conv_transpose2d] groups must be at least 1; got 0."),
    (
        lambda: F.conv_transpose2d(_X, _T, cnnx.zeros(3)),
        ValueError,
        "[conv_transpose2d] expected a bias of shape (4,); got (3,).",
    ),
    (
        lambda: F.conv_transpose2d(_X, _T, stride=(1, 0)),
        ValueError,
        "[conv_transpose2d] kernel size, stride and dilation must be at least 1; got 3, 0 and 1 for the width.",
    ),
    (
        lambda: F.conv_transpose2d(_X, _T, padding=-1),
        ValueError,
        "[conv_transpose2d] padding and output_padding must not be negative; got (-1, -1) and 0 for the height.",
    ),
    (
        lambda: F.conv_transpose2d(_X, _T, stride=2, output_padding=2),
        ValueError,
        "[conv_transpose2d] output_padding must be smaller than stride or dilation; got 2, 2 and 1 for the height.",
    ),
    (
        lambda: F.conv_transpose2d(_X, _T, padding=5),
        ValueError,
        "[conv_transpose2d] the output's height would be (8 - 1) * 1 - 10 + 3 + 0 = 0. Use less padding.",
    ),
    (
        lambda: F.conv_transpose2d(_X, _T, padding="same"),
        ValueError,
        '[conv_transpose2d] padding="same" has no meaning here.',
    ),
    (lambda: F.conv_transpose2d(_X, _T, stride=_HUGE), ValueError, "[conv_transpose2d] lengths, kernel size, stride"),
    (
        lambda: F.conv_transpose2d(_X, _T, dilation=2**31 - 1),
        ValueError,
        "[conv_transpose2d] shape (2, 4, 4294967302, 4294967302) has too many",
    ),
    (
        lambda: F.conv_transpose2d(cnnx.zeros(1, 3, 0, 4), _T),
        ValueError,
        "[conv_transpose2d] expected images with pixels; got a height of 0.",
    ),
    (
        lambda: F.locally_connected2d(_X, _W),
        ValueError,
        "[locally_connected2d] expected a weight of shape (OH, OW, K, C, R, S); got shape (4, 3, 3, 3).",
    ),
    (
        lambda: F.locally_connected2d(_X, cnnx.zeros(6, 6, 4, 2, 3, 3)),
        ValueError,
        "[locally_connected2d] expected 2 input channels (weight is (6, 6, 4, 2, 3, 3)); got input of shape (2, 3, 8, 8).",
    ),
    (
        lambda: F.locally_connected2d(_X, cnnx.zeros(5, 6, 4, 3, 3, 3)),
        ValueError,
        "[locally_connected2d] the weight has filters for an output of 5 x 6, but an input of 8 x 8 gives 6 x 6.",
    ),
    (
        lambda: F.locally_connected2d(_X, cnnx.zeros(6, 6, 4, 3, 3, 3), cnnx.zeros(4)),
        ValueError,
        "[locally_connected2d] expected a bias of shape (4, 6, 6); got (4,).",
    ),
    (
        lambda: F.im2col(cnnx.zeros(8, 8), 3),
        ValueError,
        "[im2col] expected images of shape (N, C, H, W); got shape (8, 8).",
    ),
    (
        lambda: F.im2col(_X, 9),
        ValueError,
        "[im2col] kernel 9 with dilation 1 covers 9 values, more than the padded height",
    ),
    (
        lambda: F.im2col(_X, 2**31 - 1, padding=2**30),
        ValueError,
        "has too many elements",
    ),
    (lambda: F.col2im(_X, 8, 3), ValueError, "[col2im] expected columns of shape (N, C * R * S, OH * OW)"),
    (
        lambda: F.col2im(cnnx.zeros(1, 28, 36), 8, 3),
        ValueError,
        "[col2im] the rows must be a multiple of the kernel's 9 values; got shape (1, 28, 36).",
    ),
    (
        lambda: F.col2im(cnnx.zeros(1, 27, 35), 8, 3),
        ValueError,
        "[col2im] expected 6 * 6 = 36 columns for output size (8, 8); got shape (1, 27, 35).",
    ),
    (lambda: F.col2im(cnnx.zeros(1, 9, 1), 0, 3), ValueError, "[col2im] output size must be at least 1; got (0, 0)."),
    # Normalization of images, resampling
    (
        lambda: F.group_norm(_X, 2),
        ValueError,
        "[group_norm] num_groups must be positive and divide the channels; got 2 for input (2, 3, 8, 8).",
    ),
    (lambda: F.group_norm(_X, 0), ValueError, "[group_norm] num_groups must be positive"),
    (lambda: F.group_norm(_X, 3, cnnx.zeros(2)), ValueError, "[group_norm] expected weight of shape (3,) for input"),
    (lambda: F.group_norm(_X, 3, eps=-1.0), ValueError, "[group_norm] eps must not be negative; got -1."),
    (lambda: F.group_norm(cnnx.zeros(3), 3), ValueError, "[group_norm] expected an input of shape (N, C, ...)"),
    (
        lambda: F.layer_norm(_X, (8, 7)),
        ValueError,
        "[layer_norm] expected an input whose last axes are (8, 7); got shape (2, 3, 8, 8).",
    ),
    (lambda: F.layer_norm(_X, ()), ValueError, "[layer_norm] expected an input whose last axes are ()"),
    (
        lambda: F.layer_norm(cnnx.zeros(2, 0), 0),
        ValueError,
        "[layer_norm] normalized_shape must have values; got (0,).",
    ),
    (
        lambda: F.layer_norm(_X, 8, cnnx.zeros(8), cnnx.zeros(1)),
        ValueError,
        "[layer_norm] expected bias of shape (8,) for input (2, 3, 8, 8); got (1,).",
    ),
    (
        lambda: F.instance_norm(cnnx.zeros(2, 3, 1, 1)),
        ValueError,
        "[instance_norm] the image's own statistics need more than one value a channel; got input of shape (2, 3, 1, 1).",
    ),
    (lambda: F.instance_norm(_SCORES), ValueError, "[instance_norm] expected an input of shape (N, C, L, ...)"),
    (
        lambda: F.instance_norm(_X, use_input_stats=False),
        ValueError,
        "[instance_norm] use_input_stats=False needs running_mean and running_var.",
    ),
    (lambda: F.dropout2d(_SCORES), ValueError, "[dropout2d] expected images of shape (N, C, H, W); got shape (2, 5)."),
    (lambda: F.dropout2d(_X, 2.0), ValueError, "[dropout2d] p must lie in [0, 1]; got 2."),
    (lambda: F.upsample(_X), ValueError, "[upsample] expected either size or scale_factor; got neither."),
    (lambda: F.upsample(_X, 3, 2), ValueError, "[upsample] expected either size or scale_factor; got both."),
    (
        lambda: F.upsample(_X[0], 3),
        ValueError,
        "[upsample] expected images of shape (N, C, H, W); got shape (3, 8, 8).",
    ),
    (
        lambda: F.upsample(_X, 3, mode="bicubic"),
        ValueError,
        '[upsample] mode must be "nearest" or "bilinear"; got "bicubic".',
    ),
    (
        lambda: F.upsample(_X, 3, align_corners=True),
        ValueError,
        '[upsample] align_corners needs mode="bilinear".',
    ),
    (
        lambda: F.upsample(_X, (4, 0)),
        ValueError,
        "[upsample] the output's sides must lie in [1, 2^31); got size (4, 0).",
    ),
    (
        lambda: F.upsample(_X, scale_factor=0.1),
        ValueError,
        "[upsample] the output's sides must lie in [1, 2^31); got 8 * 0.1 = 0.",
    ),
    (lambda: F.upsample(_X, scale_factor=1e300), ValueError, "[upsample] the output's sides must lie in [1, 2^31)"),
    (
        lambda: F.upsample(_X, scale_factor=(1, float("nan"))),
        ValueError,
        "[upsample] scale_factor must be positive and finite; got nan.",
    ),
    (
        lambda: F.upsample(cnnx.zeros(1, 1, 0, 4), 2),
        ValueError,
        "[upsample] expected images with pixels; got shape (1, 1, 0, 4).",
    ),
    (
        lambda: F.pad(_X, (0, 8), "reflect"),
        ValueError,
        "[pad] reflected borders must be smaller than the axis, 8; got 0 and 8.",
    ),
    (
        lambda: F.pad(_X, (1,) * 6, "reflect"),
        ValueError,
        '[pad] mode "reflect" pads the last two axes; got 6 numbers.',
    ),
    (lambda: F.pad(_X, (1, 1), "wrap"), ValueError, '[pad] mode must be "constant" or "reflect"; got "wrap".'),
    (lambda: F.pad(_INTS, (1, 1), "reflect"), ValueError, "[pad] expected float32 or float64; got int64."),
    # Losses
    (
        lambda: F.cross_entropy(_SCORES, cnnx.tensor([0, 5])),
        IndexError,
        "[cross_entropy] targets must lie in [0, 5); got 5 at position 1.",
    ),
    (
        lambda: F.cross_entropy(_SCORES, cnnx.tensor([0.0, 1.0])),
        ValueError,
        "[cross_entropy] targets must be class numbers of dtype int64; got float32.",
    ),
    (
        lambda: F.cross_entropy(_SCORES, cnnx.tensor([0, 1, 2])),
        ValueError,
        "[cross_entropy] expected targets of shape (2,) for scores of shape (2, 5); got (3,).",
    ),
    (
        lambda: F.cross_entropy(_SCORES, cnnx.tensor([0, 1]), cnnx.zeros(4)),
        ValueError,
        "[cross_entropy] expected class weights of shape (5,); got (4,).",
    ),
    (
        lambda: F.cross_entropy(_SCORES, cnnx.tensor([0, 1]), label_smoothing=2),
        ValueError,
        "label_smoothing must lie in [0, 1]",
    ),
    (
        lambda: F.cross_entropy(_SCORES, cnnx.tensor([0, 1]), reduction="all"),
        ValueError,
        '[reduction] expected "mean", "sum" or "none"; got "all".',
    ),
    (
        lambda: F.multi_margin_loss(_SCORES, cnnx.tensor([0, 1]), p=3),
        ValueError,
        "[multi_margin_loss] p must be 1 or 2; got 3.",
    ),
    (
        lambda: F.mse_loss(_SCORES, cnnx.zeros(2, 4)),
        ValueError,
        "[mse_loss] expected input and target of one shape; got (2, 5) and (2, 4).",
    ),
    # Tensors
    (lambda: cnnx.zeros(2, 3) + cnnx.zeros(4, 3), ValueError, "[add]"),
    (lambda: cnnx.zeros(2, 3) @ cnnx.zeros(4, 3), ValueError, "[matmul]"),
    (lambda: cnnx.zeros(2, 3).reshape(4, 2), ValueError, "[reshape]"),
    (lambda: cnnx.zeros(2, 3).reshape(-1, -1), ValueError, "[reshape]"),
    (lambda: cnnx.zeros(-1), ValueError, "axis lengths must not be negative"),
    (lambda: cnnx.zeros(2**40, 2**40), ValueError, "too many elements"),
    (lambda: cnnx.zeros(2**50), MemoryError, "could not be allocated"),
    (lambda: cnnx.zeros(*[1] * 9), ValueError, "at most 8 axes"),
    (lambda: cnnx.zeros("2"), TypeError, "[shape]"),
    (lambda: cnnx.zeros(2)[2], IndexError, "[select]|[index]"),
    (lambda: cnnx.zeros(2)["a"], IndexError, "[index]"),
    (lambda: cnnx.zeros(2, 2).sum(axis=2), IndexError, "axis must lie in [-2, 2); got 2."),
    (lambda: cnnx.zeros(2, 2).sum(axis=(0, 0)), ValueError, "named twice"),
    (lambda: cnnx.zeros(0).max(), ValueError, "no value to take"),
    (lambda: cnnx.tensor("text"), TypeError, "[tensor] expected numbers or booleans"),
    (lambda: cnnx.tensor([1 + 2j]), TypeError, "[tensor] expected numbers or booleans"),
    (
        lambda: cnnx.tensor([1.0], dtype="float128"),
        ValueError,
        '[dtype] expected "float32", "float64", "int64" or "bool"; got "float128".',
    ),
    (
        lambda: cnnx.tensor([1], requires_grad=True),
        ValueError,
        "[requires_grad] only float32 and float64 tensors have gradients",
    ),
    (lambda: cnnx.zeros(2, 2).item(), ValueError, "[item] only a tensor of one element"),
    (lambda: cnnx.zeros(1).to("cuda:99"), RuntimeError, "[cuda]"),
    (lambda: cnnx.zeros(1).to("tpu"), ValueError, "tpu"),
    (lambda: cnnx.concat([]), ValueError, "[concat]"),
    (lambda: cnnx.concat([cnnx.zeros(2, 3), cnnx.zeros(2, 4)]), ValueError, "[concat]"),
    (lambda: cnnx.pad(cnnx.zeros(2), [1, 2, 3]), ValueError, "[pad]"),
    (lambda: cnnx.clip(cnnx.zeros(1), 2, 1), ValueError, "[clip] min must not exceed max"),
    (lambda: cnnx.arange(0, 1, 0), ValueError, "[arange]"),
    (lambda: cnnx.set_num_threads(0), ValueError, "[set_num_threads]"),
    # Layers and optimizers
    (lambda: cnnx.Conv2d(0, 1, 1), ValueError, "[Conv2d] in_channels must be"),
    (lambda: cnnx.Conv2d(3, 4, 3, groups=2), ValueError, "[Conv2d] groups must divide in_channels and out_channels"),
    (lambda: cnnx.ConvTranspose2d(3, 4, 0), ValueError, "[ConvTranspose2d] kernel_size must be at least 1; got 0."),
    (
        lambda: cnnx.ConvTranspose2d(3, 4, 3, groups=2),
        ValueError,
        "[ConvTranspose2d] groups must divide in_channels and out_channels; got groups 2, in_channels 3, out_channels 4.",
    ),
    (
        lambda: cnnx.ConvTranspose2d(3, 4, 3, output_padding=-1),
        ValueError,
        "[ConvTranspose2d] padding and output_padding must not be negative; got (0, 0, 0, 0) and (-1, -1).",
    ),
    (
        lambda: cnnx.ConvTranspose2d(3, 4, 3, padding="same"),
        ValueError,
        '[ConvTranspose2d] padding="same" has no meaning here.',
    ),
    (
        lambda: cnnx.LocallyConnected2d(3, 4, 5, 4),
        ValueError,
        "[LocallyConnected2d] kernel 5 with dilation 1 covers 5 values, more than the padded height of 4.",
    ),
    (
        lambda: cnnx.LocallyConnected2d(3, 4, 3, 0),
        ValueError,
        "[LocallyConnected2d] input_size must be at least 1; got 0.",
    ),
    (lambda: cnnx.GroupNorm(3, 8), ValueError, "[GroupNorm] num_groups must divide num_channels; got 3 and 8."),
    (
        lambda: cnnx.GroupNorm(2, 8)(_X),
        ValueError,
        "[GroupNorm] expected an input (N, 8, ...); got (2, 3, 8, 8).",
    ),
    (lambda: cnnx.GroupNorm(2, 8, dtype="int64"), ValueError, "[GroupNorm] parameters are float32 or float64"),
    (lambda: cnnx.LayerNorm(()), ValueError, "[LayerNorm] normalized_shape needs at least one length; got ()."),
    (lambda: cnnx.LayerNorm((2, 0)), ValueError, "[LayerNorm] normalized_shape must be at least 1; got 0."),
    (lambda: cnnx.LayerNorm(2, eps=-1.0), ValueError, "[LayerNorm] eps must not be negative; got -1."),
    (
        lambda: cnnx.InstanceNorm2d(2)(_X),
        ValueError,
        "[InstanceNorm2d] expected an input (N, 2, H, W); got (2, 3, 8, 8).",
    ),
    (lambda: cnnx.InstanceNorm2d(2, momentum=-1.0), ValueError, "[InstanceNorm2d] momentum must lie in [0, 1]"),
    (lambda: cnnx.Dropout2d(1.5), ValueError, "[Dropout2d] p must lie in [0, 1]; got 1.5."),
    (lambda: cnnx.Upsample(), ValueError, "[Upsample] expected either size or scale_factor; got neither."),
    (
        lambda: cnnx.Upsample(2, mode="cubic"),
        ValueError,
        '[Upsample] mode must be "nearest" or "bilinear"; got "cubic".',
    ),
    (lambda: cnnx.Upsample(2, align_corners=True), ValueError, '[Upsample] align_corners needs mode="bilinear".'),
    (
        lambda: cnnx.ZeroPad2d((1, 2)),
        ValueError,
        "[ZeroPad2d] expected one padding or (left, right, top, bottom); got (1, 2).",
    ),
    (
        lambda: cnnx.ReflectionPad2d(-1),
        ValueError,
        "[ReflectionPad2d] padding must not be negative; got (-1, -1, -1, -1).",
    ),
    (lambda: cnnx.ZeroPad2d(1)(_SCORES), ValueError, "[ZeroPad2d] expected an input (N, C, H, W); got (2, 5)."),
    (lambda: cnnx.Linear(2**40, 2**40), ValueError, "too many elements"),
    (lambda: cnnx.Dropout(-0.1), ValueError, "[Dropout] p must lie in [0, 1]; got -0.1."),
    (lambda: cnnx.BatchNorm2d(3, momentum=2.0), ValueError, "[BatchNorm2d] momentum must lie in [0, 1]"),
    (lambda: cnnx.optim.SGD([], lr=0.1), ValueError, "[SGD] expected at least one parameter; got none."),
    (lambda: cnnx.optim.SGD(cnnx.zeros(1), lr=0.1), TypeError, "Pass model.parameters()."),
    (
        lambda: cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=-1),
        ValueError,
        "[SGD] lr must not be negative; got -1.",
    ),
    (
        lambda: cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1, nesterov=True),
        ValueError,
        "[SGD] nesterov needs momentum",
    ),
    (
        lambda: cnnx.optim.SGD([cnnx.ones(1, requires_grad=True) * 2], lr=1),
        ValueError,
        "[SGD] parameters must be leaves",
    ),
    (
        lambda: cnnx.optim.Adam([cnnx.ones(1, requires_grad=True)], betas=(1.0, 0.5)),
        ValueError,
        "[Adam] beta1 must lie in [0, 1)",
    ),
    (
        lambda: cnnx.optim.SGD([{"params": [cnnx.ones(1, requires_grad=True)], "speed": 1}], lr=1),
        ValueError,
        '[SGD] unknown option "speed".',
    ),
    (
        lambda: cnnx.optim.clip_grad_norm([cnnx.ones(1)], -1.0),
        ValueError,
        "[clip_grad_norm] max_norm must not be negative",
    ),
    (
        lambda: cnnx.optim.SGD([{"params": [cnnx.ones(1, requires_grad=True)], "lr": "fast"}]),
        TypeError,
        "[optim] lr must be a number; got 'fast'.",
    ),
    (lambda: cnnx.init.kaiming_normal_(cnnx.zeros(3)), ValueError, "at least two axes"),
    (
        lambda: cnnx.optim.OneCycleLR(cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)]), [0.1, 0.2], 10),
        ValueError,
        "[OneCycleLR] expected a max_lr for each of 1 groups; got 2.",
    ),
    # Patterns, conversion, weights, freezing; each has a table of its own in its tests
    (
        lambda: cnnx.pattern("INPUT -> REUL -> FC", input_shape=(3, 8, 8), classes=2),
        ValueError,
        '[pattern] "REUL" is no layer. Layers are INPUT, CONV, CONV3-64, CONV11-96/4P0, RELU, POOL, POOL3/2, FC, FC4096, BN, LRN,'
        " DROPOUT.\n  INPUT -> REUL -> FC\n           ^",
    ),
    (
        lambda: cnnx.pattern_of(cnnx.Sequential(cnnx.GELU())),
        ValueError,
        "[pattern_of] no pattern can say layer \"0\": GELU(approximate='none').",
    ),
    (
        lambda: cnnx.convert.linear_to_conv(cnnx.ReLU(), (1, 4, 4)),
        ValueError,
        "[linear_to_conv] expected a Sequential, whose layers are known; got ReLU. Build the net as a Sequential.",
    ),
    (
        lambda: cnnx.convert.conv_to_linear(cnnx.ReLU(), (1, 4, 4)),
        ValueError,
        "[conv_to_linear] expected a Conv2d; got ReLU.",
    ),
    (
        lambda: cnnx.convert.sliding_scores(cnnx.MaxPool2d(4), cnnx.zeros(1, 1, 8, 8), 3),
        ValueError,
        "[sliding_scores] stride must divide the net's own, 4; got 3.",
    ),
    (
        lambda: cnnx.load_weights(cnnx.ReLU(), "weights.h5"),
        ValueError,
        "[load_weights] expected a file named .safetensors, .npz, .pth, .pt or .bin; got weights.h5.",
    ),
    (
        lambda: cnnx.freeze(cnnx.Sequential(cnnx.Linear(1, 1)), "haed"),
        ValueError,
        '[freeze] no parameter or module with parameters is named "haed"; there are 0.',
    ),
    (
        lambda: cnnx.unfreeze(cnnx.Sequential(cnnx.Linear(1, 1)), until="haed"),
        ValueError,
        '[unfreeze] no parameter or module with parameters is named "haed"; there are 0.',
    ),
    (
        lambda: cnnx.testing.gradcheck(lambda x: x, cnnx.ones(1, requires_grad=True)),
        ValueError,
        "[gradcheck] inputs that require a gradient must be float64 leaves",
    ),
    # Arguments of other kinds
    (
        lambda: F.relu(np.ones(3)),
        TypeError,
        "[argument] expected a Tensor; got numpy.ndarray. Convert arrays and numbers",
    ),
    (lambda: cnnx.Sequential(cnnx.ReLU())([1.0, 2.0]), TypeError, "[argument] expected a Tensor; got list."),
    (lambda: cnnx.concat([1, 2]), TypeError, "[argument] expected a Tensor; got int."),
    (lambda: cnnx.optim.SGD([{"params": [3]}]), TypeError, "[argument] expected a Tensor; got int."),
    (lambda: cnnx.optim.SGD([{3: 3}]), TypeError, "[argument] a value has a type that is not accepted here; got int."),
    (lambda: cnnx.tensor([1], dtype=5), TypeError, "[dtype] expected a dtype or its name; got 5."),
    (lambda: cnnx.tensor([1], device=3), TypeError, "[device] expected a device or its name; got 3."),
    (lambda: cnnx.ones(2) + 2**2000, OverflowError, "int too large to convert to float"),
    (lambda: cnnx.manual_seed(-1), ValueError, "[manual_seed] seed must lie in [0, 2**64); got -1."),
    (
        lambda: cnnx.manual_seed(2**64),
        ValueError,
        "[manual_seed] seed must lie in [0, 2**64); got 18446744073709551616.",
    ),
    (lambda: setattr(cnnx.ones(2), "requires_grad", "yes"), TypeError, "requires_grad()"),
    (lambda: setattr(cnnx.ReLU(), "training", "yes"), TypeError, "training()"),
    (lambda: getattr(cnnx.ReLU(), "\ud800"), UnicodeEncodeError, "surrogates not allowed"),
    (
        lambda: cnnx.ones(2).__dlpack__(dl_device=(2, 0)),
        BufferError,
        "[dlpack] expected the device (1, 0), the CPU; got (2, 0)",
    ),
    (lambda: cnnx.ones(2).__dlpack__(stream=1), BufferError, "[dlpack] tensors on the CPU have no stream"),
    (lambda: cnnx.from_dlpack(_misaligned()), BufferError, "[from_dlpack] expected aligned values"),
    # Analysis, memory, checkpointing
    (
        lambda: cnnx.Sequential(cnnx.ReLU(), cnnx.Conv2d(1, 1, 3))(_X),
        ValueError,
        "got input of shape (2, 3, 8, 8); at 1 (Conv2d), input (2, 3, 8, 8).",
    ),
    (
        lambda: cnnx.zeros(2, device="meta").numpy(),
        ValueError,
        '[to] a tensor on "meta" has a shape but no values; got device "cpu".',
    ),
    (
        lambda: cnnx.Device("cuda").__enter__(),
        ValueError,
        '[device] a block may be under "cpu" or "meta"; got "cuda:0".',
    ),
    (lambda: cnnx.cuda.memory.info("cpu"), ValueError, '[cuda] expected a CUDA device; got "cpu".'),
    (lambda: cnnx.Device("tpu"), ValueError, '[device] expected "cpu", "cuda", "cuda:N" or "meta"; got "tpu".'),
    (lambda: cnnx.checkpoint(F.relu), TypeError, "[checkpoint] expected a Module; got"),
    (
        lambda: cnnx.checkpoint(cnnx.Linear(2, 2))(_X, _X),
        TypeError,
        "[checkpoint] a checkpointed module takes one tensor; got other arguments.",
    ),
    (
        lambda: cnnx.memory.set_workspace_limit(-1),
        ValueError,
        '[set_workspace_limit] expected a positive number of bytes, or text such as "6 GB"; got -1.',
    ),
    (
        lambda: cnnx.memory.set_workspace_limit("much"),
        ValueError,
        "[set_workspace_limit] expected a positive number of",
    ),
    (
        lambda: cnnx.analysis.summary(_NET, (3, -1, 8)),
        ValueError,
        "[summary] input_shape must be the shape of one image without the batch, such as (3, 224, 224); got (3, -1, 8).",
    ),
    (lambda: cnnx.analysis.summary(_NET, 3), ValueError, "[summary] input_shape must be the shape of one image"),
    (
        lambda: cnnx.analysis.summary(_NET, (3, 8, 8), style="plain"),
        ValueError,
        '[summary] style must be "table" or "notes"; got "plain".',
    ),
    (lambda: cnnx.analysis.check_sizes(F.relu), TypeError, "[check_sizes] expected a Module; got"),
    (lambda: cnnx.analysis.check_sizes(_NET, (4, 8, 8)), ValueError, "at 0 (Conv2d), input (1, 4, 8, 8)."),
    (
        lambda: cnnx.analysis.receptive_field(cnnx.Linear(3, 3), (3,)),
        ValueError,
        "[receptive_field] a receptive field needs images (channels, height, width); got (3,).",
    ),
    (
        lambda: cnnx.analysis.receptive_field(_Product(), (3, 8, 8)),
        ValueError,
        "[receptive_field] the receptive field of the model (_Product) is not known: what it does beside its layers cannot",
    ),
    (
        lambda: cnnx.analysis.receptive_field(_Product(cnnx.ReLU()), (3, 8, 8)),
        ValueError,
        "[receptive_field] the input of layer (ReLU) comes from no layer, so its field is not known. Use layers in place",
    ),
    (
        lambda: cnnx.analysis.memory_report(_NET, (3, 8, 8), 0),
        ValueError,
        "[memory_report] batch_size must be at least 1; got 0.",
    ),
    (
        lambda: cnnx.analysis.memory_report(_NET, (3, 8, 8), mode="both"),
        ValueError,
        '[memory_report] mode must be "train" or "infer"; got \'both\'.',
    ),
    (
        lambda: cnnx.analysis.memory_report(_NET, (3, 8, 8), optimizer="newton"),
        ValueError,
        '[memory_report] optimizer must be one of "sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", or a function',
    ),
    (lambda: cnnx.analysis.memory_report(F.relu, (3, 8, 8)), TypeError, "[memory_report] expected a Module; got"),
    (
        lambda: cnnx.analysis.suggest_batch_size(_NET, (3, 8, 8), "lots"),
        ValueError,
        "[suggest_batch_size] expected a positive number of bytes, or text such as \"6 GB\"; got 'lots'.",
    ),
    (
        lambda: cnnx.analysis.suggest_batch_size(_NET, (3, 8, 8), 100),
        ValueError,
        "KiB; got 100 B. Use smaller images, a smaller model or cnnx.checkpoint.",
    ),
    # Pictures
    (
        lambda: cnnx.viz.filter_grid(cnnx.Linear(2, 2)),
        ValueError,
        "[filter_grid] expected a model with a Conv2d; got Linear without one.",
    ),
    (
        lambda: cnnx.viz.filter_grid(_NET, "2"),
        ValueError,
        "[filter_grid] expected a layer with weights; 2 is a Flatten.",
    ),
    (
        lambda: cnnx.viz.filter_grid(_W[0]),
        ValueError,
        "[filter_grid] expected weights (K, C, R, S); got shape (3, 3, 3).",
    ),
    (
        lambda: cnnx.viz.filter_grid(cnnx.zeros(65, 64, 3, 3)),
        ValueError,
        "[filter_grid] at most 4096 tiles can be told apart; got 65 filters over 64 channels. Pass some of them: filter_grid",
    ),
    (
        lambda: cnnx.viz.filter_grid(_W, scale="log"),
        ValueError,
        '[filter_grid] scale must be "each" or "all"; got \'log\'.',
    ),
    (lambda: cnnx.viz.filter_grid(_W, columns=0), ValueError, "[filter_grid] columns must be at least 1; got 0."),
    (lambda: cnnx.viz.filter_grid(_W, ax=_W), TypeError, "[filter_grid] ax must be matplotlib's Axes; got Tensor."),
    (
        lambda: cnnx.viz.filter_grid(cnnx.zeros(1, 1, 3, 3, device="meta")),
        ValueError,
        '[filter_grid] the weight must have values; got a tensor on the device "meta".',
    ),
    (
        lambda: cnnx.viz.filter_grid(_W / 0),
        ValueError,
        "[filter_grid] the weight must be finite; got NaN or infinity.",
    ),
    (
        lambda: cnnx.viz.layer_outputs(_NET, _X),
        ValueError,
        "[layer_outputs] expected one image (C, H, W); got shape (2, 3, 8, 8). Pick one of a batch: images[0].",
    ),
    (
        lambda: cnnx.viz.layer_outputs(_NET, "image.png"),
        TypeError,
        "[layer_outputs] the image must be an array of numbers; got str.",
    ),
    (lambda: cnnx.viz.layer_outputs(F.relu, _X[0]), TypeError, "[layer_outputs] expected a Module; got"),
    (
        lambda: cnnx.viz.layer_outputs(_Unused(), _X[0], ["unused"]),
        ValueError,
        "[layer_outputs] layers must be called by the model; unused is not, in evaluation mode.",
    ),
    (
        lambda: cnnx.viz.layer_outputs(_meta_net(), _X[0]),
        ValueError,
        '[layer_outputs] the model needs values; got weight on the device "meta". Make it outside of Device("meta").',
    ),
    (
        lambda: cnnx.viz.activation_maps(_NET, _X[0], maps=0),
        ValueError,
        "[activation_maps] maps must be at least 1 and top at least 0; got 0 and 5.",
    ),
    (
        lambda: cnnx.viz.activation_maps(cnnx.Flatten(), _X[0]),
        ValueError,
        "[activation_maps] expected layers with outputs (N, C, H, W); got none.",
    ),
    (
        lambda: cnnx.viz.activation_maps(_NET, _X[0], classes=["cat"]),
        ValueError,
        "[activation_maps] expected 2 class names; got 1.",
    ),
    (
        lambda: cnnx.viz.saliency_map(_NET, _X[0], 2),
        ValueError,
        "[saliency_map] target must be a class from 0 to 1; got 2.",
    ),
    (
        lambda: cnnx.viz.saliency(cnnx.ReLU(), _X[0]),
        ValueError,
        "[saliency] expected a model with scores (N, classes); got an output of shape (1, 3, 8, 8).",
    ),
    (
        lambda: cnnx.viz.saliency(_Unused(two=True), _X[0]),
        ValueError,
        "[saliency] expected a model with scores (N, classes); got a tuple.",
    ),
    (
        lambda: cnnx.viz.saliency(_NET, _X[0], classes=["cat"]),
        ValueError,
        "[saliency] expected 2 class names; got 1.",
    ),
    (
        lambda: cnnx.viz.receptive_field(_NET, (3, 8, 8), ["0", "features"]),
        ValueError,
        '[receptive_field] no layer with a receptive field is called "features"; there are 0, 1, 2.',
    ),
    (
        lambda: cnnx.viz.receptive_field(_NET, (3, 8, 8), at=(8, 0)),
        ValueError,
        "[receptive_field] at must be (row, column) of a pixel within 8 rows and 8 columns; got (8, 0).",
    ),
    (
        lambda: cnnx.viz.training_curves([]),
        ValueError,
        "[training_curves] expected at least one finished epoch; got none.",
    ),
    (
        lambda: cnnx.viz.training_curves([0.5]),
        TypeError,
        "[training_curves] expected the History of cnnx.fit; got list.",
    ),
    (
        lambda: cnnx.viz.confusion_matrix(np.zeros((2, 3))),
        ValueError,
        "[confusion_matrix] expected a square matrix of counts; got shape (2, 3).",
    ),
    (
        lambda: cnnx.viz.confusion_matrix(np.full((2, 2), 0.5)),
        ValueError,
        "[confusion_matrix] counts must be whole and not negative; got 0.5 to 0.5.",
    ),
    (
        lambda: cnnx.viz.confusion_matrix(np.eye(2), ["cat"]),
        ValueError,
        "[confusion_matrix] expected 2 class names; got 1.",
    ),
    (lambda: cnnx.viz.architecture(F.relu), TypeError, "[architecture] expected a Module; got"),
    (lambda: cnnx.viz.receptive_field(F.relu, (3, 8, 8)), TypeError, "[receptive_field] expected a Module; got"),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", seed=-1),
        ValueError,
        "[conv_demo] seed must be an integer of at least",
    ),
    (
        lambda: cnnx.viz.architecture(cnnx.ReLU(), (3, 8, 8)),
        ValueError,
        "[architecture] expected convolutions, pooling or linear layers; ReLU has none.",
    ),
    (
        lambda: cnnx.viz.architecture(_NET, (3, 8, 8), per_line=1),
        ValueError,
        "[architecture] per_line must be at least 3 inches; got 1.",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", padding="same"),
        ValueError,
        "[conv_demo] padding must be an integer of at least 0, or (height, width) of such; got 'same'.",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", _HUGE),
        ValueError,
        "[conv_demo] a page shows at most 2000 values of padded input and filters; got",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", 20, 1, 2, stride=1),
        ValueError,
        "[conv_demo] a page shows at most 600 output values; got 800. Take a larger stride.",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", input=_X),
        ValueError,
        "[conv_demo] expected input of shape (C, H, W); got (2, 3, 8, 8).",
    ),
    (
        lambda: cnnx.viz.conv_demo("/nowhere/demo.html", weight=np.full((1, 1, 3, 3), 1e308)),
        ValueError,
        "[conv_demo] sums must be finite; got infinity. Take smaller values.",
    ),
    (lambda: cnnx.viz.conv_demo("/nowhere/demo.html", input=np.zeros((0, 3, 3))), ValueError, "[conv2d] "),
    (lambda: cnnx.viz.conv_demo("/nowhere/demo.html", 2, padding=0), ValueError, "[conv2d] "),
    (lambda: cnnx.viz.conv_demo("/nowhere/demo.html"), FileNotFoundError, "demo.html"),
]


@pytest.mark.parametrize(("call", "kind", "message"), _CASES, ids=[message[:60] for *_, message in _CASES])
def test_bad_calls(call, kind, message):
    alternatives = message.split("|")
    pattern = "|".join(re.escape(part) for part in alternatives)
    with pytest.raises(kind, match=pattern):
        call()


def test_every_function_refuses_every_wrong_kind_of_tensor():
    wrong = [
        cnnx.zeros(()),
        cnnx.zeros(0),
        cnnx.zeros(2, 2, dtype="int64"),
        cnnx.zeros(1, 1, 1, 1, 1),
        cnnx.tensor([True]),
    ]
    calls = [
        lambda x: F.conv2d(x, _W),
        lambda x: F.conv2d(_X, x),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.lp_pool2d(x, 2, 2),
        lambda x: F.adaptive_avg_pool2d(x, 2),
        lambda x: F.linear(x, cnnx.zeros(3, 5)),
        lambda x: F.linear(_SCORES, x),
        lambda x: F.cross_entropy(x, x),
        lambda x: F.multi_margin_loss(_SCORES, x),
        lambda x: F.batch_norm(_X, x, x),
        lambda x: F.conv_transpose2d(x, _T),
        lambda x: F.conv_transpose2d(_X, x),
        lambda x: F.locally_connected2d(x, cnnx.zeros(6, 6, 4, 3, 3, 3)),
        lambda x: F.locally_connected2d(_X, x),
        lambda x: F.im2col(x, 2),
        lambda x: F.col2im(x, 4, 3),
        lambda x: F.group_norm(x, 2),
        lambda x: F.group_norm(_X, 3, x, x),
        lambda x: F.layer_norm(x, (3, 8, 8)),
        lambda x: F.layer_norm(_X, 8, x, x),
        lambda x: F.instance_norm(x),
        lambda x: F.upsample(x, scale_factor=2),
        lambda x: F.dropout2d(x),
    ]
    for call in calls:
        for x in wrong:
            with pytest.raises((ValueError, IndexError)):
                call(x)


@pytest.mark.parametrize("use", [cnnx.Tensor.numpy, lambda x: x + 1, lambda x: x.shape, F.relu])
def test_tensor_without_init(use):
    with pytest.raises(TypeError, match="has not run"):
        use(cnnx.Tensor.__new__(cnnx.Tensor))


@pytest.mark.parametrize("cls", [cnnx.Device, cnnx.optim.ParamGroup, cnnx._core.LoadResult])
def test_records_without_init(cls):
    with pytest.raises(TypeError, match="has not run"):
        repr(cls.__new__(cls))


@pytest.mark.parametrize("cls", [cnnx.Module, cnnx.Conv2d, cnnx.Sequential, cnnx.optim.SGD])
def test_objects_without_init(cls):
    made = cls.__new__(cls)
    for name in ("parameters", "state_dict", "zero_grad", "step", "__len__", "__repr__"):
        if hasattr(cls, name):
            with pytest.raises((TypeError, RuntimeError), match=r"has not run|super\(\).__init__"):
                getattr(cls, name)(made)


@pytest.mark.parametrize("make", [cnnx.ReLU, lambda: cnnx.Device("cpu"), lambda: cnnx.optim.SGD([_PARAMETER])])
def test_old_pickle_protocols_and_the_base_of_all_classes(make):
    with pytest.raises(TypeError, match="cannot be made"):
        object.__reduce__(make())
    with pytest.raises(TypeError, match="cannot be made"):
        type(make()).__mro__[-2]()


def test_gradcheck_finds_a_wrong_gradient():
    def wrong(x):
        return x * x.detach()  # half of the gradient of x squared

    x = cnnx.tensor(np.array([1.0, 2.0]), dtype="float64", requires_grad=True)
    with pytest.raises(AssertionError, match=r"gradient of input 0 is wrong in 2 of 2 places; worst at \(1,\)"):
        cnnx.testing.gradcheck(wrong, x)
    assert not cnnx.testing.gradcheck(wrong, x, raise_exception=False)
