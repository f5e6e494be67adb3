"""Bad calls of layers, optimizers and global settings."""

from __future__ import annotations

import numpy as np

import cnnx
import cnnx.functional as F

from .common import SCORES, Case, X, misaligned

CASES: list[Case] = [
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
        "[ConvTranspose2d] output_padding must not be negative; got (-1, -1).",
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
        lambda: cnnx.GroupNorm(2, 8)(X),
        ValueError,
        "[GroupNorm] expected an input (N, 8, ...); got (2, 3, 8, 8).",
    ),
    (lambda: cnnx.GroupNorm(2, 8, dtype="int64"), ValueError, "[GroupNorm] parameters are floating-point numbers"),
    (lambda: cnnx.LayerNorm(()), ValueError, "[LayerNorm] normalized_shape needs at least one length; got ()."),
    (lambda: cnnx.LayerNorm((2, 0)), ValueError, "[LayerNorm] normalized_shape must be at least 1; got 0."),
    (lambda: cnnx.LayerNorm(2, eps=-1.0), ValueError, "[LayerNorm] eps must not be negative; got -1."),
    (
        lambda: cnnx.InstanceNorm2d(2)(X),
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
    (lambda: cnnx.ZeroPad2d(1)(SCORES), ValueError, "[ZeroPad2d] expected an input (N, C, H, W); got (2, 5)."),
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
    (lambda: cnnx.optim.SGD([{"lr": 0.1}]), ValueError, "[optim] a group needs \"params\"; got {'lr': 0.1}."),
    (
        lambda: cnnx.optim.clip_grad_norm([cnnx.ones(1)], 1.0, 0),
        ValueError,
        "[clip_grad_norm] norm_type must be positive; got 0.",
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
    # Arguments of other kinds
    (
        lambda: F.relu(np.ones(3)),
        TypeError,
        "[argument] expected a Tensor; got numpy.ndarray. Convert arrays and numbers",
    ),
    (
        lambda: cnnx.ReLU()(type("Tensor", (), {"__module__": "torch"})()),
        TypeError,
        "[argument] expected a Tensor; got torch.Tensor. Convert arrays and numbers",
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
    (lambda: cnnx.cuda.graph(print, warmup=-1), ValueError, "[graph] warmup must not be negative; got -1."),
    (lambda: cnnx.cuda.graph(print, limit=0), ValueError, "[graph] limit must be at least 1; got 0."),
    (
        lambda: cnnx.cuda.graph(print, warmup=0)(cnnx.ones(1)),
        ValueError,
        "[graph] expected tensors on one CUDA device; got ['cpu'].",
    ),
    (
        lambda: cnnx.cuda.graph(print, warmup=0)(cnnx.ones(1, requires_grad=True)),
        ValueError,
        "[graph] arguments must not require gradients; got one that does.",
    ),
    (
        lambda: cnnx.cuda.graph(print, warmup=0)([1]),
        TypeError,
        "[graph] arguments must be tensors or hashable; got list.",
    ),
    (
        lambda: cnnx.zeros(1, device="meta").pin_memory(),
        ValueError,
        "[pin_memory] expected a tensor on the CPU; got one on meta.",
    ),
    (lambda: cnnx.ones(2).__dlpack__(stream=1), BufferError, "[dlpack] tensors on the CPU have no stream"),
    (lambda: cnnx.from_dlpack(misaligned()), BufferError, "[from_dlpack] expected aligned values"),
]
