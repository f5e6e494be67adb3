"""Optimizers (fused C++ steps) and learning-rate schedules, with torch.optim's names and formulas.

The step of 16-bit parameters is computed in float32, which is also the dtype of their state, and rounded.

Example:
    >>> import cnnx
    >>> model = cnnx.Linear(2, 2)
    >>> optimizer = cnnx.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> schedule = cnnx.optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    >>> optimizer.lr
    0.025
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ._core.optim import SGD, Adagrad, Adam, AdamW, Optimizer, ParamGroup, RMSprop, clip_grad_norm

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LambdaLR",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "ParamGroup",
    "RMSprop",
    "StepLR",
    "clip_grad_norm",
]


class LambdaLR:
    """Sets each group's learning rate to its initial one times ``factor(steps so far)``. Base of all schedules.

    Args:
        optimizer: whose rates are set, now and by every ``step()``.
        lr_lambda: the factor as a function of the number of steps.

    Raises:
        ValueError: here, in ``step()`` and in ``load_state_dict()``, which then change no group's rate, for a factor that
            makes a rate negative or not finite.

    Example:
        >>> import cnnx
        >>> optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = cnnx.optim.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        >>> schedule.step()
        >>> optimizer.lr
        0.5
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self.lr_lambda = lr_lambda
        self._begin(optimizer)

    def _begin(self, optimizer: Optimizer, base_lrs: Sequence[float] | None = None) -> None:
        self.optimizer = optimizer
        rates = [group["lr"] for group in optimizer.param_groups] if base_lrs is None else base_lrs
        self._move_to(0, [float(rate) for rate in rates])

    def factor(self, step: int) -> float:
        """What the initial rates are multiplied by after ``step`` steps."""
        return self.lr_lambda(step)

    def _rate(self, base: float, step: int) -> float:
        return base * self.factor(step)

    def _move_to(self, step: int, base_lrs: list[float]) -> None:
        rates = [self._rate(base, step) for base in base_lrs]
        groups = self.optimizer.param_groups
        before = [group["lr"] for group in groups]
        try:
            for group, rate in zip(groups, rates, strict=False):
                group["lr"] = rate
        except BaseException:
            for group, rate in zip(groups, before, strict=True):
                group["lr"] = rate
            raise
        self.last_step, self.base_lrs = step, base_lrs

    def step(self) -> None:
        """Moves on by one step, once an epoch or once a batch, as the schedule's lengths are meant."""
        self._move_to(self.last_step + 1, self.base_lrs)

    def get_last_lr(self) -> list[float]:
        """The current rate of each group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on."""
        return {"last_step": self.last_step, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores ``state_dict()`` and sets the rates."""
        self._move_to(int(state["last_step"]), [float(lr) for lr in state["base_lrs"]])


class StepLR(LambdaLR):
    """Multiplies the rate by ``gamma`` every ``step_size`` steps.

    Args:
        optimizer: whose rates are set.
        step_size: steps between two changes.
        gamma: the factor.

    Raises:
        ValueError: if step_size is less than 1.

    Example:
        >>> import cnnx
        >>> optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = cnnx.optim.StepLR(optimizer, 2, gamma=0.5)
        >>> rates = []
        >>> for _ in range(4):
        ...     schedule.step()
        ...     rates.append(round(optimizer.lr, 4))
        >>> rates
        [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ValueError(f"[StepLR] step_size must be at least 1; got {step_size}.")
        self.step_size = step_size
        self.gamma = gamma
        self._begin(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class MultiStepLR(LambdaLR):
    """Multiplies the rate by ``gamma`` at each of the ``milestones``.

    Args:
        optimizer: whose rates are set.
        milestones: numbers of steps.
        gamma: the factor.

    Example:
        >>> import cnnx
        >>> optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = cnnx.optim.MultiStepLR(optimizer, [1, 3], gamma=0.5)
        >>> rates = []
        >>> for _ in range(3):
        ...     schedule.step()
        ...     rates.append(round(optimizer.lr, 4))
        >>> rates
        [0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        self._begin(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** sum(step >= milestone for milestone in self.milestones)


class ExponentialLR(LambdaLR):
    """Multiplies the rate by ``gamma`` every step.

    Args:
        optimizer: whose rates are set.
        gamma: the factor.

    Example:
        >>> import cnnx
        >>> optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = cnnx.optim.ExponentialLR(optimizer, 0.5)
        >>> rates = []
        >>> for _ in range(2):
        ...     schedule.step()
        ...     rates.append(round(optimizer.lr, 4))
        >>> rates
        [0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        self._begin(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma**step


class CosineAnnealingLR(LambdaLR):
    """Lowers the rate along half a cosine to ``eta_min`` over ``T_max`` steps (Loshchilov and Hutter, 2017).

    Args:
        optimizer: whose rates are set.
        T_max: steps to the end of the curve.
        eta_min: the rate there.

    Raises:
        ValueError: if T_max is less than 1.

    Example:
        >>> import cnnx
        >>> optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = cnnx.optim.CosineAnnealingLR(optimizer, T_max=2)
        >>> schedule.step()
        >>> round(optimizer.lr, 6)
        0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        if T_max < 1:
            raise ValueError(f"[CosineAnnealingLR] T_max must be at least 1; got {T_max}.")
        self.T_max = T_max
        self.eta_min = eta_min
        self._begin(optimizer)

    def factor(self, step: int) -> float:
        return (1 + math.cos(math.pi * step / self.T_max)) / 2

    def _rate(self, base: float, step: int) -> float:
        return self.eta_min + (base - self.eta_min) * self.factor(step)


class OneCycleLR(LambdaLR):
    """Raises the rate along a cosine to ``max_lr``, then lowers it to almost nothing (Smith and Topin, 2018).

    Args:
        optimizer: whose rates are set.
        max_lr: the peak, of all groups or of each.
        total_steps: length of the cycle; the rate stays at its end afterwards.
        pct_start: share of the cycle that rises. If that is one step, it begins at the peak.
        div_factor: the peak over the first rate.
        final_div_factor: the first rate over the last.

    Raises:
        ValueError: for a cycle without steps, a share outside [0, 1], factors that are not positive, or peaks that are not one
            for each group.

    Example:
        >>> import cnnx
        >>> optimizer = cnnx.optim.SGD([cnnx.ones(1, requires_grad=True)], lr=1.0)
        >>> schedule = cnnx.optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
        >>> rates = []
        >>> for _ in range(9):
        ...     schedule.step()
        ...     rates.append(round(optimizer.lr, 4))
        >>> rates
        [0.52, 1.0, 0.9505, 0.8117, 0.6113, 0.3887, 0.1883, 0.0495, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        if total_steps < 1:
            raise ValueError(f"[OneCycleLR] total_steps must be at least 1; got {total_steps}.")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"[OneCycleLR] pct_start must lie in [0, 1]; got {pct_start}.")
        for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not 0 < value < math.inf:
                raise ValueError(f"[OneCycleLR] {name} must be positive and finite; got {value}.")
        groups = optimizer.param_groups
        peaks = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        if len(peaks) != len(groups):
            raise ValueError(f"[OneCycleLR] expected a max_lr for each of {len(groups)} groups; got {len(peaks)}.")
        self.total_steps = total_steps
        self._peak = pct_start * total_steps - 1
        self._first, self._last = 1 / div_factor, 1 / (div_factor * final_div_factor)
        self._begin(optimizer, peaks)

    def factor(self, step: int) -> float:
        if step < self._peak:
            return _between(self._first, 1.0, step / self._peak)
        return _between(1.0, self._last, min(1.0, (step - self._peak) / max(1e-9, self.total_steps - 1 - self._peak)))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
