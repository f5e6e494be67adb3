"""Schedules of learning rates against torch, bad arguments."""

from __future__ import annotations

import pickle

import pytest
from helpers import needs_torch

import cnnx


@needs_torch
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StepLR", {"step_size": 3, "gamma": 0.5}),
        ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.1}),
        ("ExponentialLR", {"gamma": 0.9}),
        ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
        ("OneCycleLR", {"max_lr": 0.5, "total_steps": 12}),
        ("LambdaLR", {"lr_lambda": lambda step: 1 / (1 + step)}),
    ],
)
def test_schedules_match_torch(name, options):
    import torch

    ours = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=0.3)
    theirs = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.3)
    extra = {"cycle_momentum": False} if name == "OneCycleLR" else {}
    a = getattr(cnnx.optim, name)(ours, **options)
    b = getattr(torch.optim.lr_scheduler, name)(theirs, **options, **extra)
    for _ in range(11):
        assert a.get_last_lr() == pytest.approx(b.get_last_lr())
        theirs.step()
        a.step()
        b.step()
    if name != "LambdaLR":  # whose lambda Python cannot pickle
        twin = pickle.loads(pickle.dumps(a))
        twin.step()
        twin.load_state_dict(a.state_dict())
        assert twin.get_last_lr() == a.get_last_lr()
    other = getattr(cnnx.optim, name)(cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=0.3), **options)
    other.load_state_dict(a.state_dict())
    assert other.get_last_lr() == a.get_last_lr()


def test_schedules_do_not_move_to_a_rate_that_is_refused():
    optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
    schedule = cnnx.optim.LambdaLR(optimizer, lambda step: 1 - step)
    schedule.step()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"lr must not be negative; got -1\."):
            schedule.step()
        assert (schedule.last_step, optimizer.lr) == (1, 0.0)


def _groups(*rates):
    return cnnx.optim.SGD([{"params": [cnnx.ones(1, requires_grad=True)], "lr": lr} for lr in rates], lr=1.0)


def test_a_rate_that_is_refused_leaves_all_groups_alone():
    optimizer = _groups(1.0, 0.1)
    schedule = cnnx.optim.CosineAnnealingLR(optimizer, 4, eta_min=-0.5)
    schedule.step()
    before = schedule.get_last_lr(), schedule.state_dict()
    with pytest.raises(ValueError, match="lr must not be negative"):
        schedule.step()
    assert (schedule.get_last_lr(), schedule.state_dict()) == before
    with pytest.raises(ValueError, match="lr must not be negative"):
        schedule.load_state_dict({"last_step": 0, "base_lrs": [1.0, -1.0]})
    assert (schedule.get_last_lr(), schedule.state_dict()) == before
    with pytest.raises(ValueError, match="lr must not be negative"):
        cnnx.optim.OneCycleLR(optimizer, [1.0, -1.0], 10)
    assert schedule.get_last_lr() == before[0]


@needs_torch
@pytest.mark.parametrize("total_steps", [1, 2, 3, 10])
@pytest.mark.parametrize("pct_start", [0.0, 0.099, 0.1, 1 / 3, 0.5, 0.999])
def test_one_cycle_of_any_length_is_torchs(total_steps, pct_start):
    import torch

    ours = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=0.3)
    theirs = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.3)
    a = cnnx.optim.OneCycleLR(ours, 0.5, total_steps, pct_start)
    try:
        b = torch.optim.lr_scheduler.OneCycleLR(
            theirs, 0.5, total_steps=total_steps, pct_start=pct_start, cycle_momentum=False
        )
    except ZeroDivisionError:  # the rise is of no length: torch's next smaller cycle begins just behind the peak
        b = torch.optim.lr_scheduler.OneCycleLR(
            theirs, 0.5, total_steps=total_steps, pct_start=pct_start - 1e-9, cycle_momentum=False
        )
        assert ours.lr == 0.5
    for _ in range(total_steps - 1):
        assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-6)
        theirs.step()
        a.step()
        b.step()
    assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"div_factor": 0}, {"final_div_factor": float("inf")}, {"pct_start": float("nan")}]
)
def test_one_cycle_checks_its_options(options):
    optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=0.3)
    with pytest.raises(ValueError, match=rf"\[OneCycleLR\] {next(iter(options))} must"):
        cnnx.optim.OneCycleLR(optimizer, 0.5, 10, **options)
    assert optimizer.lr == 0.3


def test_milestones_may_be_any_iterable():
    optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
    schedule = cnnx.optim.MultiStepLR(optimizer, (step for step in (2, 1)), gamma=0.5)
    rates = []
    for _ in range(3):
        schedule.step()
        rates.append(optimizer.lr)
    assert rates == [0.5, 0.25, 0.25]
