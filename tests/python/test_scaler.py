"""GradScaler: scales, skipped steps and states as torch.amp.GradScaler has them, and on CUDA devices as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import needs_cuda, needs_torch

import cnnx

FACTORS = [1.0, 0.5, float("inf"), 1.0, 2.0, 1.0, float("nan"), float("-inf"), 1.0, 1.0, 1.0, 3e38]


@needs_torch
def test_goes_as_pytorchs():
    import torch

    start = np.array([1.0, -2.0, 3.0], np.float32)
    ours, theirs = cnnx.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    optimizer = cnnx.optim.SGD([ours], lr=0.1, momentum=0.9)
    other = torch.optim.SGD([theirs], lr=0.1, momentum=0.9)
    options = {"init_scale": 64.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
    scaler, torch_scaler = cnnx.GradScaler(**options), torch.amp.GradScaler("cpu", **options)
    for i, factor in enumerate(FACTORS):
        optimizer.zero_grad()
        other.zero_grad()
        scaler.scale((ours * factor).sum()).backward()
        torch_scaler.scale((theirs * factor).sum()).backward()
        if i % 2:
            scaler.unscale_(optimizer)
            torch_scaler.unscale_(other)
            np.testing.assert_array_equal(np.asarray(ours.grad), theirs.grad.numpy())
        scaler.step(optimizer)
        torch_scaler.step(other)
        scaler.update()
        torch_scaler.update()
        assert scaler.get_scale() == torch_scaler.get_scale()
        np.testing.assert_allclose(np.asarray(ours.detach()), theirs.detach().numpy(), rtol=1e-6)
    assert scaler.state_dict() == torch_scaler.state_dict()
    fresh = cnnx.GradScaler()
    fresh.load_state_dict(torch_scaler.state_dict())
    assert fresh.state_dict() == scaler.state_dict()


def devices() -> list[object]:
    return ["cpu", pytest.param("cuda", marks=needs_cuda)]


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_a_skipped_step_changes_nothing(device, bad, dtype):
    # More gradients than a launch has room for, one longer than a block, and one without values.
    params = [cnnx.ones(n, dtype=dtype, device=device, requires_grad=True) for n in [70000, 0, *[3] * 200]]
    optimizer = cnnx.optim.Adam(params, lr=0.1)
    for at in (None, (0, 69999), (150, 1)):
        before = [np.asarray(p.detach()).copy() for p in params], str(optimizer.state_dict())
        for p in params:
            p.grad = cnnx.full(p.shape, 8.0, dtype=dtype, device=device)
        if at:
            values = np.full(params[at[0]].shape, 8.0)
            values[at[1]] = bad
            params[at[0]].grad = cnnx.tensor(values, dtype=dtype, device=device)
        scaler = cnnx.GradScaler(init_scale=4.0)
        scaler.unscale_(optimizer)
        assert np.asarray(params[5].grad).tolist() == [2.0, 2.0, 2.0]
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == (2.0 if at else 4.0)
        after = [np.asarray(p.detach()) for p in params], str(optimizer.state_dict())
        same = all(np.array_equal(a, b) for a, b in zip(before[0], after[0], strict=True))
        assert same == (at is not None)
        assert (before[1] == after[1]) == (at is not None)


def test_the_scale_stays_one_that_float32_has():
    x = cnnx.ones(1, requires_grad=True)
    optimizer, scaler = cnnx.optim.SGD([x], lr=0.5), cnnx.GradScaler(init_scale=2.0**-125)
    for factor in [float("nan")] * 3 + [1.0]:
        optimizer.zero_grad()
        scaler.scale((x * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 2.0**-126
    assert x.item() == 0.5


def test_several_losses_and_optimizers():
    a, b = (cnnx.ones(2, requires_grad=True) for _ in range(2))
    first, second = cnnx.optim.SGD([a], lr=1.0), cnnx.optim.SGD([b], lr=1.0)
    scaler = cnnx.GradScaler(init_scale=2.0)
    losses = scaler.scale([(a * 3.0).sum(), (b * float("inf")).sum()])
    assert isinstance(losses, list)
    for loss in losses:
        loss.backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert np.asarray(a.detach()).tolist() == [-2.0, -2.0]
    assert np.asarray(b.detach()).tolist() == [1.0, 1.0]
    assert scaler.get_scale() == 1.0
    scaler.update(8.0)
    assert scaler.get_scale() == 8.0


def test_a_large_linear_layers_gradient_is_unscaled():
    layer = cnnx.Linear(1024, 512)  # its gradient stays a product until somebody looks
    optimizer, scaler = cnnx.optim.SGD(layer.parameters(), lr=1.0), cnnx.GradScaler(init_scale=16.0)
    before = np.asarray(layer.weight.detach()).copy()
    scaler.scale(layer(cnnx.ones(2, 1024)).sum()).backward()
    scaler.step(optimizer)
    np.testing.assert_allclose(np.asarray(layer.weight.detach()), before - 2.0, rtol=1e-6)


def test_disabled_it_only_steps():
    x = cnnx.ones(1, requires_grad=True)
    optimizer, scaler = cnnx.optim.SGD([x], lr=1.0), cnnx.GradScaler(enabled=False)
    loss = (x * float("inf")).sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert np.isinf(x.item())
    assert scaler.get_scale() == 1.0
    assert scaler.state_dict() == {}
    assert not scaler.is_enabled()


def test_calls_in_the_wrong_order():
    x = cnnx.ones(1, requires_grad=True)
    optimizer, scaler = cnnx.optim.SGD([x], lr=0.1), cnnx.GradScaler()
    with pytest.raises(RuntimeError, match=r"\[GradScaler\] no parameter of the optimizer has a gradient"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"\[GradScaler\] update\(\) needs a step\(\) or unscale_\(\) before"):
        scaler.update()
    scaler.scale((x * 2.0).sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="has been called for this optimizer"):
        scaler.unscale_(optimizer)
    assert x.grad.item() == 2.0
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has been called for this optimizer"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) is called after step\(\)"):
        scaler.unscale_(optimizer)
    assert x.item() == pytest.approx(0.8)
    scaler.update()
