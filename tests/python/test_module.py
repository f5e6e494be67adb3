"""Module and Sequential as PyTorch users expect them: registration, state dicts, modes, repr, nesting of Python and C++."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest
from helpers import needs_torch

import cnnx
import cnnx.functional as F


class Block(cnnx.Module):
    """A residual block with a parameter and a buffer of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = cnnx.Conv2d(channels, channels, 3, padding=1)
        self.scale = cnnx.Parameter(cnnx.ones(1))
        self.register_buffer("calls", cnnx.zeros(1))
        self.channels = channels

    def forward(self, x):
        self.calls += 1
        return x + self.scale * F.relu(self.conv(x))


def _net():
    return cnnx.Sequential(cnnx.Conv2d(1, 4, 3, padding=1), Block(4), cnnx.Flatten(), cnnx.Linear(4 * 36, 3))


def test_python_modules_nest_in_a_sequential():
    net = _net()
    names = [name for name, _ in net.named_parameters()]
    assert names == ["0.weight", "0.bias", "1.scale", "1.conv.weight", "1.conv.bias", "3.weight", "3.bias"]
    y = net(cnnx.randn(2, 1, 6, 6))
    assert y.shape == (2, 3)
    y.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net[1].calls.item() == 1
    assert isinstance(net[1], Block)
    assert net[1].channels == 4


def test_python_object_lives_as_long_as_the_model():
    net = cnnx.Sequential(Block(2))
    gc.collect()
    assert net[0].channels == 2
    assert net(cnnx.ones(1, 2, 4, 4)).shape == (1, 2, 4, 4)
    observer = weakref.ref(net[0])
    del net
    gc.collect()
    assert observer() is None


def test_attribute_registration():
    block = Block(2)
    assert [name for name, _ in block.named_children()] == ["conv"]
    assert [name for name, _ in block.named_buffers()] == ["calls"]
    block.conv = cnnx.Linear(2, 2)
    assert isinstance(block.conv, cnnx.Linear)
    del block.conv
    assert not hasattr(block, "conv")
    with pytest.raises(AttributeError):
        block.missing  # noqa: B018


def test_state_dict_round_trip():
    a, b = _net(), _net()
    result = b.load_state_dict(a.state_dict())
    assert result.missing_keys == result.unexpected_keys == []
    for (name, p), (other, q) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert name == other
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    assert not any(t.requires_grad for t in a.state_dict().values())


def test_state_dict_errors_name_every_key_and_change_nothing():
    net = cnnx.Sequential(cnnx.Linear(2, 3), cnnx.Linear(3, 1))
    before = {k: v.tolist() for k, v in net.state_dict().items()}
    state = {k: cnnx.zeros(v.shape) for k, v in net.state_dict().items()}
    del state["0.bias"]
    state["extra.weight"] = cnnx.zeros(1)
    state["1.weight"] = cnnx.zeros(5, 5)
    with pytest.raises(ValueError, match=r"(?s)0\.bias.*extra\.weight.*1\.weight.*\(1, 3\).*\(5, 5\)"):
        net.load_state_dict(state)
    assert {k: v.tolist() for k, v in net.state_dict().items()} == before
    del state["1.weight"]
    result = net.load_state_dict(state, strict=False)
    assert set(result.missing_keys) == {"0.bias", "1.weight"}
    assert result.unexpected_keys == ["extra.weight"]


@needs_torch
def test_weights_move_to_and_from_torch():
    import torch

    ours = cnnx.Sequential(
        cnnx.Conv2d(3, 8, 3, stride=2), cnnx.BatchNorm2d(8), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(8 * 9, 5)
    )
    nn = torch.nn
    theirs = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 5)
    )
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    for mode in (True, False):
        ours.train(mode)
        theirs.train(mode)
        np.testing.assert_allclose(ours(cnnx.tensor(x)).numpy(), theirs(torch.tensor(x)).detach().numpy(), atol=1e-4)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())


@needs_torch
def test_repr_is_torchs():
    import torch

    nn = torch.nn
    for make in (
        lambda m: m.Conv2d(3, 8, (3, 5), stride=2, padding=1),
        lambda m: m.Conv2d(4, 4, 3, groups=4, bias=False, dilation=2),
        lambda m: m.Linear(3, 4),
        lambda m: m.MaxPool2d(3, stride=2),
        lambda m: m.AvgPool2d(2),
        lambda m: m.BatchNorm2d(4),
        lambda m: m.LeakyReLU(0.2),
        lambda m: m.Softmax(dim=1),
        lambda m: m.Flatten(),
        lambda m: m.AdaptiveAvgPool2d((1, 2)),
        lambda m: m.Sequential(m.Linear(1, 2), m.Sequential(m.Sigmoid(), m.Tanh())),
        lambda m: m.CrossEntropyLoss(),
    ):
        theirs = repr(make(nn)).replace(", ceil_mode=False", "").replace("affine=True, bias=True", "affine=True")
        assert repr(make(cnnx)) == theirs


def test_modes_reach_everything():
    net = _net()
    net.eval()
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())


def test_apply_zero_grad_and_to():
    net = _net()
    visited = []
    assert net.apply(lambda m: visited.append(type(m).__name__)) is net
    assert visited[-1] == "Sequential"
    assert visited.index("Conv2d") < visited.index("Sequential")
    net(cnnx.ones(1, 1, 6, 6)).sum().backward()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.to("float64")
    assert {p.dtype.name for p in net.parameters()} == {"float64"}
    assert net(cnnx.ones(1, 1, 6, 6, dtype="float64")).dtype == "float64"
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_shared_parameters_come_once():
    layer = cnnx.Linear(3, 3)
    net = cnnx.Sequential(layer, cnnx.ReLU(), layer)
    assert len(list(net.parameters())) == 2
    assert len(net.state_dict()) == 4


def test_sequential_is_a_list():
    net = cnnx.Sequential(cnnx.ReLU(), cnnx.Tanh(), cnnx.Sigmoid())
    assert len(net) == 3
    assert isinstance(net[-1], cnnx.Sigmoid)
    assert [type(m).__name__ for m in net] == ["ReLU", "Tanh", "Sigmoid"]
    assert isinstance(net[:2], cnnx.Sequential)
    assert len(net[1:]) == 2
    net[1] = cnnx.GELU()
    net.append(cnnx.Flatten()).insert(0, cnnx.Identity())
    del net[1]
    assert [type(m).__name__ for m in net] == ["Identity", "GELU", "Sigmoid", "Flatten"]
    with pytest.raises(IndexError):
        net[4]
    named = cnnx.Sequential({"first": cnnx.ReLU(), "second": cnnx.Tanh()})
    assert isinstance(named.second, cnnx.Tanh)


def test_copies_and_pickles():
    net = _net()
    x = cnnx.randn(1, 1, 6, 6)
    expected = net(x).tolist()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other(x).tolist() == expected
        assert other[1].channels == 4
        other[0].weight.detach().fill_(0)
    assert net(x).tolist() == expected


def test_module_errors():
    class Forgetful(cnnx.Module):
        def __init__(self):
            self.layer = cnnx.ReLU()

    with pytest.raises((RuntimeError, AttributeError, TypeError), match="__init__"):
        Forgetful()

    class Formless(cnnx.Module):
        pass

    with pytest.raises(NotImplementedError, match="Formless has no forward"):
        Formless()(cnnx.ones(1))
    with pytest.raises(TypeError, match="expected a Module"):
        cnnx.Sequential(cnnx.ReLU)

    class Wrong(cnnx.Module):
        def forward(self, x):
            return "text"

    with pytest.raises(TypeError, match="Wrong"):
        cnnx.Sequential(Wrong())(cnnx.ones(1))
    net = cnnx.Sequential(cnnx.ReLU())
    with pytest.raises(ValueError, match="cannot be inside itself"):
        net.append(net)


def test_exceptions_of_python_modules_pass_through_cpp():
    class Failing(cnnx.Module):
        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        cnnx.Sequential(cnnx.Sequential(Failing()))(cnnx.ones(1))


class Cyclic(cnnx.Module):
    def __init__(self) -> None:
        super().__init__()
        self.me = [self]
        self.layer = cnnx.Linear(2, 2)


class Inner(cnnx.Module):
    def __init__(self, outer: cnnx.Module) -> None:
        super().__init__()
        self.outer = [outer]


class Outer(cnnx.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = cnnx.Sequential(Inner(self))


def _layer_that_holds_itself() -> cnnx.Module:
    layer = cnnx.ReLU()
    layer.me = [layer]
    return layer


@pytest.mark.parametrize("make", [Cyclic, Outer, _layer_that_holds_itself, lambda: cnnx.Sequential(Cyclic())])
def test_cycles_through_attributes_are_collected(make):
    module = make()
    observer = weakref.ref(module[0] if isinstance(module, cnnx.Sequential) else module)
    del module
    gc.collect()
    assert observer() is None


def test_extra_repr_may_change_the_parent():
    class Pruning(cnnx.Module):
        def extra_repr(self):
            while len(parent):
                del parent[0]
            return "x"

    parent = cnnx.Sequential(*[Pruning() for _ in range(6)])
    assert repr(parent).count("Pruning(x)") == 6
    assert len(parent) == 0


def test_attribute_names_may_hold_any_character():
    module = cnnx.Module()
    name = "a\0b"
    setattr(module, name, 5)
    setattr(module, name, cnnx.ReLU())
    assert [child for child, _ in module.named_children()] == [name]
    assert not hasattr(cnnx.ReLU(), "\0")


def test_damaged_state_of_shared_parameters_is_refused():
    module = cnnx.Linear(2, 2)
    state = module.__getstate__()
    state["shared"] = [[]]
    with pytest.raises(ValueError, match="empty group"):
        module.__setstate__(state)


def test_collection_while_the_first_object_of_a_class_is_made():
    script = """
import gc, cnnx
gc.set_threshold(1)
for i in range(200):
    kind = type(f"Net{i}", (cnnx.Module,), {})
    kind(); kind()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
