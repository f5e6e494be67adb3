"""Bad calls of operations that slide windows: convolution and pooling."""

from __future__ import annotations

import cnnx
import cnnx.functional as F

from .common import HUGE, INTS, SCORES, Case, T, W, X

CASES: list[Case] = [
    # Convolution
    (
        lambda: F.conv2d(X[0], W),
        ValueError,
        "[conv2d] expected an input of shape (N, C, H, W); got shape (3, 8, 8). Add a batch axis",
    ),
    (
        lambda: F.conv2d(X, W[0]),
        ValueError,
        "[conv2d] expected a weight of shape (K, C / groups, R, S); got shape (3, 3, 3).",
    ),
    (
        lambda: F.conv2d(cnnx.zeros(8, 4, 32, 32), cnnx.zeros(16, 3, 5, 5)),
        ValueError,
        "[conv2d] expected 3 input channels (weight is (16, 3, 5, 5)); got input of shape (8, 4, 32, 32).",
    ),
    (lambda: F.conv2d(X, W, cnnx.zeros(3)), ValueError, "[conv2d] expected a bias of shape (4,); got (3,)."),
    (lambda: F.conv2d(X, W.to("float64")), ValueError, "[conv2d] expected weight of dtype float32; got float64."),
    (lambda: F.conv2d(INTS, W), ValueError, "[conv2d] expected a floating-point tensor; got int64."),
    (lambda: F.conv2d(X, W, stride=0), ValueError, "[conv2d] stride must be at least 1; got 0"),
    (
        lambda: F.conv2d(X, W, stride=HUGE),
        ValueError,
        "[conv2d] kernel size, stride, dilation and padding must be below 2^31",
    ),
    (lambda: F.conv2d(X, W, padding=-1), ValueError, "[conv2d] padding must not be negative; got -1"),
    (
        lambda: F.conv2d(X, W, padding=HUGE),
        ValueError,
        "stride, dilation and padding must be below 2^31; got 3, 1, 1",
    ),
    (lambda: F.conv2d(X, W, dilation=0), ValueError, "[conv2d] dilation must be at least 1"),
    (
        lambda: F.conv2d(X, W, dilation=10),
        ValueError,
        "[conv2d] kernel 3 with dilation 10 covers 21 values, more than the padded height of 8.",
    ),
    (lambda: F.conv2d(X, W, groups=0), ValueError, "[conv2d] groups must be at least 1; got 0."),
    (
        lambda: F.conv2d(X, W, groups=3),
        ValueError,
        "[conv2d] out channels must be a positive multiple of groups; got 4 and groups 3.",
    ),
    (lambda: F.conv2d(X, W, padding="same", stride=2), ValueError, '[conv2d] padding="same" needs stride 1; got 2'),
    (
        lambda: F.conv2d(X, W, padding="some"),
        ValueError,
        '[padding] expected an int, (h, w), (top, bottom, left, right), "same" or "valid"; got "some".',
    ),
    (lambda: F.conv2d(X, W, fit="tight"), ValueError, '[fit] expected "floor", "ceil" or "strict"; got "tight".'),
    (lambda: F.conv2d(X, W, stride=1.5), TypeError, "stride"),
    (lambda: F.conv2d(X, W, stride=(1, 2, 3)), TypeError, "stride"),
    (lambda: F.conv2d(X, None), TypeError, "conv2d"),
    (
        lambda: cnnx.set_conv_algorithm("magic"),
        ValueError,
        '[set_conv_algorithm] expected one of "auto", "direct", "direct_small", "pointwise", "winograd", '
        '"winograd_2x2", "implicit_gemm", "im2col"; got "magic".',
    ),
    (lambda: cnnx.autotune("yes"), TypeError, "autotune"),
    (lambda: cnnx.autotune(2), TypeError, "autotune"),
    (lambda: cnnx.fit_mode("loose"), ValueError, "loose"),
    # Pooling
    (lambda: F.max_pool2d(X, 0), ValueError, "[max_pool2d] kernel size must be at least 1; got 0"),
    (
        lambda: F.max_pool2d(X, 9),
        ValueError,
        "[max_pool2d] kernel 9 with dilation 1 covers 9 values, more than the padded height of 8.",
    ),
    (
        lambda: F.max_pool2d(X, 2, padding=2),
        ValueError,
        "[max_pool2d] padding must be at most half the kernel, 1; got 2.",
    ),
    (
        lambda: F.max_pool2d(cnnx.zeros(8, 8), 2),
        ValueError,
        "[max_pool2d] expected images of shape (N, C, H, W); got shape (8, 8).",
    ),
    (lambda: F.avg_pool2d(INTS, 2), ValueError, "[avg_pool2d] expected a floating-point tensor; got int64."),
    (lambda: F.local_response_norm(X, 0), ValueError, "[local_response_norm] size must be at least 1; got 0."),
    (
        lambda: F.local_response_norm(SCORES, 5),
        ValueError,
        "[local_response_norm] expected an input of shape (N, C, ...)",
    ),
    (lambda: F.local_response_norm(X, 5, k=0.0), ValueError, "[local_response_norm] k must be finite and positive"),
    (lambda: F.lp_pool2d(X, 0, 2), ValueError, "[lp_pool2d] norm_type must be positive and finite; got 0."),
    (lambda: F.lp_pool2d(X, float("nan"), 2), ValueError, "[lp_pool2d] norm_type must be positive"),
    (
        lambda: F.adaptive_avg_pool2d(X, 0),
        ValueError,
        "[adaptive_avg_pool2d] output size must be at least 1; got (0, 0).",
    ),
    (
        lambda: F.adaptive_max_pool2d(cnnx.zeros(1, 1, 0, 4), 1),
        ValueError,
        "[adaptive_max_pool2d] expected images with pixels",
    ),
    # Transposed and locally connected layers, columns
    (lambda: F.conv_transpose2d(X[0], T), ValueError, "[conv_transpose2d] expected an input of shape (N, C, H, W)"),
    (
        lambda: F.conv_transpose2d(X, T[0]),
        ValueError,
        "[conv_transpose2d] expected a weight of shape (C, K / groups, R, S); got shape (4, 3, 3).",
    ),
    (
        lambda: F.conv_transpose2d(X, W),
        ValueError,
        "[conv_transpose2d] expected 4 input channels (weight is (4, 3, 3, 3)); got input of shape (2, 3, 8, 8).",
    ),
    (
        lambda: F.conv_transpose2d(X, T, groups=2),
        ValueError,
        "[conv_transpose2d] in channels must be a positive multiple of groups; got weight (3, 4, 3, 3) and groups 2.",
    ),
    (lambda: F.conv_transpose2d(X, T, groups=0), ValueError, "[conv_transpose2d] groups must be at least 1; got 0."),
    (
        lambda: F.conv_transpose2d(X, T, cnnx.zeros(3)),
        ValueError,
        "[conv_transpose2d] expected a bias of shape (4,); got (3,).",
    ),
    (
        lambda: F.conv_transpose2d(X, T, stride=(1, 0)),
        ValueError,
        "[conv_transpose2d] kernel size, stride and dilation must be at least 1; got 3, 0 and 1 for the width.",
    ),
    (
        lambda: F.conv_transpose2d(X, T, padding=-1),
        ValueError,
        "[conv_transpose2d] padding and output_padding must not be negative; got (-1, -1) and 0 for the height.",
    ),
    (
        lambda: F.conv_transpose2d(X, T, stride=2, output_padding=2),
        ValueError,
        "[conv_transpose2d] output_padding must be smaller than stride or dilation; got 2, 2 and 1 for the height.",
    ),
    (
        lambda: F.conv_transpose2d(X, T, padding=5),
        ValueError,
        "[conv_transpose2d] the output's height would be (8 - 1) * 1 - 10 + 3 + 0 = 0. Use less padding.",
    ),
    (
        lambda: F.conv_transpose2d(X, T, padding="same"),
        ValueError,
        '[conv_transpose2d] padding="same" has no meaning here.',
    ),
    (lambda: F.conv_transpose2d(X, T, stride=HUGE), ValueError, "[conv_transpose2d] lengths, kernel size, stride"),
    (
        lambda: F.conv_transpose2d(X, T, dilation=2**31 - 1),
        ValueError,
        "[conv_transpose2d] shape (2, 4, 4294967302, 4294967302) has too many",
    ),
    (
        lambda: F.conv_transpose2d(cnnx.zeros(1, 3, 0, 4), T),
        ValueError,
        "[conv_transpose2d] expected images with pixels; got a height of 0.",
    ),
    (
        lambda: F.locally_connected2d(X, W),
        ValueError,
        "[locally_connected2d] expected a weight of shape (OH, OW, K, C, R, S); got shape (4, 3, 3, 3).",
    ),
    (
        lambda: F.locally_connected2d(X, cnnx.zeros(6, 6, 4, 2, 3, 3)),
        ValueError,
        "[locally_connected2d] expected 2 input channels (weight is (6, 6, 4, 2, 3, 3)); got input of shape (2, 3, 8, 8).",
    ),
    (
        lambda: F.locally_connected2d(X, cnnx.zeros(5, 6, 4, 3, 3, 3)),
        ValueError,
        "[locally_connected2d] the weight has filters for an output of 5 x 6, but an input of 8 x 8 gives 6 x 6.",
    ),
    (
        lambda: F.locally_connected2d(X, cnnx.zeros(6, 6, 4, 3, 3, 3), cnnx.zeros(4)),
        ValueError,
        "[locally_connected2d] expected a bias of shape (4, 6, 6); got (4,).",
    ),
    (
        lambda: F.im2col(cnnx.zeros(8, 8), 3),
        ValueError,
        "[im2col] expected images of shape (N, C, H, W); got shape (8, 8).",
    ),
    (
        lambda: F.im2col(X, 9),
        ValueError,
        "[im2col] kernel 9 with dilation 1 covers 9 values, more than the padded height",
    ),
    (
        lambda: F.im2col(X, 2**31 - 1, padding=2**30),
        ValueError,
        "has too many elements",
    ),
    (lambda: F.col2im(X, 8, 3), ValueError, "[col2im] expected columns of shape (N, C * R * S, OH * OW)"),
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
]
