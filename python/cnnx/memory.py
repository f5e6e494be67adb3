"""The allocator's books: bytes of live tensors, their peak, and what is kept for reuse; and what takes less memory.

Example:
    >>> import cnnx
    >>> before = cnnx.memory.current()
    >>> x = cnnx.zeros(1024, 1024)
    >>> cnnx.memory.current() - before
    4194304
"""

from typing import TypeVar

from . import _core
from ._arguments import check_module

__all__ = [
    "cached",
    "checkpoint",
    "current",
    "empty_cache",
    "peak",
    "reset_peak",
    "resident",
    "resident_peak",
    "set_workspace_limit",
    "workspace_limit",
]

_M = TypeVar("_M", bound=_core.Module)
_NO_LIMIT = 2**63 - 1


def current(device: str = "cpu") -> int:
    """Bytes of live buffers, each rounded up to its size class.

    Args:
        device: "cpu", "cuda" or "meta".

    Returns:
        The number of bytes.

    Example:
        >>> import cnnx
        >>> before = cnnx.memory.current()
        >>> x = cnnx.zeros(100)  # 400 bytes
        >>> cnnx.memory.current() - before
        448
    """
    return int(_core._memory_stats(device)["current"])


def peak(device: str = "cpu") -> int:
    """The largest value of ``current()`` since the start or the last ``reset_peak()``.

    Args:
        device: "cpu", "cuda" or "meta".

    Returns:
        The number of bytes.

    Example:
        >>> import cnnx
        >>> cnnx.memory.reset_peak()
        >>> before = cnnx.memory.current()
        >>> y = cnnx.zeros(1024, 1024) + 1  # two of 4 MiB for a moment
        >>> (cnnx.memory.peak() - before) // 2**20, (cnnx.memory.current() - before) // 2**20
        (8, 4)
    """
    return int(_core._memory_stats(device)["peak"])


def cached(device: str = "cpu") -> int:
    """Bytes of freed buffers that wait for reuse.

    Args:
        device: "cpu", "cuda" or "meta".

    Returns:
        The number of bytes.

    Example:
        >>> import cnnx
        >>> x = cnnx.zeros(1024, 1024)
        >>> del x
        >>> cnnx.memory.cached() >= 2**22
        True
    """
    return int(_core._memory_stats(device)["cached"])


def resident(device: str = "cpu") -> int:
    """Bytes of the machine's memory that live and cached buffers take.

    Args:
        device: "cpu", "cuda" or "meta".

    Returns:
        The number of bytes.

    Example:
        >>> import cnnx
        >>> cnnx.memory.resident() <= cnnx.memory.current() + cnnx.memory.cached()
        True
    """
    return int(_core._memory_stats(device)["resident"])


def resident_peak(device: str = "cpu") -> int:
    """The largest value of ``resident()`` since the start or the last ``reset_peak()``.

    Args:
        device: "cpu", "cuda" or "meta".

    Returns:
        The number of bytes.

    Example:
        >>> import cnnx
        >>> cnnx.memory.resident_peak() >= cnnx.memory.resident()
        True
    """
    return int(_core._memory_stats(device)["resident_peak"])


def reset_peak(device: str = "cpu") -> None:
    """Starts the measurement of the peaks anew.

    Args:
        device: "cpu", "cuda" or "meta".

    Example:
        >>> import cnnx
        >>> cnnx.memory.reset_peak()
        >>> cnnx.memory.peak() == cnnx.memory.current()
        True
    """
    _core._reset_peak_memory(device)


def empty_cache(device: str = "cpu") -> None:
    """Returns the cached buffers to the operating system.

    Args:
        device: "cpu", "cuda" or "meta".

    Example:
        >>> import cnnx
        >>> cnnx.memory.empty_cache()
        >>> cnnx.memory.cached()
        0
    """
    _core._empty_cache(device)


def set_workspace_limit(limit: int | str | None) -> None:
    """Caps the workspace of one operation; the algorithms of a convolution that need more are not used.

    If none needs so little, the general algorithm, im2col, works on fewer columns at a time and with fewer threads. The
    smallest piece, the columns of one output position, is allowed always. On CUDA, cuDNN takes the next algorithm that fits,
    and cnnx's own kernels cut long sums into fewer pieces. What their products take for themselves, such as filters in
    another order, is not counted there.

    Args:
        limit: bytes, text such as "64 MB", or None for no limit, as at first.

    Raises:
        ValueError: if it is not a positive size.

    Example:
        >>> import cnnx
        >>> cnnx.memory.set_workspace_limit("1 MB")
        >>> cnnx.memory.workspace_limit()
        1048576
        >>> cnnx.memory.set_workspace_limit(None)
    """
    from .analysis._units import parse_bytes

    _core._set_workspace_limit(_NO_LIMIT if limit is None else parse_bytes("set_workspace_limit", limit))


def workspace_limit() -> int | None:
    """The cap that :func:`set_workspace_limit` put on one operation's workspace.

    Returns:
        Bytes; None without a cap.

    Example:
        >>> import cnnx
        >>> cnnx.memory.workspace_limit() is None
        True
    """
    limit = _core._workspace_limit()
    return None if limit == _NO_LIMIT else limit


def checkpoint(module: _M) -> _M:
    """Makes a module keep its input alone for the backward pass, and compute its inner activations again there.

    It costs a second forward pass of the module and saves the memory of what is inside it. Values and gradients stay the
    same bit for bit: random masks are drawn again from the same streams, and the second pass works on the buffers that the
    first one found, so that running statistics are updated once. That holds for registered buffers: what else ``forward``
    changes, such as a counter or a list of the module's, changes twice. Weights and buffers that something else writes to
    before the backward pass are an error there. The names of parameters do not change; ``module.checkpointed = False`` undoes it.

    Args:
        module: takes one tensor and returns one.

    Returns:
        The module itself.

    Raises:
        TypeError: if it is not a Module; later, if it is called with other arguments than one tensor.

    Example:
        >>> import cnnx
        >>> block = cnnx.Sequential(cnnx.Conv2d(3, 8, 3), cnnx.ReLU(), cnnx.Conv2d(8, 8, 3), cnnx.ReLU())
        >>> net = cnnx.Sequential(cnnx.checkpoint(block), cnnx.Flatten(), cnnx.Linear(128, 10))
        >>> net(cnnx.randn(2, 3, 8, 8)).sum().backward()
        >>> block[0].weight.grad.shape
        (8, 3, 3, 3)

    Source: Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost" (2016).
    """
    check_module("checkpoint", module)
    module.checkpointed = True
    return module
