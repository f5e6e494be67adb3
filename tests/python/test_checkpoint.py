"""Checkpointing: the same values and gradients bit for bit, and what it refuses."""

from __future__ import annotations

import copy
import gc
import pickle
import threading

import numpy as np
import pytest
from helpers import randoms

import cnnx
import cnnx.functional as F


class Spy(cnnx.Module):
    """Remembers what its body returns."""

    def __init__(self, body: cnnx.Module) -> None:
        super().__init__()
        self.body = body
        self.seen: list[np.ndarray] = []

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        y = self.body(x)
        self.seen.append(y.detach().numpy().copy())
        return y


class Writer(cnnx.Module):
    """Changes its input by a statement."""

    def __init__(self, statement: str) -> None:
        super().__init__()
        self.statement = statement
        self.scale = cnnx.Parameter(cnnx.full((2,), 3.0))

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        names = {"x": x, "scale": self.scale}
        exec(self.statement, names)
        return names["x"] * self.scale


@pytest.mark.parametrize("statement", ["x += scale", "x *= 2"])
def test_operators_on_the_input_make_a_tensor(statement: str) -> None:
    model = Writer(statement)
    gradients = []
    for checkpointed in (False, True):
        model.checkpointed = checkpointed
        model.zero_grad()
        x = cnnx.ones(3, 2, requires_grad=True)
        model(x * 2).sum().backward()
        gradients.append((x.grad.tolist(), model.scale.grad.tolist()))
    assert gradients[0] == gradients[1]


def test_writes_to_the_input_are_refused() -> None:
    model = cnnx.checkpoint(Writer("x[:, 0] = scale[0]"))
    for x in (cnnx.ones(3, 2), cnnx.ones(3, 2, requires_grad=True) * 1):
        with pytest.raises(RuntimeError, match=r"\[setitem\] .* memory that no other tensor shares"):
            model(x)
        assert x.tolist() == [[1, 1]] * 3
    y = cnnx.checkpoint(Writer("x[:, 0] = 5"))(cnnx.ones(3, 2))
    with pytest.raises(RuntimeError, match="checkpoint needs was changed in place"):
        y.sum().backward()


def trained(model: cnnx.Module, steps: int = 3) -> dict[str, np.ndarray]:
    cnnx.manual_seed(7)
    x = cnnx.randn(4, 3, 16, 16)
    optimizer = cnnx.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    values = {}
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), cnnx.tensor([0, 1, 2, 3], dtype="int64"))
        loss.backward()
        values |= {f"{step}.{name}": p.grad.numpy().copy() for name, p in model.named_parameters()}
        optimizer.step()
    return values | {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


def inner_block() -> cnnx.Sequential:
    return cnnx.Sequential(
        cnnx.Conv2d(3, 8, 3, padding=1), cnnx.BatchNorm2d(8), cnnx.ReLU(), cnnx.Dropout(0.4), cnnx.Conv2d(8, 8, 3)
    )


def dropout_net() -> cnnx.Sequential:
    cnnx.manual_seed(5)
    return cnnx.Sequential(inner_block(), cnnx.Dropout(0.2), cnnx.Flatten(), cnnx.Linear(8 * 14 * 14, 4))


def test_checkpointing_changes_nothing_but_memory() -> None:
    plain, checkpointed = dropout_net(), dropout_net()
    assert cnnx.checkpoint(checkpointed[0]) is checkpointed[0]
    expected, got = trained(plain), trained(checkpointed)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert int(got["0.1.num_batches_tracked"]) == 3


def test_checkpointed_python_module_and_gradient_of_the_input() -> None:
    cnnx.manual_seed(2)
    block = Spy(inner_block()).eval()
    x = cnnx.randn(2, 3, 8, 8, requires_grad=True)
    block(x).sum().backward()
    expected = x.grad.numpy().copy()
    x.grad = None
    cnnx.checkpoint(block)
    y = block(x)
    y.sum().backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), expected)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * expected)
    with cnnx.no_grad():
        assert not block(x).requires_grad


def test_checkpointed_module_outlives_its_names() -> None:
    x = cnnx.randn(2, 3, 8, 8, requires_grad=True)
    y = cnnx.checkpoint(Spy(inner_block()))(x).sum()
    gc.collect()
    y.backward()
    assert x.grad is not None


def test_checkpointed_is_copied_and_pickled() -> None:
    model = cnnx.Sequential(cnnx.checkpoint(cnnx.Linear(2, 2)))
    assert copy.deepcopy(model)[0].checkpointed
    assert pickle.loads(pickle.dumps(model))[0].checkpointed
    assert not cnnx.Linear(2, 2).checkpointed


class _Impatient(cnnx.Module):
    """Draws more random numbers at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        self.calls += 1
        for _ in range(self.calls):
            x = F.dropout(x, 0.5, True)
        return x


def test_checkpoint_refuses_what_it_cannot_repeat() -> None:
    x = cnnx.ones(4, 4, requires_grad=True)
    y = cnnx.checkpoint(_Impatient())(x).sum()
    with pytest.raises(RuntimeError, match="drew more random numbers the second time"):
        y.backward()


# ---- The first pass and its repetition take the same path


def convolution_of_two_algorithms() -> cnnx.Module:
    """With its weights in the order that an algorithm reads another one is the fastest."""
    return cnnx.Sequential(cnnx.Conv2d(64, 64, 3, padding=1), cnnx.Conv2d(64, 64, 5, padding=2))


def frozen_norm() -> cnnx.Module:
    """Scores by one pass over convolution, normalization and ReLU; a gradient for the input takes three."""
    norm = cnnx.BatchNorm2d(64)
    norm.running_mean.copy_(cnnx.randn(64))
    norm.running_var.copy_(cnnx.rand(64) + 0.5)
    model = cnnx.Sequential(cnnx.Conv2d(64, 64, 3, padding=1), norm, cnnx.ReLU()).eval()
    cnnx.freeze(model)
    return model


def partly_frozen() -> cnnx.Module:
    """The frozen convolution's input needs a gradient only because of the one before."""
    model = cnnx.Sequential(cnnx.Conv2d(64, 64, 1), *frozen_norm())
    return model.eval()


@pytest.mark.parametrize("make", [convolution_of_two_algorithms, frozen_norm, partly_frozen])
@pytest.mark.parametrize("input_grad", [True, False])
def test_both_passes_choose_the_same_algorithms(make, input_grad) -> None:
    cnnx.manual_seed(0)
    model = make()
    x = cnnx.randn(1, 64, 8, 8, requires_grad=input_grad)
    with cnnx.no_grad():
        scores = [model(x).numpy().copy() for _ in range(2)][1]
    plain = model(x)
    if plain.requires_grad:
        if np.array_equal(scores, plain.detach().numpy()):
            pytest.skip("on this machine there is nothing to tell apart")
        plain.sum().backward()
    gradients = [t.grad.numpy().copy() for t in (x, *model.parameters()) if t.grad is not None]
    for tensor in (x, *model.parameters()):
        tensor.grad = None
    spy = cnnx.checkpoint(Spy(model))
    spy.train(model.training)
    y = spy(x)
    assert np.array_equal(y.detach().numpy(), plain.detach().numpy())
    if not y.requires_grad:
        return
    y.sum().backward()
    assert len(spy.seen) == 2
    assert np.array_equal(spy.seen[0], spy.seen[1])
    again = [t.grad.numpy() for t in (x, *model.parameters()) if t.grad is not None]
    assert all(np.array_equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_the_first_pass_looks_recorded_and_keeps_nothing() -> None:
    class Asks(cnnx.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answers: list[tuple[bool, bool]] = []
            self.w = cnnx.Parameter(cnnx.ones(4))

        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            y = x * self.w
            self.answers.append((cnnx.is_grad_enabled(), y.requires_grad))
            return y

    model = cnnx.checkpoint(Asks())
    y = model(cnnx.ones(4))
    y.sum().backward()
    assert model.answers == [(True, True)] * 2
    deep = cnnx.checkpoint(cnnx.Sequential(*(cnnx.Conv2d(4, 4, 3, padding=1) for _ in range(16))))
    x = cnnx.randn(2, 4, 32, 32)
    cnnx.memory.reset_peak()
    before = cnnx.memory.current()
    y = deep(x)
    assert cnnx.memory.peak() - before < 8 * x.numel() * 4
    assert cnnx.memory.current() - before < 2 * x.numel() * 4


def test_nested_checkpoints() -> None:
    plain, nested = dropout_net(), dropout_net()
    block = nested[0]
    nested[0] = cnnx.checkpoint(
        cnnx.Sequential(cnnx.checkpoint(cnnx.Sequential(*block[:3])), block[3], cnnx.checkpoint(block[4]))
    )
    expected, got = trained(plain), trained(nested)
    assert len(expected) == len(got)
    for (name, value), other in zip(expected.items(), got.values(), strict=True):
        np.testing.assert_array_equal(other, value, err_msg=name)


# ---- Changes between the passes


def test_weights_changed_before_backward_are_an_error() -> None:
    model = cnnx.checkpoint(cnnx.Linear(2, 2))
    y = model(cnnx.ones(1, 2)).sum()
    with cnnx.no_grad():
        model.bias.fill_(3.0)
    with pytest.raises(RuntimeError, match="a value that the gradient of checkpoint needs was changed in place"):
        y.backward()


class _Centred(cnnx.Module):
    """Subtracts a running mean, which it updates before: in place, or by another tensor."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.linear, self.in_place = cnnx.Linear(3, 3), in_place
        self.register_buffer("mean", cnnx.zeros(3))
        self.register_buffer("unused", None)

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        mean = 0.5 * self.mean + 0.5 * x.detach().mean(axis=0)
        if self.in_place:
            self.mean.copy_(mean)
        else:
            self.mean = mean
        return self.linear(x - self.mean) ** 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: _Centred(in_place=True),
        lambda: _Centred(in_place=False),
        lambda: cnnx.Sequential(_Centred(in_place=True), cnnx.checkpoint(_Centred(in_place=False))),
        lambda: cnnx.InstanceNorm2d(3, affine=True, track_running_stats=True),
        lambda: cnnx.BatchNorm2d(3),
    ],
)
def test_buffers_that_the_forward_pass_changes(make) -> None:
    def run(model: cnnx.Module) -> list[np.ndarray]:
        xs = randoms(1, *[(4, 3) if type(model).__name__ in ("_Centred", "Sequential") else (4, 3, 5, 5)] * 2)
        inputs = [cnnx.tensor(x, dtype="float32", requires_grad=True) for x in xs]
        outputs = [model(x) for x in inputs]
        for y in outputs:
            (y * y).sum().backward(retain_graph=True)
            (y * y).sum().backward()
        return [t.numpy().copy() for t in (*(x.grad for x in inputs), *model.state_dict().values())]

    cnnx.manual_seed(3)
    expected = run(make())
    cnnx.manual_seed(3)
    got = run(cnnx.checkpoint(make()))
    for value, other in zip(expected, got, strict=True):
        np.testing.assert_array_equal(value, other)


def test_buffers_changed_before_backward() -> None:
    model = cnnx.checkpoint(cnnx.BatchNorm2d(2).eval())
    x = cnnx.ones(1, 2, 3, 3, requires_grad=True)
    y = model(x).sum()
    kept, model.running_var = model.running_var, cnnx.full((2,), 100.0)
    y.backward(retain_graph=True)
    assert x.grad.numpy() == pytest.approx(1, rel=1e-4)
    assert model.running_var.tolist() == [100, 100]
    kept.fill_(4.0)
    with pytest.raises(RuntimeError, match="a value that the gradient of checkpoint needs was changed in place"):
        y.backward()
    assert model.running_var.tolist() == [100, 100]


class _Counter(cnnx.Module):
    def __init__(self, count: cnnx.Tensor, scales: bool) -> None:
        super().__init__()
        self.scales, self.seen = scales, list[float]()
        self.register_buffer("count", count)

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        other = threading.Thread(target=lambda: self.seen.append(self.count.item()))
        other.start()
        other.join()
        if self.scales:
            return x * self.count * x
        self.count += 1
        return x


def test_a_buffer_of_two_modules() -> None:
    def run(checkpoint: bool) -> list[float]:
        count = cnnx.ones(1)
        model = cnnx.Sequential(_Counter(count, scales=False), _Counter(count, scales=True))
        x = cnnx.ones(3, requires_grad=True)
        (cnnx.checkpoint(model) if checkpoint else model)(x * 1.0).sum().backward()
        assert model[0].count.item() == model[1].count.item() == 2
        return x.grad.tolist()

    assert run(True) == run(False) == [4, 4, 4]


def test_other_threads_see_the_buffers_as_they_are() -> None:
    model = _Counter(cnnx.zeros(1), scales=False)
    cnnx.checkpoint(model)
    x = cnnx.ones(1, requires_grad=True)
    model(x * 1.0).backward()
    assert model.seen == [0, 1]
    assert model.count.item() == 1


def test_a_buffer_removed_before_backward_is_an_error() -> None:
    model = cnnx.checkpoint(_Centred(in_place=True))
    y = model(cnnx.ones(2, 3)).sum()
    model.mean = None
    with pytest.raises(RuntimeError, match=r"\[checkpoint\] a buffer was removed after the forward pass"):
        y.backward()


def test_another_mode_before_backward_is_an_error() -> None:
    model = cnnx.checkpoint(cnnx.Sequential(cnnx.Linear(4, 4), cnnx.Dropout(0.5)))
    y = model(cnnx.ones(1, 4)).sum()
    model.eval()
    with pytest.raises(RuntimeError, match=r"\[checkpoint\] the module was put into another mode"):
        y.backward(retain_graph=True)
    model.train()  # back in time: a validation pass in between is harmless
    y.backward()


def test_anomalies_behind_a_checkpoint_name_the_layer() -> None:
    class Root(cnnx.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = cnnx.Linear(2, 2)

        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            return cnnx.sqrt(self.linear(x) * 0)

    model = cnnx.Sequential(cnnx.Identity(), cnnx.checkpoint(cnnx.Sequential(cnnx.Linear(2, 2), Root())))
    with cnnx.detect_anomaly():
        y = model(cnnx.ones(1, 2)).sum()
        with pytest.raises(
            RuntimeError, match=r"the gradient of sqrt for input 0 .*; at 1\.1 \(Root\), input \(1, 2\)\."
        ):
            y.backward()


def test_backward_inside_of_a_checkpointed_module_is_an_error() -> None:
    class Differentiates(cnnx.Module):
        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            (x * x).sum().backward()
            return x

    with pytest.raises(
        RuntimeError, match=r"a checkpointed module cannot run backward\(\) on \w+, which its own forward"
    ):
        cnnx.checkpoint(Differentiates())(cnnx.ones(2, requires_grad=True))
