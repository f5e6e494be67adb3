"""Bad calls: the exception and the message, which are part of the interface. Nothing here may crash or change anything."""

from __future__ import annotations

import re

import pytest
from bad_calls import CASES
from bad_calls.common import PARAMETER, SCORES, T, W, X

import cnnx
import cnnx.functional as F


@pytest.mark.parametrize(("call", "kind", "message"), CASES, ids=[message[:60] for *_, message in CASES])
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
        lambda x: F.conv2d(x, W),
        lambda x: F.conv2d(X, x),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.lp_pool2d(x, 2, 2),
        lambda x: F.adaptive_avg_pool2d(x, 2),
        lambda x: F.linear(x, cnnx.zeros(3, 5)),
        lambda x: F.linear(SCORES, x),
        lambda x: F.cross_entropy(x, x),
        lambda x: F.multi_margin_loss(SCORES, x),
        lambda x: F.batch_norm(X, x, x),
        lambda x: F.conv_transpose2d(x, T),
        lambda x: F.conv_transpose2d(X, x),
        lambda x: F.locally_connected2d(x, cnnx.zeros(6, 6, 4, 3, 3, 3)),
        lambda x: F.locally_connected2d(X, x),
        lambda x: F.im2col(x, 2),
        lambda x: F.col2im(x, 4, 3),
        lambda x: F.group_norm(x, 2),
        lambda x: F.group_norm(X, 3, x, x),
        lambda x: F.layer_norm(x, (3, 8, 8)),
        lambda x: F.layer_norm(X, 8, x, x),
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


@pytest.mark.parametrize("make", [cnnx.ReLU, lambda: cnnx.Device("cpu"), lambda: cnnx.optim.SGD([PARAMETER])])
def test_old_pickle_protocols_and_the_base_of_all_classes(make):
    with pytest.raises(TypeError, match="cannot be made"):
        object.__reduce__(make())
    with pytest.raises(TypeError, match="cannot be made"):
        type(make()).__mro__[-2]()
