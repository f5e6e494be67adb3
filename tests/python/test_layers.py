"""Layers: constructor arguments, default initialisation, forward equal to the function, cnnx.init."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from helpers import needs_torch

import cnnx
import cnnx.functional as F

_IMAGE = (2, 4, 9, 11)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (lambda: cnnx.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0, 2, 1), groups=2), None),
        (lambda: cnnx.MaxPool2d(3, stride=2, padding=1), lambda x: F.max_pool2d(x, 3, 2, 1)),
        (
            lambda: cnnx.AvgPool2d(3, 2, 1, count_include_pad=False),
            lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        ),
        (
            lambda: cnnx.LocalResponseNorm(3, 0.1, 0.5, 2.0),
            lambda x: F.local_response_norm(x, 3, 0.1, 0.5, 2.0),
        ),
        (lambda: cnnx.LPPool2d(2, 3), lambda x: F.lp_pool2d(x, 2, 3)),
        (lambda: cnnx.AdaptiveAvgPool2d((3, 2)), lambda x: F.adaptive_avg_pool2d(x, (3, 2))),
        (lambda: cnnx.AdaptiveMaxPool2d(2), lambda x: F.adaptive_max_pool2d(x, 2)),
        (lambda: cnnx.Flatten(), lambda x: x.flatten(1)),
        (lambda: cnnx.ReLU(), F.relu),
        (lambda: cnnx.LeakyReLU(0.3), lambda x: F.leaky_relu(x, 0.3)),
        (lambda: cnnx.Sigmoid(), F.sigmoid),
        (lambda: cnnx.Tanh(), F.tanh),
        (lambda: cnnx.GELU(), F.gelu),
        (lambda: cnnx.SiLU(), F.silu),
        (lambda: cnnx.Softmax(dim=1), lambda x: F.softmax(x, 1)),
        (lambda: cnnx.LogSoftmax(dim=1), lambda x: F.log_softmax(x, 1)),
        (lambda: cnnx.Identity(), lambda x: x),
        (lambda: cnnx.GroupNorm(2, 4, eps=0.1), lambda x: F.group_norm(x, 2, eps=0.1)),
        (lambda: cnnx.LayerNorm((9, 11)), lambda x: F.layer_norm(x, (9, 11))),
        (lambda: cnnx.InstanceNorm2d(4), F.instance_norm),
        (lambda: cnnx.Upsample((5, 30)), lambda x: F.upsample(x, (5, 30))),
        (lambda: cnnx.ZeroPad2d((1, 2, 3, 4)), lambda x: F.pad(x, (1, 2, 3, 4))),
        (lambda: cnnx.ReflectionPad2d(3), lambda x: F.pad(x, (3, 3, 3, 3), "reflect")),
    ],
)
def test_layer_is_its_function(layer, function):
    net, x = layer(), cnnx.randn(*_IMAGE)
    if function is None:
        function = lambda x: F.conv2d(x, net.weight, net.bias, stride=2, padding=(1, 0, 2, 1), groups=2)  # noqa: E731
    np.testing.assert_array_equal(net(x).numpy(), function(x).numpy())


def test_fit_of_layers():
    assert cnnx.MaxPool2d(2, fit="ceil")(cnnx.zeros(1, 1, 5, 5)).shape == (1, 1, 3, 3)
    with pytest.raises(ValueError, match="does not fit"):
        cnnx.Conv2d(1, 1, 3, stride=2, fit="strict")(cnnx.zeros(1, 1, 10, 9))


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: cnnx.Conv2d(16, 64, 3), 144),
        (lambda: cnnx.Conv2d(16, 64, 3, groups=4), 36),
        (lambda: cnnx.Linear(300, 200), 300),
    ],
)
def test_default_initialisation_is_torchs(layer, fan_in):
    net = layer()
    bound = 1 / math.sqrt(fan_in)
    for p in (net.weight.numpy(), net.bias.numpy()):
        assert abs(p).max() <= bound
    assert abs(net.weight.numpy()).max() > 0.98 * bound
    assert net.weight.numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.03)


@needs_torch
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kaiming_normal_", {}),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("kaiming_uniform_", {"a": math.sqrt(5)}),
        ("xavier_normal_", {"gain": 2.0}),
        ("xavier_uniform_", {}),
        ("normal_", {"mean": 1.0, "std": 3.0}),
        ("uniform_", {"a": -2.0, "b": 5.0}),
        ("constant_", {"val": 3.0}),
    ],
)
def test_init_has_torchs_distribution(name, options):
    import torch

    ours = getattr(cnnx.init, name)(cnnx.zeros(128, 64, 3, 3), **options).numpy()
    theirs = getattr(torch.nn.init, name)(torch.zeros(128, 64, 3, 3), **options).double().numpy()
    assert ours.mean() == pytest.approx(float(theirs.mean()), abs=0.02 * max(1.0, float(theirs.std())))
    assert ours.std() == pytest.approx(float(theirs.std()), rel=0.02)
    assert ours.max() == pytest.approx(float(theirs.max()), rel=0.25)


def test_init_works_on_parameters():
    layer = cnnx.Linear(3, 2)
    assert cnnx.init.zeros_(layer.weight) is layer.weight
    assert layer.weight.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert layer.weight.requires_grad


@needs_torch
def test_parameter_counts_of_the_notes():
    conv = cnnx.Conv2d(3, 96, 11, stride=4)
    assert conv.weight.numel() + conv.bias.numel() == 34_944
    assert conv(cnnx.zeros(1, 3, 227, 227)).numel() == 290_400
    assert cnnx.Linear(32 * 32 * 3, 1).weight.numel() == 3072


def test_loss_layers():
    scores, targets = cnnx.randn(4, 5), cnnx.tensor([0, 1, 2, 4])
    weight = cnnx.rand(5)
    assert (
        cnnx.CrossEntropyLoss(weight=weight, label_smoothing=0.1)(scores, targets).item()
        == F.cross_entropy(scores, targets, weight, label_smoothing=0.1).item()
    )
    assert cnnx.MultiMarginLoss(p=2)(scores, targets).item() == F.multi_margin_loss(scores, targets, p=2).item()
    assert cnnx.MSELoss(reduction="sum")(scores, scores + 1).item() == pytest.approx(20)
    assert list(cnnx.CrossEntropyLoss(weight=weight).state_dict()) == ["weight"]


def _every_new_layer() -> list[cnnx.Module]:
    return [
        cnnx.ConvTranspose2d(
            4, 6, (3, 2), stride=2, padding=1, output_padding=(1, 0), groups=2, bias=False, dilation=2
        ),
        cnnx.LocallyConnected2d(4, 2, 3, (9, 11), stride=2, padding=(1, 0, 0, 1), dtype="float64"),
        cnnx.GroupNorm(2, 4, eps=0.5),
        cnnx.GroupNorm(1, 4, affine=False),
        cnnx.LayerNorm((9, 11), bias=False),
        cnnx.InstanceNorm2d(4, momentum=0.5, affine=True, track_running_stats=True),
        cnnx.Dropout2d(0.25),
        cnnx.Upsample(scale_factor=(1.5, 0.7), mode="bilinear", align_corners=True),
        cnnx.Upsample((3, 4)),
        cnnx.ZeroPad2d((0, 1, 2, 3)),
        cnnx.ReflectionPad2d(2),
    ]


@pytest.mark.parametrize("layer", _every_new_layer(), ids=lambda layer: type(layer).__name__)
def test_saved_layers_come_back_the_same(layer, tmp_path):
    x = cnnx.randn(*_IMAGE)
    if any(p.dtype == cnnx.float64 for p in layer.parameters()):
        x = x.to("float64")
    layer(x)  # moves running statistics
    cnnx.save(cnnx.Sequential(layer.eval()), tmp_path / "net.safetensors")
    loaded = cnnx.load(tmp_path / "net.safetensors")
    for other in (loaded[0], copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(other) == repr(layer)
    np.testing.assert_array_equal(loaded(x).detach().numpy(), layer(x).detach().numpy())
    assert not layer.training
    copied = cnnx.Sequential(layer).to("float64")[0]
    assert all(p.dtype == cnnx.float64 for p in copied.parameters())
    assert copied(x.to("float64")).dtype == cnnx.float64
