"""CUDA graphs: a function's work on a GPU captured once and run again at the cost of one launch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec, TypeVar

from .. import _core
from .._core import Tensor

__all__ = ["Graph", "graph"]

P = ParamSpec("P")
R = TypeVar("R")


class _Entry:
    """What is kept for one kind of arguments."""

    def __init__(self) -> None:
        self.calls = 0
        self.graph: _core._CudaGraph | None = None
        self.inputs: list[Tensor] = []
        self.outputs: Any = None


def _detached(value: Any) -> Any:
    """A function's result without gradient records, which a graph does not keep up to date."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {key: _detached(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_detached(item) for item in value)
    return value


class Graph(Generic[P, R]):
    """A function whose work on a GPU runs as one CUDA graph; made by :func:`cnnx.cuda.graph`."""

    def __init__(self, function: Callable[P, R], warmup: int, limit: int, device: str | None) -> None:
        self.function = function
        self.warmup = warmup
        self.limit = limit
        self.device = device
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.RLock()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the function with these arguments: as it is in the first calls, then as a graph."""
        values = [*args, *kwargs.values()]
        key = self._key(values, list(kwargs))
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self.limit:
                self._entries.popitem(last=False)
            if entry.calls < self.warmup:
                entry.calls += 1
                return self.function(*args, **kwargs)
            if entry.graph is None or not entry.graph.is_current():
                self._capture(entry, values, len(args), list(kwargs))
            assert entry.graph is not None
            given = [value for value in values if isinstance(value, Tensor)]
            for static, value in zip(entry.inputs, given, strict=True):
                static.copy_(value)
            entry.graph.replay()
            result: R = entry.outputs
            return result

    def reset(self) -> None:
        """Drops the graphs and their memory; the next calls capture anew."""
        with self._lock:
            self._entries.clear()

    def _key(self, values: list[Any], names: list[str]) -> Hashable:
        """What a graph is good for: the thread's modes, shapes, dtypes and devices of tensors, the other arguments themselves."""
        kinds: list[Hashable] = [_core.is_grad_enabled(), _core._autocast(), _core._cuda_allow_tf32(), *names]
        for value in values:
            if isinstance(value, Tensor):
                if value.requires_grad:
                    raise ValueError("[graph] arguments must not require gradients; got one that does. Pass detach().")
                kinds.append((str(value.shape), str(value.dtype), str(value.device)))
            elif isinstance(value, Hashable):
                kinds.append((type(value), value))
            else:
                raise TypeError(
                    f"[graph] arguments must be tensors or hashable; got {type(value).__name__}. Pass its tensors one by one."
                )
        return tuple(kinds)

    def _device(self, tensors: list[Tensor]) -> str:
        devices = {str(tensor.device) for tensor in tensors}
        if self.device is not None:
            devices.add(str(_core.Device(self.device)))
        if len(devices) > 1 or not all(device.startswith("cuda") for device in devices):
            raise ValueError(f"[graph] expected tensors on one CUDA device; got {sorted(devices)}.")
        return devices.pop() if devices else "cuda"

    def _capture(self, entry: _Entry, values: list[Any], positional: int, names: list[str]) -> None:
        entry.graph, entry.outputs = None, None  # their memory is free for the new ones
        tensors = [value for value in values if isinstance(value, Tensor)]
        graph = _core._CudaGraph(self._device(tensors))
        entry.inputs = [tensor.clone() for tensor in tensors]
        left = iter(entry.inputs)
        arguments = [next(left) if isinstance(value, Tensor) else value for value in values]
        graph.begin()
        try:
            outputs = self.function(*arguments[:positional], **dict(zip(names, arguments[positional:], strict=True)))  # type: ignore[arg-type]
            outputs = _detached(outputs)
            graph.end()
        except BaseException:
            graph.abandon()
            raise
        entry.graph, entry.outputs = graph, outputs


def graph(function: Callable[P, R], *, warmup: int = 1, limit: int = 8, device: str | None = None) -> Graph[P, R]:
    """Makes a function that runs its work on a GPU as one CUDA graph.

    The first calls run the function as it is. The next one captures: the function runs once more, its operations are kept
    instead of computed, and from then on a call copies its tensors into the graph's and starts all operations with one
    launch. For small networks, whose operations take less time than their launches, that is many times faster. Values are
    bit for bit those of the function itself.

    What changes from call to call is taken over: the values of tensors that are arguments, of parameters and buffers, learning
    rates and other options of optimizers, their step counts, and random numbers. Everything else that Python does happens in
    the capture alone: branches, prints, counters, ``schedule.step()``. Change rates between the calls.

    Arguments of another shape, dtype or device, other values of arguments that are no tensors, another mode of a layer,
    another precision (:class:`cnnx.autocast`, ``cnnx.cuda.allow_tf32``) and a parameter that was replaced make a new
    capture.

    Args:
        function: a training step, a forward pass, or any other work on one CUDA device. It must not wait for the GPU, as by
            ``item()`` or ``numpy()``, nor copy between CPU and GPU. A training step calls ``zero_grad()`` itself.
        warmup: calls that run as they are for each kind of arguments; optimizers make their state in the first.
        limit: kinds of arguments for which graphs are kept, each with its memory; those not used for longest go.
        device: the CUDA device, where no argument is a tensor.

    Returns:
        A function of the same arguments. The tensors it returns are the graph's own: the next call overwrites them, and they
        have no gradient record.

    Raises:
        ValueError: for a negative warmup or a limit below 1; when called, for tensors of several devices or of the CPU, and for
            arguments that require gradients.
        RuntimeError: when called, if the function does in the capture what a graph cannot hold. Nothing was computed then.

    Example:
        >>> import cnnx
        >>> model = cnnx.models.lenet5()
        >>> optimizer = cnnx.optim.SGD(model.parameters(), lr=0.1)
        >>> def step(images, labels):
        ...     optimizer.zero_grad()
        ...     loss = cnnx.functional.cross_entropy(model(images), labels)
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss
        >>> if cnnx.cuda.is_available():
        ...     model = model.to("cuda")
        ...     step = cnnx.cuda.graph(step)
    """
    if warmup < 0:
        raise ValueError(f"[graph] warmup must not be negative; got {warmup}.")
    if limit < 1:
        raise ValueError(f"[graph] limit must be at least 1; got {limit}.")
    return Graph(function, warmup, limit, device)
