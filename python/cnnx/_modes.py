"""Context managers over the core's switches: gradients, precision, the fit mode, autotune, and the search for anomalies."""

from __future__ import annotations

import functools
import inspect
import threading
import types
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from . import _core

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


class _ThreadMode(Generic[_T]):
    """A value of the current thread that a block of code sets or, as a decorator, a function."""

    def __init__(self, read: Callable[[], _T], write: Callable[[_T], None], value: _T, *arguments: object) -> None:
        self._read, self._write, self._value = read, write, value
        self._arguments = arguments  # of the class's own constructor
        self._previous = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are built anew: what threads found before their blocks stays here."""
        return type(self), self._arguments

    def __enter__(self) -> None:
        self._previous.__dict__.setdefault("stack", []).append(self._read())
        self._write(self._value)

    def __exit__(self, *exc: object) -> None:
        self._write(self._previous.stack.pop())

    def __call__(self, function: _F) -> _F:
        wrapper: Callable[..., Any]
        if inspect.isasyncgenfunction(function):
            name = type(self).__name__
            raise TypeError(f"[{name}] async generators are not decorated. Use `with {name}():` between their yields.")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                return await types.coroutine(self._steps)(function(*args, **kwargs))

        elif inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return (yield from self._steps(function(*args, **kwargs)))

        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    def _steps(self, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Runs a generator or coroutine in the mode, and what its caller does between two steps in the caller's."""
        step = functools.partial(inner.send, None)
        while True:
            try:
                with self:
                    item = step()
            except StopIteration as stop:
                return stop.value
            try:
                step = functools.partial(inner.send, (yield item))
            except GeneratorExit:
                with self:
                    inner.close()
                raise
            except BaseException as error:
                step = functools.partial(inner.throw, error)


class _ProcessMode(Generic[_T]):
    """A value of the process, set by the call; used as a context manager, what it was is restored after the block."""

    def __init__(self, read: Callable[[], _T], write: Callable[[_T], None], value: _T) -> None:
        self._read, self._write, self._value = read, write, value
        self._previous = [read()]
        self._entered = False
        write(value)

    def __enter__(self) -> None:
        if self._entered:  # the first block ends what the call began
            self._previous.append(self._read())
        self._entered = True
        self._write(self._value)

    def __exit__(self, *exc: object) -> None:
        self._write(self._previous.pop())


@contextmanager
def evaluating(model: _core.Module) -> Iterator[None]:
    """A model in evaluation mode for a block; then each of its modules in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(modes[0][1])
        for module, training in modes:
            module.training = training


class no_grad(_ThreadMode[bool]):
    """Records nothing on the tape inside the block, which saves memory and time where no gradient is wanted.

    Works as a context manager and as a decorator, and applies to the current thread.

    Example:
        >>> import cnnx
        >>> w = cnnx.ones(2, requires_grad=True)
        >>> with cnnx.no_grad():
        ...     y = w * 2
        >>> y.requires_grad
        False
    """

    def __init__(self) -> None:
        super().__init__(_core.is_grad_enabled, _core._set_grad_enabled, False)


class enable_grad(_ThreadMode[bool]):
    """Records again inside a block under ``no_grad``.

    Example:
        >>> import cnnx
        >>> w = cnnx.ones(2, requires_grad=True)
        >>> with cnnx.no_grad(), cnnx.enable_grad():
        ...     y = w * 2
        >>> y.requires_grad
        True
    """

    def __init__(self) -> None:
        super().__init__(_core.is_grad_enabled, _core._set_grad_enabled, True)


_PRECISIONS = {"bfloat16": 2, "float16": 3}  # cnnx::Precision


class autocast(_ThreadMode[int]):
    """Computes convolutions and matrix products on CUDA devices in 16 bits, and keeps activations in them.

    Inside the block, on this thread, ``conv2d``, ``conv_transpose2d``, ``linear`` and ``matmul`` (and the layers made of
    them) round both factors as they read them, add up in float32, on tensor cores, and give tensors of the dtype. What
    follows keeps it, and with it half of the memory: activations, pooling, batch normalization, dropout, sums of two
    tensors. Float32 come out, whatever goes in, ``softmax``, ``log_softmax``, the losses, ``group_norm``, ``layer_norm``,
    ``exp``, ``log``, ``**`` and ``sum``, and what has a float32 operand. All of these compute in float32.

    Parameters are and stay float32, and so are their gradients: optimizers need nothing. float64 takes no part. What is
    recorded keeps its precision for both gradients, wherever ``backward()`` is called. Small gradients vanish in float16;
    see :class:`cnnx.GradScaler`.

    Works as a context manager and as a decorator. Blocks nest; the innermost one counts.

    Args:
        device_type: "cuda", the only one with such kernels.
        dtype: "bfloat16" (8 significant bits, float32's range) or "float16" (11 bits, up to 65504).
        enabled: False ends the effect of an outer block.

    Raises:
        ValueError: for another device or dtype.

    Example:
        >>> import cnnx
        >>> device = "cuda" if cnnx.cuda.is_available() else "cpu"
        >>> layer, x = cnnx.Linear(8, 4).to(device), cnnx.ones(2, 8, device=device)
        >>> with cnnx.autocast("cuda", "bfloat16"):
        ...     y = layer(x)
        >>> y.dtype == ("bfloat16" if device == "cuda" else "float32"), layer.weight.dtype
        (True, cnnx.float32)

    Source:
        Micikevicius et al. (2018), "Mixed Precision Training"; the interface is that of torch.autocast.
    """

    def __init__(self, device_type: str, dtype: str = "float16", enabled: bool = True) -> None:
        if device_type != "cuda":
            raise ValueError(f'[autocast] only "cuda" has kernels of lower precision; got {device_type!r}.')
        if dtype not in _PRECISIONS:
            raise ValueError(f'[autocast] expected "bfloat16" or "float16"; got {dtype!r}.')
        precision = _PRECISIONS[dtype] if enabled else 0
        super().__init__(_core._autocast, _core._set_autocast, precision, device_type, dtype, enabled)


class fit_mode(_ProcessMode[str | None]):
    """Sets what convolution and pooling do when the stride does not fit: "floor", "ceil" or "strict".

    A call sets the mode for the whole process; used as a context manager it is restored at the end of the block. An
    explicit ``fit=`` argument of an operation or layer takes precedence.

    Args:
        fit: "floor" crops (the default, as in PyTorch), "ceil" pads, "strict" raises a ValueError that says what would fit.

    Example:
        >>> import cnnx
        >>> with cnnx.fit_mode("strict"):
        ...     cnnx.functional.max_pool2d(cnnx.zeros(1, 1, 4, 5), 2)
        Traceback (most recent call last):
        ValueError: [max_pool2d] width 5 does not fit kernel 2, stride 2, padding 0: (5 - 2 + 0) / 2 + 1 = 2.5. Try width 4 or 6, or fit="floor".
    """

    def __init__(self, fit: str) -> None:
        super().__init__(_core.get_fit_mode, _core._set_fit_mode, fit)


class autotune(_ProcessMode[bool]):
    """Chooses convolution algorithms by measuring them, and remembers the choices in a file.

    The first convolution of each kind (pass, shapes, dtype, threads) runs every algorithm several times on scratch memory,
    and the fastest is taken from then on, as with ``torch.backends.cudnn.benchmark``. Without autotune, the choice is made by
    estimated cost, and takes no time. An algorithm pinned by ``set_conv_algorithm`` comes before both. A call switches autotune
    for the whole process; used as a context manager, it is restored at the end of the block. The environment variable
    ``CNNX_AUTOTUNE=1`` switches it on from the start.

    Choices are kept in ``$XDG_CACHE_HOME/cnnx/autotune.json`` (else ``~/.cache/cnnx/autotune.json``), or where
    ``CNNX_AUTOTUNE_CACHE`` says; empty, nowhere. They hold for one model of processor, or of GPU with its CUDA, driver and
    cuDNN, and one version of cnnx. The file may be shared: processes add to it.

    Algorithms round differently, so that results may differ in the last digits from one measurement to the next; once a
    choice is in the file, runs agree. What is first met while it cannot be measured (another thread has the library's
    threads, or a CUDA graph is captured) is chosen by estimated cost, for as long as the process lives.

    Args:
        enabled: whether to measure.

    Example:
        >>> import cnnx
        >>> x, w = cnnx.ones(1, 8, 12, 12), cnnx.ones(8, 8, 3, 3)
        >>> with cnnx.autotune():
        ...     y = cnnx.functional.conv2d(x, w)
        >>> any("in=8 out=8" in choice["key"] for choice in cnnx.autotune_choices())
        True
    """

    def __init__(self, enabled: bool = True) -> None:
        super().__init__(_core.is_autotune_enabled, _core._set_autotune, enabled)


class detect_anomaly(_ThreadMode[bool]):
    """Stops at the first value that is not finite, and names the layer, the pass and the tensor.

    Inside the block, on this thread, every module's input, parameters, buffers and output, every recorded operation's
    output and every gradient is looked at: a search for trouble, not for daily use, as it costs about as much time as the
    network itself.

    Raises:
        RuntimeError: at the first NaN or infinity, inside the block.

    Example:
        >>> import cnnx
        >>> net = cnnx.Sequential(cnnx.Linear(4, 4), cnnx.ReLU(), cnnx.Linear(4, 2))
        >>> with cnnx.no_grad():
        ...     net[2].weight.fill_(float("inf")).shape
        (2, 4)
        >>> with cnnx.detect_anomaly():
        ...     net(cnnx.ones(1, 4))
        Traceback (most recent call last):
        RuntimeError: [detect_anomaly] forward: weight has 0 NaN and 8 infinite values of 8; at 2 (Linear), input (1, 4).
    """

    def __init__(self) -> None:
        super().__init__(_core._is_detect_anomaly, _core._set_detect_anomaly, True)
