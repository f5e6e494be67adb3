"""What calls of modules tell: layers' paths in errors, the search for anomalies, observers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import cnnx
import cnnx.functional as F
from cnnx import _core


class Block(cnnx.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = cnnx.Conv2d(4, 4, 3)
        self.inner = cnnx.Sequential(cnnx.ReLU(), cnnx.Conv2d(4, 2, 3))

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        return self.inner(self.conv(x))


class Adds(cnnx.Module):
    """An operation of its own, not a layer's, that fails."""

    def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
        return x + cnnx.zeros(3, 5, 7, 9)


def net() -> cnnx.Sequential:
    return cnnx.Sequential(
        {
            "features": cnnx.Sequential(cnnx.Conv2d(3, 4, 3), cnnx.ReLU(), cnnx.MaxPool2d(2), cnnx.Conv2d(3, 8, 3)),
            "classifier": cnnx.Linear(8, 2),
        }
    )


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (
            net(),
            (1, 3, 10, 10),
            "[conv2d] expected 3 input channels (weight is (8, 3, 3, 3)); got input of shape (1, 4, 4, 4); "
            "at features.3 (Conv2d), input (1, 4, 4, 4).",
        ),
        (
            net(),
            (1, 2, 10, 10),
            "[conv2d] expected 3 input channels (weight is (4, 3, 3, 3)); got input of shape (1, 2, 10, 10); "
            "at features.0 (Conv2d), input (1, 2, 10, 10).",
        ),
        (
            cnnx.Sequential(cnnx.Concat({"left": cnnx.Identity(), "right": cnnx.Sequential(cnnx.Conv2d(1, 1, 1))})),
            (1, 2, 4, 4),
            "at 0.right.0 (Conv2d), input (1, 2, 4, 4).",
        ),
        (
            cnnx.Sequential(cnnx.Residual({"a": cnnx.Conv2d(2, 3, 1)})),
            (1, 2, 4, 4),
            "got (1, 3, 4, 4) and (1, 2, 4, 4). Give a downsample module; at 0 (Residual), input (1, 2, 4, 4).",
        ),
        (
            cnnx.Sequential(cnnx.Residual(cnnx.Identity(), downsample=cnnx.Conv2d(5, 2, 1))),
            (1, 2, 4, 4),
            "at 0.downsample (Conv2d), input (1, 2, 4, 4).",
        ),
        (cnnx.Sequential(Block()), (1, 3, 9, 9), "at 0.conv (Conv2d), input (1, 3, 9, 9)."),
        (Block(), (1, 4, 4, 4), "at inner.1 (Conv2d), input (1, 4, 2, 2)."),
        (cnnx.Sequential(Block(), Adds()), (1, 4, 9, 9), "at 1 (Adds), input (1, 2, 5, 5)."),
    ],
)
def test_errors_name_the_layer(model: cnnx.Module, shape: tuple[int, ...], message: str) -> None:
    for checkpointed in (False, True):
        for module in model.modules():
            module.checkpointed = checkpointed
        with pytest.raises(ValueError, match=r"\[") as caught:
            model(cnnx.zeros(*shape))
        assert type(caught.value) is ValueError
        assert str(caught.value).endswith(message) or str(caught.value) == message
        assert str(caught.value).count("; at ") == 1


def test_errors_of_a_layer_alone_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match=r"got input of shape \(1, 4, 8, 8\)\.$"):
        cnnx.Conv2d(3, 8, 3)(cnnx.zeros(1, 4, 8, 8))


def test_errors_of_users_stay_as_they_are() -> None:
    class Mine(ValueError):
        pass

    class Fails(cnnx.Module):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            raise self.error

    for error in (ValueError("mine"), Mine("[mine] so"), KeyError("[x] y"), ValueError(1, 2)):
        for model in (cnnx.Sequential(Fails(error)), cnnx.Sequential(cnnx.Sequential(Fails(error)))):
            with pytest.raises(type(error)) as caught:
                model(cnnx.zeros(1))
            assert caught.value is error
            assert caught.value.args == error.args


def test_a_module_that_is_no_child_is_named_by_its_type() -> None:
    class Hides(cnnx.Module):
        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            return cnnx.Conv2d(1, 1, 1)(x)

    with pytest.raises(ValueError, match=r"at 0\.<Conv2d> \(Conv2d\), input \(1, 2, 3, 3\)\.$"):
        cnnx.Sequential(Hides())(cnnx.zeros(1, 2, 3, 3))


# ---- detect_anomaly


def anomaly(run: object) -> str:
    with cnnx.detect_anomaly(), pytest.raises(RuntimeError) as caught:
        run()  # type: ignore[operator]
    return str(caught.value)


def spoil(tensor: cnnx.Tensor, value: float) -> None:
    tensor.detach().numpy().reshape(-1)[0] = value


def test_anomaly_names_weight_statistic_input_and_output() -> None:
    model = cnnx.Sequential(
        {"features": cnnx.Sequential(cnnx.Conv2d(1, 2, 1), cnnx.BatchNorm2d(2)), "act": cnnx.ReLU()}
    ).eval()
    x = cnnx.ones(1, 1, 2, 2)
    with cnnx.detect_anomaly():
        model(x)
    spoil(model.features[1].running_var, float("inf"))
    assert anomaly(lambda: model(x)) == (
        "[detect_anomaly] forward: running_var has 0 NaN and 1 infinite values of 2; at features.1 (BatchNorm2d), "
        "input (1, 2, 2, 2)."
    )
    spoil(model.features[0].weight, float("nan"))
    with cnnx.no_grad():
        assert "forward: weight has 1 NaN" in anomaly(lambda: model(x))
    bad = cnnx.tensor([[[[1.0, float("nan")]]]])
    assert anomaly(lambda: model(bad)) == "[detect_anomaly] forward: the input has 1 NaN and 0 infinite values of 2."


@pytest.mark.parametrize("recording", [True, False])
def test_anomaly_in_the_forward_pass(recording: bool) -> None:
    class Log(cnnx.Module):
        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            return cnnx.log(x)

    model = cnnx.Sequential(cnnx.Linear(2, 2), cnnx.Sequential(Log(), cnnx.Linear(2, 2)))
    with cnnx.no_grad():
        model[0].weight.fill_(0.0)
        model[0].bias.fill_(-1.0)
    with cnnx.enable_grad() if recording else cnnx.no_grad():
        message = anomaly(lambda: model(cnnx.ones(1, 2)))
    what = "log" if recording else "Log"
    assert message == (
        f"[detect_anomaly] forward: the output of {what} has 2 NaN and 0 infinite values of 2; at 1.0 (Log), input (1, 2)."
    )


def test_anomaly_in_the_backward_pass() -> None:
    class Root(cnnx.Module):
        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            return cnnx.sqrt(x)  # infinite slope at 0

    model = cnnx.Sequential({"first": cnnx.Linear(2, 2), "root": Root()})
    with cnnx.no_grad():
        model.first.weight.fill_(0.0)
        model.first.bias.fill_(0.0)

    def run() -> None:
        model(cnnx.ones(1, 2)).sum().backward()

    assert anomaly(run) == (
        "[detect_anomaly] backward: the gradient of sqrt for input 0 has 0 NaN and 2 infinite values of 2; "
        "at root (Root), input (1, 2)."
    )
    run()  # outside of the block nothing is looked at
    assert np.isinf(model.first.bias.grad.numpy()).all()


def test_anomaly_of_a_given_gradient_and_nesting() -> None:
    x = cnnx.ones(2, requires_grad=True)
    y = x * 2
    message = anomaly(lambda: y.backward(cnnx.tensor([1.0, float("inf")])))
    assert message.startswith("[detect_anomaly] backward: the gradient of the output of mul has 0 NaN and 1 infinite")
    with cnnx.detect_anomaly():
        with cnnx.detect_anomaly():
            pass
        assert _core._is_detect_anomaly()
    assert not _core._is_detect_anomaly()


# ---- Observers


def test_observer_sees_every_call_on_its_thread() -> None:
    events: list[tuple[str, str, str, tuple[int, ...]]] = []
    model = cnnx.Sequential({"block": Block(), "pool": cnnx.AdaptiveAvgPool2d(1)})
    x = cnnx.zeros(2, 4, 9, 9)
    with _core._CallWatch(
        lambda path, kind, inputs: events.append(("in", path, kind, inputs[0].shape)),
        lambda path, kind, outputs: events.append(("out", path, kind, outputs[0].shape)),
    ):
        thread = threading.Thread(target=lambda: model(x))
        thread.start()
        thread.join()
        assert events == []
        model(x)
    model(x)
    assert [event[:3] for event in events] == [
        ("in", "", "Sequential"),
        ("in", "block", "Block"),
        ("in", "block.conv", "Conv2d"),
        ("out", "block.conv", "Conv2d"),
        ("in", "block.inner", "Sequential"),
        ("in", "block.inner.0", "ReLU"),
        ("out", "block.inner.0", "ReLU"),
        ("in", "block.inner.1", "Conv2d"),
        ("out", "block.inner.1", "Conv2d"),
        ("out", "block.inner", "Sequential"),
        ("out", "block", "Block"),
        ("in", "pool", "AdaptiveAvgPool2d"),
        ("out", "pool", "AdaptiveAvgPool2d"),
        ("out", "", "Sequential"),
    ]
    assert events[-1][3] == (2, 2, 1, 1)


def test_an_error_in_an_observer_passes_on() -> None:
    def fail(*_: object) -> None:
        raise KeyError("mine")

    with _core._CallWatch(None, fail), pytest.raises(KeyError, match="mine"):
        cnnx.Sequential(cnnx.ReLU())(cnnx.zeros(1))


def test_observer_sees_several_inputs_and_outputs() -> None:
    class Split(cnnx.Module):
        def forward(self, x: cnnx.Tensor, y: cnnx.Tensor) -> tuple[cnnx.Tensor, cnnx.Tensor]:
            return x, F.relu(y)

    seen = []
    with _core._CallWatch(lambda *call: seen.append(len(call[2])), lambda *call: seen.append(len(call[2]))):
        Split()(cnnx.zeros(1), cnnx.zeros(2))
    assert seen == [2, 2]
