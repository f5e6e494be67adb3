"""Scaling of losses, so that small gradients do not vanish in float16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from . import _core
from ._core import Tensor
from .optim import Optimizer

_S = TypeVar("_S", bound=Sequence[Tensor])


_LEAST = 2.0**-126  # of the scale: float32 has it and its reciprocal


@dataclass
class _Progress:
    """How far an optimizer is in this iteration."""

    optimizer: Optimizer  # held, so that its id stays its own
    infinite: bool
    stepped: bool = False


class GradScaler:
    """Multiplies a loss by a large number, so that no gradient vanishes in float16, and divides the gradients again.

    Where a gradient has become infinite or NaN, the step is left out, which loses nothing but that step, and the scale
    shrinks; after many steps without, it grows. bfloat16 has float32's range and needs none of this. Works on every device.

    On a GPU, it waits once a step, to read whether a gradient was infinite. So it cannot be captured in a graph.

    Args:
        init_scale: the first scale.
        growth_factor: what the scale is multiplied by after ``growth_interval`` steps without infinite gradients.
        backoff_factor: what it is multiplied by when there was one.
        growth_interval: steps between two growths.
        enabled: False makes all methods do nothing but call the optimizer.

    Raises:
        ValueError: for factors on the wrong side of 1, and numbers that are too small.

    Example:
        >>> import cnnx
        >>> layer = cnnx.Linear(3, 2)
        >>> optimizer, scaler = cnnx.optim.SGD(layer.parameters(), lr=0.1), cnnx.GradScaler()
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     with cnnx.autocast("cuda", "float16"):
        ...         loss = layer(cnnx.ones(4, 3)).sum()
        ...     scaler.scale(loss).backward()
        ...     scaler.unscale_(optimizer)
        ...     norm = cnnx.optim.clip_grad_norm(layer.parameters(), 1.0)
        ...     scaler.step(optimizer)
        ...     scaler.update()
        >>> scaler.get_scale()
        65536.0

    Source:
        Micikevicius et al. (2018), "Mixed Precision Training"; the interface is that of torch.amp.GradScaler.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._enabled = enabled
        self._progress: dict[int, _Progress] = {}
        self._set(init_scale, growth_factor, backoff_factor, growth_interval, 0)

    def _set(self, scale: float, growth: float, backoff: float, interval: int, tracker: int) -> None:
        if not (scale >= _LEAST and math.isfinite(scale)):
            raise ValueError(f"[GradScaler] the scale must be finite and at least 2^-126; got {scale}.")
        if not (growth > 1 and math.isfinite(growth)):
            raise ValueError(f"[GradScaler] growth_factor must be above 1; got {growth}.")
        if not 0 < backoff < 1:
            raise ValueError(f"[GradScaler] backoff_factor must lie between 0 and 1; got {backoff}.")
        if interval < 1:
            raise ValueError(f"[GradScaler] growth_interval must be at least 1; got {interval}.")
        self._scale, self._growth, self._backoff, self._interval = float(scale), growth, backoff, interval
        self._tracker = tracker  # steps since the last change

    def _check_not_captured(self) -> None:
        if _core._is_capturing():
            raise RuntimeError(
                "[graph] a captured function cannot wait for the GPU; got GradScaler, whose step depends on the gradients. "
                "Use bfloat16, which needs none, or do without a graph."
            )

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The present scale; 1 if it is not enabled."""
        return self._scale if self._enabled else 1.0

    @overload
    def scale(self, outputs: Tensor) -> Tensor: ...
    @overload
    def scale(self, outputs: _S) -> _S: ...
    def scale(self, outputs: Any) -> Any:
        """The loss, or each of a list or tuple, times the scale. Call ``backward()`` on what it returns.

        Raises:
            TypeError: for something else.
        """
        if not isinstance(outputs, (Tensor, list, tuple)):
            raise TypeError(
                f"[GradScaler] expected a tensor, or a list or tuple of them; got {type(outputs).__name__}."
            )
        if not self._enabled:
            return outputs
        self._check_not_captured()
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        return type(outputs)([self.scale(each) for each in outputs])

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divides the gradients of the optimizer's parameters by the scale, for what looks at them before the step.

        ``step`` does so itself otherwise.

        Raises:
            RuntimeError: if it or ``step`` has been called since the last ``update``, or if no parameter has a gradient.
        """
        if not self._enabled:
            return
        self._check_not_captured()
        progress = self._progress.get(id(optimizer))
        if progress is not None:
            raise RuntimeError(
                "[GradScaler] unscale_() is called after step(). Call update() between."
                if progress.stepped
                else "[GradScaler] unscale_() has been called for this optimizer since the last update()."
            )
        self._progress[id(optimizer)] = _Progress(optimizer, _core.optim._unscale(optimizer, 1.0 / self._scale))

    def step(self, optimizer: Optimizer) -> None:
        """Steps, unless a gradient is infinite or NaN: then parameters and the optimizer's state stay as they are.

        Raises:
            RuntimeError: if it has been called since the last ``update``, or if no parameter has a gradient.
        """
        if not self._enabled:
            optimizer.step()
            return
        self._check_not_captured()
        progress = self._progress.get(id(optimizer))
        if progress is None:
            self.unscale_(optimizer)
            progress = self._progress[id(optimizer)]
        if progress.stepped:
            raise RuntimeError("[GradScaler] step() has been called for this optimizer since the last update().")
        if not progress.infinite:
            optimizer.step()
        progress.stepped = True

    def update(self, new_scale: float | None = None) -> None:
        """Ends the iteration: the scale shrinks if any gradient was infinite, grows if it is time, or becomes new_scale.

        Raises:
            RuntimeError: if neither ``step`` nor ``unscale_`` was called since the last time.
            ValueError: for a new_scale below 2^-126.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._set(new_scale, self._growth, self._backoff, self._interval, self._tracker)
        elif not self._progress:
            raise RuntimeError("[GradScaler] update() needs a step() or unscale_() before.")
        elif any(progress.infinite for progress in self._progress.values()):
            self._scale = max(self._scale * self._backoff, _LEAST)
            self._tracker = 0
        else:
            self._tracker += 1
            if self._tracker == self._interval:
                self._scale = self._scale * self._growth if math.isfinite(self._scale * self._growth) else self._scale
                self._tracker = 0
        self._progress.clear()

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on, with torch's names; empty if it is not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth,
            "backoff_factor": self._backoff,
            "growth_interval": self._interval,
            "_growth_tracker": self._tracker,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores ``state_dict()``, torch's too.

        Raises:
            ValueError: for a dict without its entries; nothing changes then.
        """
        if not self._enabled:
            return
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        missing = [name for name in names if name not in state]
        if missing:
            raise ValueError(f"[GradScaler] the state lacks {', '.join(missing)}. Was it saved by one that is enabled?")
        self._set(*(state[name] for name in names))
