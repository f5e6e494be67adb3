"""Bad calls of the other operations, of losses and of tensors."""

from __future__ import annotations

import operator

import numpy as np

import cnnx
import cnnx.functional as F

from .common import INTS, SCORES, Case, X

CASES: list[Case] = [
    # Linear, normalisation, activations
    (
        lambda: F.linear(SCORES, cnnx.zeros(3, 4)),
        ValueError,
        "[linear] expected 4 input features (weight is (3, 4)); got input of shape (2, 5).",
    ),
    (lambda: F.linear(X, cnnx.zeros(3, 192)), ValueError, "Flatten it first."),
    (lambda: F.linear(SCORES, cnnx.zeros(5)), ValueError, "[linear] expected a weight of shape (out, in)"),
    (lambda: F.batch_norm(X), ValueError, "[batch_norm] evaluation needs running_mean and running_var."),
    (
        lambda: F.batch_norm(X, cnnx.zeros(4), cnnx.zeros(4)),
        ValueError,
        "[batch_norm] expected running_mean of shape (3,)",
    ),
    (
        lambda: F.batch_norm(cnnx.zeros(1, 3, 1, 1), training=True),
        ValueError,
        "[batch_norm] training needs more than one value a channel",
    ),
    (lambda: cnnx.BatchNorm2d(3)(SCORES), ValueError, "[BatchNorm2d] expected an input (N, C, H, W)"),
    (lambda: F.dropout(X, 1.5), ValueError, "[dropout] p must lie in [0, 1]; got 1.5."),
    (lambda: F.gelu(X, "rough"), ValueError, '[gelu] approximate must be "none" or "tanh"; got "rough".'),
    (lambda: F.softmax(X, 4), IndexError, "[softmax] axis must lie in [-4, 4); got 4."),
    # Normalization of images, resampling
    (
        lambda: F.group_norm(X, 2),
        ValueError,
        "[group_norm] num_groups must be positive and divide the channels; got 2 for input (2, 3, 8, 8).",
    ),
    (lambda: F.group_norm(X, 0), ValueError, "[group_norm] num_groups must be positive"),
    (lambda: F.group_norm(X, 3, cnnx.zeros(2)), ValueError, "[group_norm] expected weight of shape (3,) for input"),
    (lambda: F.group_norm(X, 3, eps=-1.0), ValueError, "[group_norm] eps must not be negative; got -1."),
    (lambda: F.group_norm(cnnx.zeros(3), 3), ValueError, "[group_norm] expected an input of shape (N, C, ...)"),
    (
        lambda: F.layer_norm(X, (8, 7)),
        ValueError,
        "[layer_norm] expected an input whose last axes are (8, 7); got shape (2, 3, 8, 8).",
    ),
    (lambda: F.layer_norm(X, ()), ValueError, "[layer_norm] expected an input whose last axes are ()"),
    (
        lambda: F.layer_norm(cnnx.zeros(2, 0), 0),
        ValueError,
        "[layer_norm] normalized_shape must have values; got (0,).",
    ),
    (
        lambda: F.layer_norm(X, 8, cnnx.zeros(8), cnnx.zeros(1)),
        ValueError,
        "[layer_norm] expected bias of shape (8,) for input (2, 3, 8, 8); got (1,).",
    ),
    (
        lambda: F.instance_norm(cnnx.zeros(2, 3, 1, 1)),
        ValueError,
        "[instance_norm] the image's own statistics need more than one value a channel; got input of shape (2, 3, 1, 1).",
    ),
    (lambda: F.instance_norm(SCORES), ValueError, "[instance_norm] expected an input of shape (N, C, L, ...)"),
    (
        lambda: F.instance_norm(X, use_input_stats=False),
        ValueError,
        "[instance_norm] use_input_stats=False needs running_mean and running_var.",
    ),
    (lambda: F.dropout2d(SCORES), ValueError, "[dropout2d] expected images of shape (N, C, H, W); got shape (2, 5)."),
    (lambda: F.dropout2d(X, 2.0), ValueError, "[dropout2d] p must lie in [0, 1]; got 2."),
    (lambda: F.upsample(X), ValueError, "[upsample] expected either size or scale_factor; got neither."),
    (lambda: F.upsample(X, 3, 2), ValueError, "[upsample] expected either size or scale_factor; got both."),
    (
        lambda: F.upsample(X[0], 3),
        ValueError,
        "[upsample] expected images of shape (N, C, H, W); got shape (3, 8, 8).",
    ),
    (
        lambda: F.upsample(X, 3, mode="bicubic"),
        ValueError,
        '[upsample] mode must be "nearest" or "bilinear"; got "bicubic".',
    ),
    (
        lambda: F.upsample(X, 3, align_corners=True),
        ValueError,
        '[upsample] align_corners needs mode="bilinear".',
    ),
    (
        lambda: F.upsample(X, (4, 0)),
        ValueError,
        "[upsample] the output's sides must lie in [1, 2^31); got size (4, 0).",
    ),
    (
        lambda: F.upsample(X, scale_factor=0.1),
        ValueError,
        "[upsample] the output's sides must lie in [1, 2^31); got 8 * 0.1 = 0.",
    ),
    (lambda: F.upsample(X, scale_factor=1e300), ValueError, "[upsample] the output's sides must lie in [1, 2^31)"),
    (
        lambda: F.upsample(X, scale_factor=(1, float("nan"))),
        ValueError,
        "[upsample] scale_factor must be positive and finite; got nan.",
    ),
    (
        lambda: F.upsample(cnnx.zeros(1, 1, 0, 4), 2),
        ValueError,
        "[upsample] expected images with pixels; got shape (1, 1, 0, 4).",
    ),
    (
        lambda: F.pad(X, (0, 8), "reflect"),
        ValueError,
        "[pad] reflected borders must be smaller than the axis, 8; got 0 and 8.",
    ),
    (
        lambda: F.pad(X, (1,) * 6, "reflect"),
        ValueError,
        '[pad] mode "reflect" pads the last two axes; got 6 numbers.',
    ),
    (lambda: F.pad(X, (1, 1), "wrap"), ValueError, '[pad] mode must be "constant" or "reflect"; got "wrap".'),
    (lambda: F.pad(INTS, (1, 1), "reflect"), ValueError, "[pad] expected a floating-point tensor; got int64."),
    # Losses
    (
        lambda: F.cross_entropy(SCORES, cnnx.tensor([0, 5])),
        IndexError,
        "[cross_entropy] targets must lie in [0, 5); got 5 at position 1.",
    ),
    (
        lambda: F.cross_entropy(SCORES, cnnx.tensor([0.0, 1.0])),
        ValueError,
        "[cross_entropy] targets must be class numbers of dtype int64; got float32.",
    ),
    (
        lambda: F.cross_entropy(SCORES, cnnx.tensor([0, 1, 2])),
        ValueError,
        "[cross_entropy] expected targets of shape (2,) for scores of shape (2, 5); got (3,).",
    ),
    (
        lambda: F.cross_entropy(SCORES, cnnx.tensor([0, 1]), cnnx.zeros(4)),
        ValueError,
        "[cross_entropy] expected class weights of shape (5,); got (4,).",
    ),
    (
        lambda: F.cross_entropy(SCORES, cnnx.tensor([0, 1]), label_smoothing=2),
        ValueError,
        "label_smoothing must lie in [0, 1]",
    ),
    (
        lambda: F.cross_entropy(SCORES, cnnx.tensor([0, 1]), reduction="all"),
        ValueError,
        '[reduction] expected "mean", "sum" or "none"; got "all".',
    ),
    (
        lambda: F.multi_margin_loss(SCORES, cnnx.tensor([0, 1]), p=3),
        ValueError,
        "[multi_margin_loss] p must be 1 or 2; got 3.",
    ),
    (
        lambda: F.mse_loss(SCORES, cnnx.zeros(2, 4)),
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
    (
        lambda: cnnx.zeros(2, 2).sum(axis=0, dim=1),
        ValueError,
        "[axis] axis and dim are two names of one argument; got both. Pass one of them.",
    ),
    (lambda: cnnx.zeros(2, 2).argmax(0, dim=0), ValueError, "[axis] axis and dim are two names"),
    (lambda: cnnx.zeros(2)[np.array([])], IndexError, "[index]"),
    (
        lambda: np.array(cnnx.zeros(2), dtype=np.float64, copy=False),
        ValueError,
        "[array] another dtype or device needs a copy; got copy=False. Pass copy=None.",
    ),
    (lambda: cnnx.zeros(0).max(), ValueError, "no value to take"),
    (lambda: cnnx.tensor("text"), TypeError, "[tensor] expected numbers or booleans"),
    (lambda: cnnx.tensor([1 + 2j]), TypeError, "[tensor] expected numbers or booleans"),
    (
        lambda: cnnx.tensor([2**63]),
        ValueError,
        "[tensor] integers must fit int64; got 9223372036854775808.",
    ),
    (lambda: cnnx.from_numpy(np.array([2**64 - 1], ">u8")), ValueError, "[tensor] integers must fit int64"),
    (lambda: cnnx.tensor([1]) + np.uint64(2**63), ValueError, "[tensor] integers must fit int64"),
    (lambda: cnnx.full((1,), 2**63), ValueError, "[argument] integers must fit 64 bits; got 9223372036854775808."),
    (lambda: cnnx.arange(2**63 - 3, 2**63), ValueError, "[argument] integers must fit 64 bits"),
    (lambda: cnnx.full((1,), 2.0**63, dtype="int64"), ValueError, "[fill_] the value must fit int64; got 9.22337e+18."),
    (lambda: cnnx.full((1,), 1, requires_grad=True), ValueError, "[requires_grad] only floating-point"),
    (
        lambda: operator.iadd(cnnx.tensor([1]), cnnx.ones(1, requires_grad=True)),
        ValueError,
        "[add_] a tensor of int64 cannot hold a float32 result. Write x = x op y, or convert the tensor with "
        '.to("float32") before.',
    ),
    (
        lambda: cnnx.ones(2).add_(cnnx.ones(3, 2)),
        ValueError,
        "[add_] the result must have the shape of the tensor that is changed; got (2,) and (3, 2).",
    ),
    (lambda: cnnx.ones(2).div_("a"), TypeError, "[div_] expected a tensor, an array or a number; got 'a'."),
    (
        lambda: operator.iadd(cnnx.tensor([True]), 2),
        ValueError,
        "[add_] a tensor of bool cannot hold a int64 result.",
    ),
    (
        lambda: cnnx.tensor([1.0], dtype="float128"),
        ValueError,
        '[dtype] expected "float32", "float64", "float16", "bfloat16", "int64" or "bool"; got "float128".',
    ),
    (
        lambda: cnnx.tensor([1], requires_grad=True),
        ValueError,
        "[requires_grad] only floating-point tensors have gradients",
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
    (lambda: cnnx.autocast("cpu", "bfloat16"), ValueError, '[autocast] only "cuda" has kernels of lower precision'),
    (
        lambda: cnnx.autocast("cuda", "float8"),
        ValueError,
        '[autocast] expected "bfloat16" or "float16"; got \'float8\'',
    ),
    (lambda: setattr(cnnx.cuda, "allow_tf32", 1), TypeError, "[allow_tf32] expected True or False; got 1."),
    (lambda: cnnx.cuda.tensor_cores("cpu"), ValueError, '[tensor_cores] expected a CUDA device; got "cpu".'),
    (
        lambda: cnnx.GradScaler(init_scale=0),
        ValueError,
        "[GradScaler] the scale must be finite and at least 2^-126; got 0.",
    ),
    (lambda: cnnx.GradScaler(growth_factor=1.0), ValueError, "[GradScaler] growth_factor must be above 1; got 1.0."),
    (lambda: cnnx.GradScaler(backoff_factor=1.0), ValueError, "backoff_factor must lie between 0 and 1; got 1.0."),
    (lambda: cnnx.GradScaler(growth_interval=0), ValueError, "growth_interval must be at least 1; got 0."),
    (lambda: cnnx.GradScaler().scale(3.0), TypeError, "[GradScaler] expected a tensor, or a list or tuple of them"),
    (
        lambda: cnnx.GradScaler().load_state_dict({"scale": 1.0}),
        ValueError,
        "[GradScaler] the state lacks growth_factor",
    ),
]
