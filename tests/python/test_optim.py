"""Optimizers against torch, state dicts, groups, bad arguments."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import OPTIMIZERS, assert_close, needs_torch, randoms

import cnnx


def _parameters(dtype="float32"):
    return [cnnx.tensor(a, dtype=dtype, requires_grad=True) for a in randoms(0, (3, 4), (40000,), ())]


@needs_torch
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_steps_match_torch(name, options, dtype):
    import torch

    ours = _parameters(dtype)
    theirs = [torch.tensor(p.numpy().copy(), requires_grad=True) for p in ours]
    a, b = getattr(cnnx.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for step in range(5):
        for i, (mine, other, grad) in enumerate(
            zip(ours, theirs, randoms(step, *(p.shape for p in ours)), strict=True)
        ):
            if i == 2 and step == 1:  # a parameter without a gradient is left alone
                mine.grad = other.grad = None
                continue
            mine.grad = cnnx.tensor(grad, dtype=dtype)
            other.grad = torch.tensor(grad, dtype=other.dtype)
        a.step()
        b.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine.detach(), other.detach(), dtype, scale=5)


@needs_torch
@pytest.mark.parametrize(("name", "options"), [o for o in OPTIMIZERS if o[0] == "AdamW" or "weight_decay" not in o[1]])
def test_infinite_parameters_stay_as_in_torch(name, options):
    import torch

    values, gradient = [float("inf"), -float("inf"), 1.0], [1.0, 0.0, 1.0]
    mine, other = cnnx.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    a, b = getattr(cnnx.optim, name)([mine], **options), getattr(torch.optim, name)([other], **options)
    for _ in range(2):
        mine.grad, other.grad = cnnx.tensor(gradient), torch.tensor(gradient)
        a.step()
        b.step()
    assert_close(mine.detach(), other.detach())


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_resuming_from_a_state_dict_is_exact(name, options):
    def run(parameters, optimizer, steps):
        for step in steps:
            for p, grad in zip(parameters, randoms(step, *(p.shape for p in parameters)), strict=True):
                p.grad = cnnx.tensor(grad, dtype="float32")
            optimizer.step()

    whole = _parameters()
    run(whole, getattr(cnnx.optim, name)(whole, **options), range(6))
    halves = _parameters()
    first = getattr(cnnx.optim, name)(halves, **options)
    run(halves, first, range(3))
    second = getattr(cnnx.optim, name)(halves, lr=99)
    second.load_state_dict(first.state_dict())
    run(halves, second, range(3, 6))
    for a, b in zip(whole, halves, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@needs_torch
def test_state_dict_has_torchs_layout():
    import torch

    ours = cnnx.optim.Adam(
        [{"params": [cnnx.ones(2, requires_grad=True)], "lr": 0.5}, {"params": [cnnx.ones(3, requires_grad=True)]}]
    )
    theirs = torch.optim.Adam(
        [{"params": [torch.ones(2, requires_grad=True)], "lr": 0.5}, {"params": [torch.ones(3, requires_grad=True)]}]
    )
    mine, other = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == other.keys()
    for a, b in zip(mine["param_groups"], other["param_groups"], strict=True):
        for key in ("params", "lr", "betas", "eps", "weight_decay"):
            assert a[key] == b[key]


def test_states_that_change_what_they_are_loaded_into():
    optimizer = cnnx.optim.SGD([cnnx.ones(1000, requires_grad=True)], lr=0.1)
    entries = {}

    class Hostile:
        def detach(self):
            for _ in range(50):
                optimizer.add_param_group({"params": []})
            entries.clear()
            return [0.0] * 1000

    entries["momentum_buffer"] = Hostile()
    with pytest.raises(RuntimeError, match="parameter groups were added while the state was loaded"):
        optimizer.load_state_dict({"state": {0: entries}, "param_groups": [{"params": [0]}]})


def test_groups_are_added_by_the_method_alone():
    optimizer = cnnx.optim.SGD([_one_parameter()], lr=0.1)
    with pytest.raises(AttributeError):
        optimizer.param_groups.append({"params": [_one_parameter()]})
    optimizer.add_param_group({"params": [_one_parameter()]})
    assert len(optimizer.param_groups) == 2


def test_groups_have_their_own_options():
    a, b = cnnx.ones(1, requires_grad=True), cnnx.ones(1, requires_grad=True)
    optimizer = cnnx.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=0.1)
    a.grad, b.grad = cnnx.ones(1), cnnx.ones(1)
    optimizer.step()
    assert a.item() == 0.5
    assert b.item() == pytest.approx(0.9)
    optimizer.param_groups[1]["lr"] = 0.2
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.2]
    optimizer.add_param_group({"params": cnnx.ones(2, requires_grad=True), "lr": 3})
    assert len(optimizer.param_groups) == 3
    optimizer.lr = 1
    assert [group["lr"] for group in optimizer.param_groups] == [1, 1, 1]
    optimizer.zero_grad()
    assert a.grad is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr", "momentum", "dampening", "weight_decay", "nesterov"}),
        ("Adam", {"lr", "betas", "eps", "weight_decay"}),
        ("AdamW", {"lr", "betas", "eps", "weight_decay"}),
        ("RMSprop", {"lr", "alpha", "eps", "weight_decay", "momentum", "centered"}),
        ("Adagrad", {"lr", "lr_decay", "weight_decay", "eps"}),
    ],
)
def test_groups_have_the_options_of_their_optimizer(name, options):
    optimizer = getattr(cnnx.optim, name)([cnnx.ones(1, requires_grad=True)])
    optimizer.add_param_group({"params": [cnnx.ones(1, requires_grad=True)]})
    for group in (*optimizer.param_groups, *optimizer.state_dict()["param_groups"]):
        assert set(group.keys()) == options | {"params"}


def _one_parameter():
    return cnnx.ones(1, requires_grad=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": -1}, "lr must not be negative; got -1."),
        ({"lr": float("nan")}, "lr must be finite; got nan."),
        ({"betas": (0.9, 1.0)}, r"beta2 must lie in \[0, 1\); got 1."),
        ({"beta1": 0.5}, 'unknown option "beta1". The pair is called "betas".'),
    ],
)
def test_bad_options_are_refused_and_change_nothing(change, message):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=message):
        cnnx.optim.Adam([{"params": [_one_parameter()], **change}])
    optimizer = cnnx.optim.Adam([_one_parameter()])
    before = optimizer.state_dict()
    with pytest.raises(KeyError if name == "beta1" else ValueError, match=name if name == "beta1" else message):
        optimizer.param_groups[0][name] = value
    if name != "beta1":  # names of other optimizers in a state are left out
        state = optimizer.state_dict()
        state["param_groups"][0][name] = value
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(state)
    assert optimizer.state_dict() == before


def test_nesterov_needs_momentum_whenever_it_is_set():
    optimizer = cnnx.optim.SGD([_one_parameter()], lr=0.1)
    with pytest.raises(ValueError, match="nesterov needs momentum"):
        optimizer.param_groups[0]["nesterov"] = True
    optimizer.param_groups[0]["momentum"] = 0.9
    optimizer.param_groups[0]["nesterov"] = True
    assert optimizer.param_groups[0]["nesterov"] is True


class _Holder(cnnx.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight


@pytest.mark.parametrize("owner", [lambda w: cnnx.optim.SGD([w], lr=1.0), _Holder])
def test_zero_grad_keeps_the_tensor_if_asked(owner):
    w = cnnx.Parameter(cnnx.ones(2))
    (w * 3).sum().backward()
    grad = w.grad
    owner(w).zero_grad(set_to_none=False)
    assert w.grad is grad
    assert grad.tolist() == [0, 0]
    owner(w).zero_grad(set_to_none=True)
    assert w.grad is None


def test_step_calls_a_closure():
    w = cnnx.ones(1, requires_grad=True)
    optimizer = cnnx.optim.SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with cnnx.no_grad():
        loss = optimizer.step(closure)
        assert not cnnx.is_grad_enabled()
        with pytest.raises(ZeroDivisionError):
            optimizer.step(lambda: 1 / 0)
        assert not cnnx.is_grad_enabled()
    assert loss.item() == 1
    assert w.item() == 0
    assert optimizer.step(closure=None) is None


@needs_torch
@pytest.mark.parametrize("norm_type", [1, 2, 2.0, 3.5, float("inf"), 0.5])
@pytest.mark.parametrize("max_norm", [0.3, 1e6])
def test_clip_grad_norm_by_other_norms_is_torchs(norm_type, max_norm):
    import torch

    grads = randoms(2, (3, 4), (5,), ())
    ours = [cnnx.zeros(g.shape, requires_grad=True) for g in grads]
    theirs = [torch.zeros(g.shape, requires_grad=True) for g in grads]
    for mine, other, grad in zip(ours, theirs, grads, strict=True):
        mine.grad, other.grad = cnnx.tensor(grad, dtype="float32"), torch.tensor(grad, dtype=torch.float32)
    norm = cnnx.optim.clip_grad_norm(ours, max_norm, norm_type=norm_type)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).item(), rel=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine.grad, other.grad.numpy(), "float32")


def test_clip_grad_norm():
    a, b = cnnx.ones(2, requires_grad=True), cnnx.ones(3, requires_grad=True)
    a.grad, b.grad = cnnx.full((2,), 3.0), cnnx.full((3,), 4.0)
    norm = np.sqrt(2 * 9 + 3 * 16)
    assert cnnx.optim.clip_grad_norm([a, b, cnnx.ones(1, requires_grad=True)], 2.0) == pytest.approx(norm)
    assert np.hypot(np.linalg.norm(a.grad.numpy()), np.linalg.norm(b.grad.numpy())) == pytest.approx(2, rel=1e-4)
    assert cnnx.optim.clip_grad_norm(a, 100.0) < 100
    empty = cnnx.zeros(0, requires_grad=True)
    empty.grad = cnnx.zeros(0)
    assert [cnnx.optim.clip_grad_norm([empty], 1.0, p).item() for p in (1, 2, float("inf"))] == [0, 0, 0]


def _stepped(name, options, parameters, steps):
    optimizer = getattr(cnnx.optim, name)(
        [{"params": parameters[:1], "lr": 0.03}, {"params": parameters[1:]}], **options
    )
    _step_on(optimizer, parameters, steps)
    return optimizer


def _step_on(optimizer, parameters, steps):
    for step in steps:
        for p, grad in zip(parameters, randoms(step, *(p.shape for p in parameters)), strict=True):
            p.grad = cnnx.tensor(grad, dtype=p.dtype)
        optimizer.step()


def _pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, _pickled])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_copies_go_on_as_the_original_would(name, options, duplicate):
    parameters = _parameters()
    optimizer = _stepped(name, options, parameters, range(3))
    copies, twin = duplicate((parameters, optimizer))
    assert type(twin) is type(optimizer)
    assert repr(twin) == repr(optimizer)
    assert [p for group in twin.param_groups for p in group["params"]] == copies
    _step_on(optimizer, parameters, range(3, 5))
    _step_on(twin, copies, range(3, 5))
    for a, b in zip(parameters, copies, strict=True):
        assert a is not b
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    twin.add_param_group({"params": cnnx.ones(1, requires_grad=True)})
    optimizer.add_param_group({"params": cnnx.ones(1, requires_grad=True)})
    assert repr(twin) == repr(optimizer)


def test_a_model_and_its_optimizer_are_copied_together():
    model = cnnx.Linear(2, 2)
    model.optimizer = cnnx.optim.Adam(model.parameters())
    for twin in (copy.deepcopy(model), _pickled(model)):
        assert twin.optimizer.param_groups[0]["params"][0] is twin.weight
        assert twin.weight is not model.weight
    assert copy.copy(model.optimizer).param_groups[0]["params"][0] is model.weight


def test_subclasses_are_copied_with_their_attributes():
    class Noted(cnnx.optim.SGD):
        def __init__(self, params, note):
            super().__init__(params, lr=0.5)
            self.note = note

    twin = copy.deepcopy(Noted([cnnx.ones(1, requires_grad=True)], ["a"]))
    assert (type(twin), twin.lr, twin.note) == (Noted, 0.5, ["a"])


@needs_torch
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_states_of_torch_are_loaded(name, options):
    import torch

    ours = _parameters("float64")
    theirs = [torch.tensor(p.numpy().copy(), requires_grad=True) for p in ours]
    b = getattr(torch.optim, name)(theirs, **options)

    def step(number):
        grads = randoms(number, *(p.shape for p in ours))
        for mine, other, grad in zip(ours, theirs, grads, strict=True):
            mine.grad, other.grad = cnnx.tensor(grad), torch.tensor(grad)

    for number in range(3):
        step(number)
        b.step()
    a = getattr(cnnx.optim, name)(ours, lr=7.0)
    for mine, other in zip(ours, theirs, strict=True):
        mine.detach().copy_(cnnx.tensor(other.detach().numpy()))
    a.load_state_dict(b.state_dict())
    assert a.lr == options["lr"]
    for number in range(3, 6):
        step(number)
        a.step()
        b.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine.detach(), other.detach(), "float64", scale=5)


@needs_torch
def test_states_of_torch_that_cnnx_has_not_are_refused():
    import torch

    optimizer = cnnx.optim.Adam([cnnx.ones(1, requires_grad=True)], lr=0.1)
    for option in ("amsgrad", "maximize", "decoupled_weight_decay"):
        theirs = torch.optim.Adam([torch.ones(1, requires_grad=True)], lr=0.5, weight_decay=0.1, **{option: True})
        with pytest.raises(
            ValueError, match=rf"\[optim\] the state is of an optimizer with {option}=True, which Adam does not have"
        ):
            optimizer.load_state_dict(theirs.state_dict())
        assert optimizer.lr == 0.1
    decoupled = torch.optim.AdamW([torch.ones(2, requires_grad=True)]).state_dict()
    cnnx.optim.AdamW([cnnx.ones(2, requires_grad=True)]).load_state_dict(decoupled)
    state = optimizer.state_dict()
    state["state"] = {0: [1]}
    with pytest.raises(ValueError, match="the state of parameter 0 must be a dict of tensors"):
        optimizer.load_state_dict(state)


def test_options_of_other_optimizers_do_not_appear():
    assert "momentum" not in cnnx.optim.Adam([cnnx.ones(1, requires_grad=True)]).param_groups[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_rates_are_finite(value):
    w = cnnx.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match=r"\[SGD\] lr must"):
        cnnx.optim.SGD([w], lr=value)
    optimizer = cnnx.optim.SGD([w], lr=0.5)
    with pytest.raises(ValueError, match=r"\[SGD\] lr must"):
        optimizer.lr = value
    with pytest.raises(ValueError, match=r"\[SGD\] lr must"):
        optimizer.add_param_group({"params": cnnx.ones(1, requires_grad=True), "lr": value})
    assert (optimizer.lr, len(optimizer.param_groups)) == (0.5, 1)


def test_step_marks_parameters_as_changed():
    w = cnnx.ones(1, requires_grad=True)
    loss = (w * w).sum()
    w.grad = cnnx.ones(1)
    cnnx.optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_state_that_does_not_fit_is_refused_and_changes_nothing():
    w = cnnx.ones(2, requires_grad=True)
    optimizer = cnnx.optim.Adam([w], lr=0.1)
    state = optimizer.state_dict()
    state["state"] = {0: {"exp_avg": cnnx.zeros(3), "exp_avg_sq": cnnx.zeros(2), "step": cnnx.tensor(1)}}
    state["param_groups"][0]["lr"] = 7
    with pytest.raises(ValueError, match="must have its shape"):
        optimizer.load_state_dict(state)
    assert optimizer.lr == 0.1
    w.grad = cnnx.ones(2)
    optimizer.step()


def test_model_converted_after_steps_is_an_error():
    model = cnnx.Linear(2, 2)
    optimizer = cnnx.optim.Adam(model.parameters())
    model(cnnx.ones(1, 2)).sum().backward()
    optimizer.step()
    model.to("float64")
    model(cnnx.ones(1, 2, dtype="float64")).sum().backward()
    with pytest.raises(ValueError, match="Make a new optimizer"):
        optimizer.step()


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS[1:])
def test_a_step_that_fails_changes_nothing(name, options):
    model = cnnx.Sequential(cnnx.Linear(2, 1, bias=False), cnnx.Linear(2, 1, bias=False))
    first, second = model.parameters()
    optimizer = getattr(cnnx.optim, name)([first, second], **options)
    second.grad = cnnx.ones(1, 2)
    optimizer.step()
    model[1].to("float64")
    first.grad, second.grad = cnnx.ones(1, 2), cnnx.ones(1, 2, dtype="float64")
    value, state = first.tolist(), pickle.dumps(optimizer.state_dict())
    with pytest.raises(ValueError, match="Make a new optimizer"):
        optimizer.step()
    assert first.tolist() == value
    assert pickle.dumps(optimizer.state_dict()) == state


def test_groups_stay_valid_when_others_are_added():
    optimizer = cnnx.optim.SGD([cnnx.ones(2, requires_grad=True)], lr=0.1)
    group = optimizer.param_groups[0]
    for _ in range(200):
        optimizer.add_param_group({"params": [cnnx.ones(2, requires_grad=True)]})
    group["lr"] = 0.5
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert len(group["params"]) == 1


def test_a_group_may_be_empty():
    w = cnnx.ones(2, requires_grad=True)
    w.grad = cnnx.ones(2)
    cnnx.optim.SGD([{"params": []}, {"params": [w]}], lr=0.5).step()
    assert w.tolist() == [0.5, 0.5]
