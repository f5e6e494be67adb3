"""Naive NumPy versions of the operations, written from their definitions: loops and float64."""

from __future__ import annotations

import math

import numpy as np


def out_size(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1, fit: str = "floor"
) -> int:
    span = size + before + after - (dilation * (kernel - 1) + 1)
    out = span // stride + 1
    if fit == "ceil" and span % stride and out * stride < size + before:
        out += 1
    return out


def windows(x, kernel, stride, padding, dilation=(1, 1), fit="floor"):
    """Yields (oh, ow, values, inside) of each window of x (N, C, H, W); outside values are 0."""
    top, bottom, left, right = padding
    n, c, h, w = x.shape
    OH = out_size(h, kernel[0], stride[0], top, bottom, dilation[0], fit)
    OW = out_size(w, kernel[1], stride[1], left, right, dilation[1], fit)
    for oh in range(OH):
        for ow in range(OW):
            values = np.zeros((n, c, *kernel))
            inside = np.zeros(kernel, bool)
            for r in range(kernel[0]):
                for s in range(kernel[1]):
                    i, j = oh * stride[0] - top + r * dilation[0], ow * stride[1] - left + s * dilation[1]
                    if 0 <= i < h and 0 <= j < w:
                        values[:, :, r, s] = x[:, :, i, j]
                        inside[r, s] = True
            yield oh, ow, values, inside


def pool(x, kernel, stride, padding, reduce, dilation=(1, 1), fit="floor"):
    top, bottom, left, right = padding
    OH = out_size(x.shape[2], kernel[0], stride[0], top, bottom, dilation[0], fit)
    OW = out_size(x.shape[3], kernel[1], stride[1], left, right, dilation[1], fit)
    y = np.zeros((*x.shape[:2], OH, OW))
    for oh, ow, values, inside in windows(x, kernel, stride, padding, dilation, fit):
        y[:, :, oh, ow] = reduce(values, inside, oh, ow)
    return y


def conv2d(x, w, b, stride, padding, dilation, groups, fit="floor"):
    K, C = w.shape[:2]
    outputs = []
    for k in range(K):
        group = k // (K // groups)
        part = x[:, group * C : (group + 1) * C]
        products = pool(
            part, w.shape[2:], stride, padding, lambda v, *_, k=k: (v * w[k]).sum(axis=(2, 3)), dilation, fit
        )
        outputs.append(products.sum(axis=1) + (b[k] if b is not None else 0))
    return np.stack(outputs, axis=1)


def conv_transpose2d(x, w, b, stride, padding, output_padding, dilation, groups):
    (n, c, h, width), (_, per_group, R, S) = x.shape, w.shape
    top, bottom, left, right = padding
    full = np.zeros(
        (
            n,
            per_group * groups,
            (h - 1) * stride[0] + dilation[0] * (R - 1) + 1 + output_padding[0],
            (width - 1) * stride[1] + dilation[1] * (S - 1) + 1 + output_padding[1],
        )
    )
    for channel in range(c):
        first = channel // (c // groups) * per_group
        for i in range(h):
            for j in range(width):
                rows = slice(i * stride[0], i * stride[0] + dilation[0] * (R - 1) + 1, dilation[0])
                columns = slice(j * stride[1], j * stride[1] + dilation[1] * (S - 1) + 1, dilation[1])
                full[:, first : first + per_group, rows, columns] += (
                    x[:, channel, i, j][:, None, None, None] * w[channel]
                )
    y = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
    return y if b is None else y + b[:, None, None]


def locally_connected2d(x, w, b, stride, padding, dilation):
    y = np.zeros((x.shape[0], w.shape[2], *w.shape[:2]))
    for oh, ow, values, _ in windows(x, w.shape[4:], stride, padding, dilation):
        y[:, :, oh, ow] = np.einsum("ncrs,kcrs->nk", values, w[oh, ow])
    return y if b is None else y + b


def im2col(x, kernel, stride, padding, dilation, fit="floor"):
    columns = [values.reshape(len(x), -1) for _, _, values, _ in windows(x, kernel, stride, padding, dilation, fit)]
    return np.stack(columns, axis=-1)


def max_pool2d(x, kernel, stride, padding, dilation=(1, 1), fit="floor"):
    def largest(values, inside, *_):
        return np.where(inside, values, -np.inf).max(axis=(2, 3))

    return pool(x, kernel, stride, padding, largest, dilation, fit)


def avg_pool2d(x, kernel, stride, padding, count_include_pad=True, fit="floor"):
    def mean(values, inside, oh, ow):
        count = inside.sum()
        if count_include_pad:
            bottom = min(oh * stride[0] - padding[0] + kernel[0], x.shape[2] + padding[1])
            right = min(ow * stride[1] - padding[2] + kernel[1], x.shape[3] + padding[3])
            count = (bottom - (oh * stride[0] - padding[0])) * (right - (ow * stride[1] - padding[2]))
        return values.sum(axis=(2, 3)) / count

    return pool(x, kernel, stride, padding, mean, fit=fit)


def local_response_norm(x, size, alpha, beta, k):
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        y[:, c] = x[:, c] / (k + alpha / size * (window**2).sum(axis=1)) ** beta
    return y


def lp_pool2d(x, p, kernel, stride, fit="floor"):
    return pool(x, kernel, stride, (0, 0, 0, 0), lambda v, *_: (np.abs(v) ** p).sum(axis=(2, 3)) ** (1 / p), fit=fit)


def adaptive_pool2d(x, size, reduce):
    n, c, h, w = x.shape
    y = np.zeros((n, c, *size))
    for oh in range(size[0]):
        for ow in range(size[1]):
            rows = slice(oh * h // size[0], math.ceil((oh + 1) * h / size[0]))
            columns = slice(ow * w // size[1], math.ceil((ow + 1) * w / size[1]))
            y[:, :, oh, ow] = reduce(x[:, :, rows, columns], axis=(2, 3))
    return y


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def cross_entropy(x, targets, weight=None, ignore_index=-100, smoothing=0.0):
    """Losses and the targets' weights, one for each item of x (items, classes)."""
    classes = x.shape[1]
    w = np.ones(classes) if weight is None else weight
    logp = np.log(softmax(x, 1))
    losses, weights = [], []
    for row, target in zip(logp, targets, strict=True):
        if target == ignore_index:
            losses.append(0.0)
            weights.append(0.0)
            continue
        losses.append(-(1 - smoothing) * w[target] * row[target] - smoothing / classes * (w * row).sum())
        weights.append(w[target])
    return np.array(losses), np.array(weights)


def multi_margin(x, targets, p=1, margin=1.0, weight=None):
    losses = []
    for row, target in zip(x, targets, strict=True):
        terms = [max(0.0, margin - row[target] + row[c]) ** p for c in range(len(row)) if c != target]
        losses.append(sum(terms) / len(row) * (1 if weight is None else weight[target]))
    return np.array(losses)


def batch_norm(x, mean, var, weight, bias, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    y = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + eps)
    return y * weight.reshape(shape) + bias.reshape(shape)


def group_norm(x, groups, weight, bias, eps):
    rows = x.reshape(len(x), groups, -1)
    y = (rows - rows.mean(axis=2, keepdims=True)) / np.sqrt(rows.var(axis=2, keepdims=True) + eps)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return y.reshape(x.shape) * weight.reshape(shape) + bias.reshape(shape)


def layer_norm(x, axes, weight, bias, eps):
    y = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps)
    return y * weight + bias


def resize_matrix(size, out, scale, mode, align_corners):
    """Row o has the weights of the input positions that output position o takes."""
    matrix = np.zeros((out, size))
    step = 1 / scale if scale is not None else size / out
    for o in range(out):
        if mode == "nearest":
            matrix[o, min(int(o * step), size - 1)] = 1
            continue
        at = o * (size - 1) / max(1, out - 1) if align_corners else max(0.0, (o + 0.5) * step - 0.5)
        if size == out:
            at = o
        low = min(int(at), size - 1)
        share = min(1.0, at - low)
        matrix[o, low] += 1 - share
        matrix[o, min(low + 1, size - 1)] += share
    return matrix


def upsample(x, size, scale=(None, None), mode="nearest", align_corners=False):
    rows = resize_matrix(x.shape[2], size[0], scale[0], mode, align_corners)
    columns = resize_matrix(x.shape[3], size[1], scale[1], mode, align_corners)
    return np.einsum("oh,nchw,pw->ncop", rows, x, columns)
