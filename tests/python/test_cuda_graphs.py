"""CUDA graphs: a captured step gives the bits of the step itself, and what it cannot hold is refused. See test_cuda.py."""

from __future__ import annotations

import contextlib
import gc

import numpy as np
import pytest
from helpers import needs_cuda

import cnnx
import cnnx.functional as F

pytestmark = needs_cuda


def lenet() -> cnnx.Sequential:
    return cnnx.Sequential(
        cnnx.Conv2d(1, 4, 5, padding=2),
        cnnx.BatchNorm2d(4),
        cnnx.ReLU(),
        cnnx.MaxPool2d(2),
        cnnx.Conv2d(4, 8, 3),
        cnnx.ReLU(),
        cnnx.AvgPool2d(2),
        cnnx.Flatten(),
        cnnx.Dropout(0.4),
        cnnx.Linear(32, 10),
    )


OPTIMIZERS = {
    "sgd": lambda p: cnnx.optim.SGD(p, lr=0.05),
    "momentum": lambda p: cnnx.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: cnnx.optim.Adam(p, lr=0.01),
    "adamw": lambda p: cnnx.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: cnnx.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: cnnx.optim.Adagrad(p, lr=0.1, lr_decay=0.1),
}


@contextlib.contextmanager
def allowed_tf32():
    cnnx.cuda.allow_tf32 = True
    try:
        yield
    finally:
        cnnx.cuda.allow_tf32 = False


def train(optimizer_name: str, captured: bool, steps: int = 8) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses, and all that training leaves; with a schedule, clipped gradients, and batches of two sizes."""
    cnnx.manual_seed(3)
    model = lenet().to("cuda")
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    schedule = cnnx.optim.ExponentialLR(optimizer, 0.9)

    def step(images: cnnx.Tensor, labels: cnnx.Tensor) -> cnnx.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        loss.backward()
        cnnx.optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return loss

    run = cnnx.cuda.graph(step) if captured else step
    rng = np.random.default_rng(0)
    losses = []
    for i in range(steps):
        count = 5 if i % 3 == 2 else 8
        images = cnnx.tensor(rng.standard_normal((count, 1, 12, 12)), dtype="float32", device="cuda")
        labels = cnnx.tensor(rng.integers(0, 10, count), device="cuda")
        losses.append(run(images, labels).item())
        schedule.step()
        F.dropout(images, 0.5, training=True)  # another stream of random numbers, and memory
    state = {f"model {name}": np.array(value) for name, value in model.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        state |= {f"optimizer {index} {name}": np.array(value) for name, value in entries.items()}
    return losses, state


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
def test_a_captured_training_step_gives_the_same_bits(name, algorithm):
    cnnx.set_conv_algorithm(algorithm)
    losses, state = train(name, captured=False)
    graph_losses, graph_state = train(name, captured=True)
    assert graph_losses == losses
    assert graph_state.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(graph_state[key], value, err_msg=key)


def test_a_captured_forward_pass_follows_the_parameters_and_the_mode():
    model = lenet().to("cuda").eval()
    scores = cnnx.no_grad()(model.__call__)
    run = cnnx.cuda.graph(scores)
    x = cnnx.randn(3, 1, 12, 12, device="cuda")
    for _ in range(3):
        np.testing.assert_array_equal(np.array(run(x)), np.array(scores(x)))
    with cnnx.no_grad():
        model[0].weight.fill_(0.25)
    np.testing.assert_array_equal(np.array(run(x)), np.array(scores(x)))
    model.train()
    before = np.array(model[1].running_mean)
    assert (np.array(run(x)) != np.array(run(x))).any()  # dropout
    assert (np.array(model[1].running_mean) != before).any()
    model.eval()
    model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})
    np.testing.assert_array_equal(np.array(run(x)), np.array(scores(x)))
    model.to("float64").to("float32")  # other buffers
    np.testing.assert_array_equal(np.array(run(x)), np.array(scores(x)))
    for module in model.modules():
        module.training = True
    assert (np.array(run(x)) != np.array(run(x))).any()


def test_outputs_are_the_graphs_own_and_inputs_are_copied():
    run = cnnx.cuda.graph(lambda a, *, factor: {"y": a * factor, "pair": (a + 1.0, [a]), "n": 3})
    a = cnnx.tensor([1.0, 2.0], device="cuda")
    run(a, factor=2.0)
    first = run(a, factor=2.0)
    assert first["y"].tolist() == [2.0, 4.0]
    a.fill_(9.0)
    assert first["pair"][1][0].tolist() == [1.0, 2.0]
    second = run(a, factor=2.0)
    assert second["y"] is first["y"]
    assert first["y"].tolist() == [18.0, 18.0]
    assert second["pair"][0].tolist() == [10.0, 10.0]
    assert second["n"] == 3
    assert run(a, factor=3.0)["y"].tolist() == [27.0, 27.0]  # another kind of arguments
    assert run(a, factor=3.0)["y"].tolist() == [27.0, 27.0]
    assert run(a.to("float64"), factor=3.0)["y"].dtype == "float64"
    assert not run(a, factor=2.0)["y"].requires_grad


def test_graphs_are_bounded_and_give_their_memory_back():
    memory = cnnx.cuda.memory
    gc.collect()
    memory.empty_cache()
    before = memory.current() + memory.cached()
    run = cnnx.cuda.graph(lambda x: (x * 2.0 + 1.0).sum(), limit=2)
    for size in range(1, 6):
        x = cnnx.ones(size << 14, device="cuda")
        for _ in range(3):
            assert run(x).item() == 3 * (size << 14)
    assert len(run._entries) == 2
    run.reset()
    del x, run
    gc.collect()
    memory.empty_cache()
    assert memory.current() + memory.cached() == before


REFUSED = {
    "item": (lambda x: x.sum().item(), "a captured function cannot wait for the GPU; got values that the host reads"),
    "numpy": (lambda x: x.numpy(), "cannot wait for the GPU"),
    "print": (lambda x: print(x), "cannot wait for the GPU"),
    "bool": (lambda x: 1 if x.sum() > 0 else 2, "cannot wait for the GPU"),
    "upload": (lambda x: x + cnnx.tensor([1.0, 2.0], device="cuda"), "got a copy from the CPU to the GPU"),
    "cpu": (lambda x: x.to("cpu"), "cannot wait for the GPU"),
    "synchronize": (lambda x: cnnx.cuda.synchronize(), r"got synchronize\(\)"),
    "scale": (lambda x: cnnx.GradScaler().scale(x), "cannot wait for the GPU; got GradScaler"),
    "random": (lambda x: cnnx.randn(2), "a captured function draws random numbers on cuda:0 alone"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_graph_cannot_hold_is_refused_and_leaves_all_usable(name, capsys):
    function, message = REFUSED[name]
    run = cnnx.cuda.graph(function)
    x = cnnx.tensor([1.0, 2.0], device="cuda")
    run(x)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"\[graph\]") as error:
            run(x)
        assert error.match(message)
    assert (x * 2.0).tolist() == [2.0, 4.0]
    other = cnnx.cuda.graph(lambda x: x * 3.0, warmup=0)
    assert other(x).tolist() == [3.0, 6.0]


def test_exceptions_of_the_function_end_the_capture():
    calls = []

    def function(x):
        calls.append(x)
        y = x * 2.0
        if len(calls) == 2:
            raise KeyError("mine")
        return y

    run = cnnx.cuda.graph(function)
    x = cnnx.tensor([1.0], device="cuda")
    run(x)
    with pytest.raises(KeyError, match="mine"):
        run(x)
    assert not cnnx._core._is_capturing()
    assert run(x).item() == 2.0
    assert len(calls) == 3


def test_training_steps_that_would_go_wrong_are_refused():
    w = cnnx.ones(3, device="cuda", requires_grad=True)
    optimizer = cnnx.optim.SGD([w], lr=0.1, momentum=0.9)
    schedule = cnnx.optim.StepLR(optimizer, 1)

    def step(x, schedules=False):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        if schedules:
            schedule.step()

    x = cnnx.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="the first step makes the state of a parameter"):
        cnnx.cuda.graph(step, warmup=0)(x)
    run = cnnx.cuda.graph(step)
    run(x, schedules=True)
    with pytest.raises(RuntimeError, match="a captured function cannot set options"):
        run(x, schedules=True)
    run(x)
    before = np.array(w.detach())
    run(x)
    assert (np.array(w.detach()) != before).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_gradients_accumulate_in_a_graph(dtype):
    w, x = cnnx.ones(3, device="cuda", dtype=dtype, requires_grad=True), cnnx.ones(3, device="cuda", dtype=dtype)

    def accumulate(x):
        (w * x).sum().backward()

    kept = []
    run = cnnx.cuda.graph(accumulate)
    run(x)
    kept.append(w.grad)
    with pytest.raises(RuntimeError, match="cannot add to a gradient that something else refers to"):
        run(x)
    kept.clear()
    for _ in range(3):
        run(x)
    assert w.grad.tolist() == [4.0] * 3


def test_replaced_state_makes_a_new_capture():
    w = cnnx.ones(3, device="cuda", requires_grad=True)
    optimizer = cnnx.optim.Adam([w], lr=0.1)

    def step(x):
        optimizer.zero_grad()
        (w * w * x).sum().backward()
        optimizer.step()

    run = cnnx.cuda.graph(step)
    x = cnnx.ones(3, device="cuda")
    for _ in range(3):
        run(x)
    saved, values = optimizer.state_dict(), w.detach().clone()
    saved = {"state": {0: {k: v.clone() for k, v in saved["state"][0].items()}}, "param_groups": saved["param_groups"]}
    for _ in range(2):
        run(x)
    expected = np.array(w.detach())
    optimizer.load_state_dict(saved)
    w.detach().copy_(values)
    for _ in range(2):
        run(x)
    np.testing.assert_array_equal(np.array(w.detach()), expected)


def test_each_precision_has_a_capture_of_its_own():
    x = cnnx.randn(4, 40, device="cuda") * 1e-6  # which float16 has with fewer bits than TF32
    w = cnnx.randn(40, 3, device="cuda")
    run = cnnx.cuda.graph(lambda x: x @ w, limit=4)
    modes = {
        "float32": contextlib.nullcontext,
        "bfloat16": lambda: cnnx.autocast("cuda", "bfloat16"),
        "float16": lambda: cnnx.autocast("cuda", "float16"),
        "tf32": allowed_tf32,
    }
    seen = set()
    for _ in range(3):  # as it is, captured, replayed
        for mode in modes.values():
            with mode():
                y, expected = (z.to("float32").numpy().copy() for z in (run(x), x @ w))
            np.testing.assert_array_equal(y, expected)
            seen.add(y.tobytes())
    assert len(seen) == len(modes)


@pytest.mark.parametrize("name", ["scale", "unscale_", "step"])
def test_a_scaler_is_refused_in_a_capture_and_steps_outside(name):
    w = cnnx.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    optimizer, scaler = cnnx.optim.SGD([w], lr=0.5), cnnx.GradScaler(init_scale=4.0)
    w.grad = cnnx.full((2,), 4.0, device="cuda")
    run = cnnx.cuda.graph(lambda x: getattr(scaler, name)(x if name == "scale" else optimizer), warmup=0, device="cuda")
    with pytest.raises(RuntimeError, match=r"\[graph\] a captured function cannot wait for the GPU; got GradScaler"):
        run(w.detach()) if name == "scale" else run(None)
    scaler.step(optimizer)
    scaler.update()
    assert w.tolist() == [0.5, 1.5]
    off = cnnx.GradScaler(enabled=False)
    captured = cnnx.cuda.graph(lambda: off.step(optimizer))
    for _ in range(3):
        captured()
    assert w.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("name", ["momentum", "adam"])
@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_step_of_another_precision_gives_the_same_bits_captured(name, precision):
    with allowed_tf32() if precision == "tf32" else cnnx.autocast("cuda", precision):
        losses, values = train(name, captured=False)
        captured_losses, captured_values = train(name, captured=True)
    assert captured_losses == losses
    for key, value in values.items():
        np.testing.assert_array_equal(captured_values[key], value, err_msg=key)
    assert losses != train(name, captured=False)[0]


def test_bad_arguments():
    run = cnnx.cuda.graph(lambda x, y=None: x, warmup=0)
    x = cnnx.ones(2, device="cuda")
    with pytest.raises(ValueError, match="expected tensors on one CUDA device; got \\['cpu'\\]"):
        run(cnnx.ones(2))
    with pytest.raises(ValueError, match="arguments must not require gradients"):
        run(cnnx.ones(2, device="cuda", requires_grad=True))
    with pytest.raises(TypeError, match="arguments must be tensors or hashable; got list"):
        run(x, [x])
    nested = cnnx.cuda.graph(lambda x: run(x) * 2.0)
    nested(x)
    run(x)
    with pytest.raises(RuntimeError, match="a captured function cannot call another graph"):
        nested(x)


def test_a_wrong_class_in_a_graph_is_raised_at_the_next_wait():
    run = cnnx.cuda.graph(lambda x, t: F.cross_entropy(x, t))
    x, good = cnnx.randn(2, 3, device="cuda"), cnnx.tensor([0, 2], device="cuda")
    expected = run(x, good).item()
    assert run(x, good).item() == expected
    loss = run(x, cnnx.tensor([0, 3], device="cuda"))
    with pytest.raises(IndexError, match=r"targets must lie in \[0, 3\); got 3 at position 1"):
        loss.item()
    assert run(x, good).item() == expected


def test_fit_with_graphs_gives_the_same_bits():
    rng = np.random.default_rng(0)
    data = cnnx.data.ArrayDataset(rng.standard_normal((27, 1, 12, 12)).astype(np.float32), np.arange(27) % 10)
    ends = []
    for graph in (False, True):
        cnnx.manual_seed(1)
        model = lenet().to("cuda")
        history = cnnx.fit(model, data, validation=data, epochs=3, batch_size=8, progress=False, graph=graph)
        ends.append((history.epochs[-1].loss, history.epochs[-1].validation_loss, cnnx.predict(model, data)))
    assert ends[0][:2] == ends[1][:2]
    np.testing.assert_array_equal(ends[0][2], ends[1][2])
