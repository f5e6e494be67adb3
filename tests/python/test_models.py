"""The case-study nets: parameter counts and names, and the same results as torch with the same weights."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import HAS_TORCH, meta_model, needs_torch, randoms

import cnnx
from cnnx import models

if HAS_TORCH:
    import torch
    import torch_models


def _count(model: cnnx.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (models.alexnet, 61_100_840),
        (lambda: models.alexnet(variant="notes"), 62_378_344),
        (lambda: models.alexnet(variant="notes", groups=2), 60_965_224),
        (models.zfnet, 107_627_624),
        (models.vgg11, 132_863_336),
        (models.vgg13, 133_047_848),
        (models.vgg16, 138_357_544),
        (models.vgg19, 143_667_240),
        (lambda: models.vgg11(batch_norm=True), 132_868_840),
        (lambda: models.vgg16(batch_norm=True), 138_365_992),
        (lambda: models.vgg19(batch_norm=True), 143_678_248),
        (models.resnet18, 11_689_512),
        (models.resnet34, 21_797_672),
        (models.resnet50, 25_557_032),
        (models.resnet101, 44_549_160),
        (models.googlenet, 6_624_904),
        (lambda: models.googlenet(aux_logits=True), 13_004_888),
        (lambda: models.googlenet(variant="2014"), 6_998_552),
        (models.all_convolutional, 1_369_738),
        (models.lenet5, 61_706),
    ],
)
def test_parameter_counts(make, count):
    with cnnx.Device("meta"):
        assert _count(make()) == count


def test_what_the_notes_say_of_the_case_studies():
    def of_kind(name, kind, **options):
        return [module for module in meta_model(name, **options).modules() if isinstance(module, kind)]

    alex, zf = of_kind("alexnet", cnnx.Conv2d, variant="notes"), of_kind("zfnet", cnnx.Conv2d)
    assert (zf[0].kernel_size, zf[0].stride) < (alex[0].kernel_size, alex[0].stride)  # smaller on the first layer
    assert all(z.out_channels > a.out_channels for z, a in zip(zf[2:], alex[2:], strict=True))  # larger in the middle
    vgg = of_kind("vgg16", cnnx.Conv2d | cnnx.Linear)
    assert len(vgg) == 16
    assert {layer.kernel_size for layer in vgg if isinstance(layer, cnnx.Conv2d)} == {(3, 3)}
    assert {(pool.kernel_size, pool.stride) for pool in of_kind("vgg16", cnnx.MaxPool2d)} == {((2, 2), (2, 2))}
    for name in ("googlenet", "resnet50"):  # average pooling and one linear layer where AlexNet has three
        assert len(of_kind(name, cnnx.Linear)) == 1
        assert len(of_kind(name, cnnx.AdaptiveAvgPool2d)) == 1
    assert len(of_kind("googlenet", cnnx.Concat)) == 9  # Inception modules
    assert len(of_kind("resnet50", cnnx.Residual)) == 16
    assert len(of_kind("resnet50", cnnx.BatchNorm2d)) == len(of_kind("resnet50", cnnx.Conv2d))


def test_first_layer_of_the_notes():
    conv = models.alexnet(variant="notes").features[0]
    assert conv.weight.numel() == 34_848
    assert conv.bias.numel() == 96
    assert conv(cnnx.zeros(1, 3, 227, 227)).shape == (1, 96, 55, 55)


@pytest.mark.parametrize(
    ("make", "entries", "names"),
    [
        (models.alexnet, 16, ["features.0.weight", "features.10.bias", "classifier.1.weight", "classifier.6.bias"]),
        (models.vgg16, 32, ["features.0.weight", "features.28.bias", "classifier.0.weight", "classifier.6.bias"]),
        (lambda: models.vgg16(batch_norm=True), 97, ["features.3.weight", "features.41.running_var"]),
        (models.resnet18, 122, ["conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "fc.bias"]),
        (models.resnet34, 218, ["layer3.5.bn2.bias", "layer4.0.downsample.1.running_var"]),
        (models.resnet101, 626, ["layer3.22.conv3.weight", "layer4.0.downsample.1.running_var"]),
        (
            models.resnet50,
            320,
            ["layer1.0.conv3.weight", "layer4.2.bn3.num_batches_tracked", "layer1.0.downsample.1.bias"],
        ),
        (
            lambda: models.googlenet(aux_logits=True),
            364,
            [
                "conv1.conv.weight",
                "inception3a.branch1.bn.weight",
                "inception5b.branch4.1.conv.weight",
                "aux2.fc2.bias",
            ],
        ),
    ],
)
def test_names_are_torchvisions(make, entries, names):
    state = make().state_dict()
    assert len(state) == entries
    assert set(names) <= set(state)


_CASES = {
    "alexnet": (lambda: models.alexnet(7), 200, lambda s, x: torch_models.alexnet(s, x)),
    "alexnet of the notes": (
        lambda: models.alexnet(7, "notes"),
        227,
        lambda s, x: torch_models.alexnet_2012(s, x, 1),
    ),
    "alexnet of 2012": (
        lambda: models.alexnet(7, "notes", groups=2),
        227,
        lambda s, x: torch_models.alexnet_2012(s, x, 2),
    ),
    "zfnet": (lambda: models.zfnet(7), 224, lambda s, x: torch_models.zfnet(s, x)),
    "vgg11": (lambda: models.vgg11(7), 64, lambda s, x: torch_models.vgg(s, x, (1, 1, 2, 2, 2), False)),
    "vgg13": (lambda: models.vgg13(7), 64, lambda s, x: torch_models.vgg(s, x, (2, 2, 2, 2, 2), False)),
    "vgg16": (lambda: models.vgg16(7), 64, lambda s, x: torch_models.vgg(s, x, (2, 2, 3, 3, 3), False)),
    "vgg16_bn": (
        lambda: models.vgg16(7, batch_norm=True),
        64,
        lambda s, x: torch_models.vgg(s, x, (2, 2, 3, 3, 3), True),
    ),
    "vgg19": (lambda: models.vgg19(7), 64, lambda s, x: torch_models.vgg(s, x, (2, 2, 4, 4, 4), False)),
    "resnet18": (lambda: models.resnet18(7), 70, lambda s, x: torch_models.resnet(s, x, (2, 2, 2, 2), False)),
    "resnet34": (lambda: models.resnet34(7), 64, lambda s, x: torch_models.resnet(s, x, (3, 4, 6, 3), False)),
    "resnet50": (lambda: models.resnet50(7), 64, lambda s, x: torch_models.resnet(s, x, (3, 4, 6, 3), True)),
    "resnet101": (lambda: models.resnet101(7), 64, lambda s, x: torch_models.resnet(s, x, (3, 4, 23, 3), True)),
    "googlenet": (lambda: models.googlenet(7), 96, lambda s, x: torch_models.googlenet(s, x, True)[0]),
    "googlenet of 2014": (
        lambda: models.googlenet(7, "2014"),
        97,
        lambda s, x: torch_models.googlenet(s, x, False)[0],
    ),
    "googlenet with heads, in evaluation": (
        lambda: models.googlenet(7, aux_logits=True),
        96,
        lambda s, x: torch_models.googlenet(s, x, True)[0],
    ),
    "lenet5": (lambda: models.lenet5(7, in_channels=3), 32, lambda s, x: torch_models.lenet5(s, x)),
    "all_convolutional": (
        lambda: models.all_convolutional(7),
        32,
        lambda s, x: torch_models.all_convolutional(s, x),
    ),
}


def _torch_state(model: cnnx.Module) -> dict[str, torch.Tensor]:
    state = {name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()}
    for name, _ in model.named_parameters():
        state[name].requires_grad_()
    return state


def _shake(model: cnnx.Module) -> None:
    """Gives batch norm statistics and scales that are not 0 and 1, so that a mistake shows."""
    rng = np.random.default_rng(3)
    for name, value in model.state_dict().items():
        if name.endswith(("running_var", "bn1.weight", "bn.weight")):
            value.copy_(cnnx.tensor(rng.uniform(0.7, 1.3, value.shape).astype("float32")))
        elif name.endswith("running_mean"):
            value.copy_(cnnx.tensor(rng.uniform(-0.1, 0.1, value.shape).astype("float32")))


@needs_torch
@pytest.mark.parametrize("name", _CASES)
def test_scores_are_torchs(name):
    make, size, reference = _CASES[name]
    cnnx.manual_seed(0)
    model = make().eval()
    _shake(model)
    (x,) = randoms(0, (2, 3, size, size))
    with cnnx.no_grad(), torch.no_grad():
        ours = model(cnnx.tensor(x, dtype="float32")).numpy()
        theirs = reference(_torch_state(model), torch.tensor(x, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4 * np.abs(theirs).max())


def _compare_gradients(model: cnnx.Module, ours: cnnx.Tensor, state: dict, theirs: torch.Tensor) -> None:
    ours.backward()
    theirs.backward()
    np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-10)
    for name, parameter in model.named_parameters():
        expected = state[name].grad.numpy()
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-6, atol=1e-9 * max(1.0, np.abs(expected).max()))


@needs_torch
def test_gradients_of_resnet_are_torchs():
    model = models.resnet18(7).to("float64")
    state = _torch_state(model)
    (x,) = randoms(1, (2, 3, 48, 48))
    theirs = torch_models.resnet(state, torch.tensor(x), (2, 2, 2, 2), False, training=True)
    _compare_gradients(model, (model(cnnx.tensor(x)) ** 2).sum(), state, theirs.square().sum())


@needs_torch
@pytest.mark.parametrize("variant", ["torchvision", "2014"])
def test_gradients_of_googlenet_with_heads_are_torchs(variant):
    model = models.googlenet(5, variant, aux_logits=True).to("float64")
    for module in model.modules():
        if isinstance(module, cnnx.Dropout):
            module.p = 0.0
    state = _torch_state(model)
    (x,) = randoms(1, (2, 3, 64, 64))
    outputs = model(cnnx.tensor(x))
    assert outputs.aux_logits1.shape == (2, 5)
    theirs = torch_models.googlenet(state, torch.tensor(x), variant == "torchvision", training=True, heads=True)
    loss = sum((scores**2).sum() for scores in outputs)
    _compare_gradients(model, loss, state, sum(scores.square().sum() for scores in theirs))


@needs_torch
@pytest.mark.parametrize("variant", ["torchvision", "2014"])
def test_scores_of_googlenets_heads_are_torchs(variant):
    """In training mode, in float32: the main scores and both auxiliary ones, in torchvision's order."""
    model = models.googlenet(7, variant, aux_logits=True, dropout=0.0)
    model.aux1.dropout.p = model.aux2.dropout.p = 0.0
    _shake(model)
    state = _torch_state(model)
    (x,) = randoms(4, (4, 3, 96, 96))
    with cnnx.no_grad(), torch.no_grad():
        ours = model(cnnx.tensor(x, dtype="float32"))
        x32 = torch.tensor(x, dtype=torch.float32)
        theirs = torch_models.googlenet(state, x32, variant == "torchvision", training=True, heads=True)
    assert ours._fields == ("logits", "aux_logits2", "aux_logits1")
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-2, atol=2e-3 * np.abs(other.numpy()).max())


def test_googlenet_replaces_its_head():
    model = models.googlenet(5, aux_logits=True).eval()
    model.fc = cnnx.Linear(1024, 3)
    assert model(cnnx.zeros(1, 3, 64, 64)).shape == (1, 3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other(cnnx.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("make", [lambda: models.resnet18(4), lambda: models.googlenet(4)])
def test_save_and_load(make, tmp_path):
    model = make().eval()
    cnnx.save(model, tmp_path / "model.safetensors")
    x = cnnx.randn(1, 3, 64, 64)
    again = cnnx.load(tmp_path / "model.safetensors")
    assert repr(again) == repr(model)
    assert np.array_equal(again(x), model(x))


def test_unknown_variants():
    for make in (models.alexnet, models.googlenet):
        with pytest.raises(ValueError, match=r'variant must be "torchvision" or .*; got "x"\.'):
            make(variant="x")
    with pytest.raises(ValueError, match=r"groups belongs to the notes' net; got 2"):
        models.alexnet(groups=2)
