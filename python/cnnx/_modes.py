"""Context managers over the core's switches: gradients, precision, the fit mode, autotune, and the search for anomalies."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from . import _core

_F = TypeVar("_F", bound=Callable[..., Any])


class _GradMode:
    """Switches recording on the tape for a block of code or, as a decorator, for a function."""

    _recording: bool

    def __init__(self) -> None:
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(_core.is_grad_enabled())
        _core._set_grad_enabled(self._recording)

    def __exit__(self, *exc: object) -> None:
        _core._set_grad_enabled(self._previous.pop())

    def __call__(self, function: _F) -> _F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]


class no_grad(_GradMode):
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

    _recording = False


class enable_grad(_GradMode):
    """Records again inside a block under ``no_grad``.

    Example:
        >>> import cnnx
        >>> w = cnnx.ones(2, requires_grad=True)
        >>> with cnnx.no_grad(), cnnx.enable_grad():
        ...     y = w * 2
        >>> y.requires_grad
        True
    """

    _recording = True


_PRECISIONS = {"bfloat16": 2, "float16": 3}  # cnnx::Precision


class autocast:
    """Computes convolutions and matrix products of float32 on CUDA devices with factors rounded to 16 bits.

    Inside the block, on this thread, ``conv2d``, ``conv_transpose2d``, ``linear`` and ``matmul`` (and the layers made of
    them) round both factors as they read them and add up in float32, on tensor cores; everything else stays float32, and
    float64 stays as it is. What is recorded keeps its precision for both gradients, wherever ``backward()`` is called.

    Tensors stay float32: that gives the speed of 16-bit arithmetic, not the memory of 16-bit activations. Weights are
    float32 as well, so optimizers need nothing. Small gradients vanish in float16; see :class:`cnnx.GradScaler`.

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
        >>> y.dtype == "float32"
        True

    Source:
        Micikevicius et al. (2018), "Mixed Precision Training"; the interface is that of torch.autocast.
    """

    def __init__(self, device_type: str, dtype: str = "float16", enabled: bool = True) -> None:
        if device_type != "cuda":
            raise ValueError(f'[autocast] only "cuda" has kernels of lower precision; got {device_type!r}.')
        if dtype not in _PRECISIONS:
            raise ValueError(f'[autocast] expected "bfloat16" or "float16"; got {dtype!r}.')
        self._precision = _PRECISIONS[dtype] if enabled else 0
        self._previous = threading.local()

    def __enter__(self) -> None:
        self._previous.__dict__.setdefault("stack", []).append(_core._autocast())
        _core._set_autocast(self._precision)

    def __exit__(self, *exc: object) -> None:
        _core._set_autocast(self._previous.stack.pop())

    def __call__(self, function: _F) -> _F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]


class fit_mode:
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
        self._previous = _core.get_fit_mode()
        _core._set_fit_mode(fit)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _core._set_fit_mode(self._previous)


class autotune:
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
        self._previous = _core.is_autotune_enabled()
        _core._set_autotune(enabled)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _core._set_autotune(self._previous)


class detect_anomaly:
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
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(_core._is_detect_anomaly())
        _core._set_detect_anomaly(True)

    def __exit__(self, *exc: object) -> None:
        _core._set_detect_anomaly(self._previous.pop())
