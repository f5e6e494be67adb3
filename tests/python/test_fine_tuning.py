"""Fine-tuning: frozen parameters, new heads, learning rates for groups, and the example from end to end."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_close, needs_torch, randoms

import cnnx
import cnnx.functional as F

_EXAMPLE = Path(__file__).parents[2] / "examples" / "fine_tune.py"


def _net() -> cnnx.Sequential:
    features = cnnx.Sequential(cnnx.Conv2d(1, 4, 3), cnnx.BatchNorm2d(4), cnnx.ReLU(), cnnx.Conv2d(4, 3, 3, bias=False))
    return cnnx.Sequential({"features": features, "flatten": cnnx.Flatten(), "head": cnnx.Linear(48, 5)})


_FEATURES = ["features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias", "features.3.weight"]
_ALL = [*_FEATURES, "head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("names", "until", "expected"),
    [
        ((), None, _ALL),
        (("features",), None, _FEATURES),
        (("features.*",), None, _FEATURES),
        (("features.[01]",), None, _FEATURES[:4]),
        (("*.bias",), None, ["features.0.bias", "features.1.bias", "head.bias"]),
        (("features.3", "head.bias"), None, ["features.3.weight", "head.bias"]),
        ((), "head", _FEATURES),
        ((), "features.3", _FEATURES[:4]),
        ((), "features", []),
        (("*.weight",), "features.1.bias", ["features.0.weight", "features.1.weight"]),
    ],
)
def test_freezing_by_name_and_depth(names, until, expected):
    model = _net()
    assert cnnx.freeze(model, *names, until=until) == expected
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == expected
    assert cnnx.unfreeze(model, *names, until=until) == expected
    assert all(p.requires_grad for p in model.parameters())


def test_shared_parameters_are_frozen_by_any_of_their_names():
    model = cnnx.Sequential({"first": cnnx.Linear(4, 4), "second": cnnx.Linear(4, 4), "third": cnnx.Linear(4, 2)})
    model.second.weight = model.first.weight
    assert cnnx.freeze(model, "second") == ["second.weight", "second.bias"]
    assert not model.first.weight.requires_grad
    assert cnnx.unfreeze(model) == ["first.weight", "first.bias", "second.bias", "third.weight", "third.bias"]
    assert all(p.requires_grad for p in model.parameters())
    assert [name for name, _ in model.named_parameters(remove_duplicate=False)][:3] == [
        *("first.weight", "first.bias", "second.weight"),
    ]


def test_names_that_nothing_has():
    for function in (cnnx.freeze, cnnx.unfreeze):
        for arguments in ({"names": ("features", "haed")}, {"until": "haed"}):
            model = _net()
            with pytest.raises(ValueError, match=r'is named "haed"; there are features, head\.'):
                function(model, *arguments.get("names", ()), until=arguments.get("until"))
            assert all(p.requires_grad for p in model.parameters())


def test_frozen_parameters_do_not_change_and_nothing_is_recorded_for_them():
    model = _net()
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    x, labels = cnnx.randn(4, 1, 8, 8), cnnx.tensor([0, 1, 2, 3])

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()

    step()
    cnnx.freeze(model, "features")
    assert all(p.grad is None for p in model.features.parameters())
    before = {name: p.numpy().copy() for name, p in model.state_dict().items()}
    assert not model.features(x).requires_grad
    step()
    for name, value in model.state_dict().items():
        changed = not np.array_equal(value, before[name])
        assert changed == name.startswith(("head", "features.1.running", "features.1.num")), name
    cnnx.unfreeze(model)
    step()
    assert not np.array_equal(model.features[0].weight.detach(), before["features.0.weight"])


def test_a_frozen_middle_still_passes_gradients_on():
    model = _net()
    cnnx.freeze(model, "features.3", "head")
    model(cnnx.randn(2, 1, 8, 8)).sum().backward()
    assert model.features[0].weight.grad is not None
    assert model.head.weight.grad is None


def test_parts_by_slices_and_submodules():
    model = _net()
    model.features[:2].requires_grad_(False)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == _FEATURES[:4]
    model.features.requires_grad_(True)
    assert all(p.requires_grad for p in model.parameters())


def test_a_new_head_for_pretrained_weights(tmp_path):
    model = cnnx.models.resnet18(10)
    cnnx.save_state(model.state_dict(), tmp_path / "w.safetensors")
    other = cnnx.models.resnet18(10)
    cnnx.load_weights(other, tmp_path / "w.safetensors")
    other.fc = cnnx.Linear(512, 3)
    assert other.eval()(cnnx.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert list(other.state_dict()) == list(model.state_dict())
    assert np.array_equal(other.conv1.weight.detach(), model.conv1.weight.detach())


# ---- Learning rates of groups


@needs_torch
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_groups_step_as_torchs(name):
    import torch

    arrays = randoms(0, (3, 4), (5,), (2, 2))
    ours = [cnnx.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]

    def groups(params):
        return [{"params": params[:1], "lr": 0.3, "weight_decay": 0.2}, {"params": params[1:]}]

    a = getattr(cnnx.optim, name)(groups(ours), lr=0.01)
    b = getattr(torch.optim, name)(groups(theirs), lr=0.01)
    for step in range(3):
        for mine, other, grad in zip(ours, theirs, randoms(step + 1, (3, 4), (5,), (2, 2)), strict=True):
            mine.grad, other.grad = cnnx.tensor(grad), torch.tensor(grad)
        a.step()
        b.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine.detach(), other.detach(), "float64")
    copy = getattr(cnnx.optim, name)([{"params": ours[:1]}, {"params": ours[1:]}], lr=7.0)
    copy.load_state_dict(a.state_dict())
    assert [group["lr"] for group in copy.param_groups] == [0.3, 0.01]
    assert copy.param_groups[0]["weight_decay"] == 0.2


@needs_torch
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StepLR", {"step_size": 2, "gamma": 0.5}),
        ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.1}),
        ("ExponentialLR", {"gamma": 0.9}),
        ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
        ("OneCycleLR", {"max_lr": [0.5, 0.05], "total_steps": 12}),
        ("OneCycleLR", {"max_lr": 0.5, "total_steps": 12}),
    ],
)
def test_schedules_of_groups_are_torchs(name, options):
    import torch

    ours = cnnx.optim.SGD(
        [{"params": cnnx.ones(1, requires_grad=True), "lr": 0.2}, {"params": cnnx.ones(1, requires_grad=True)}], lr=0.02
    )
    theirs = torch.optim.SGD(
        [{"params": torch.ones(1, requires_grad=True), "lr": 0.2}, {"params": torch.ones(1, requires_grad=True)}],
        lr=0.02,
    )
    extra = {"cycle_momentum": False} if name == "OneCycleLR" else {}
    a = getattr(cnnx.optim, name)(ours, **options)
    b = getattr(torch.optim.lr_scheduler, name)(theirs, **options, **extra)
    for _ in range(11):
        assert a.get_last_lr() == pytest.approx(b.get_last_lr())
        theirs.step()
        a.step()
        b.step()


def test_one_cycle_wants_a_rate_for_every_group():
    optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=r"\[OneCycleLR\] expected a max_lr for each of 1 groups; got 2\."):
        cnnx.optim.OneCycleLR(optimizer, [0.1, 0.2], 10)


def test_fit_keeps_the_ratio_of_the_groups_rates():
    train, _ = cnnx.data.digits()
    few = cnnx.data.Subset(train, np.flatnonzero(train.labels < 5)[:20])
    model = _net()
    groups = [{"params": model.features.parameters(), "lr": 1e-4}, {"params": model.head.parameters(), "lr": 1e-2}]
    optimizer = cnnx.optim.SGD(groups)
    seen = []
    cnnx.fit(
        model,
        few,
        epochs=2,
        batch_size=10,
        optimizer=optimizer,
        on_epoch=lambda epoch: seen.append([group["lr"] for group in optimizer.param_groups]),
    )
    for low, high in seen:
        assert low == pytest.approx(high / 100)


# ---- The example


def test_the_example_shows_that_pretraining_helps(capsys):
    specification = importlib.util.spec_from_file_location("fine_tune", _EXAMPLE)
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    accuracy = example.main()
    assert accuracy["frozen"] > accuracy["from scratch"] + 0.05
    assert accuracy["all fine-tuned"] > accuracy["from scratch"] + 0.05
    assert "from scratch" in capsys.readouterr().out
