"""The CPU allocator's books: bytes of live tensors, their peak, and what is kept for reuse.

Example:
    >>> import cnnx
    >>> before = cnnx.memory.current()
    >>> x = cnnx.zeros(1024, 1024)
    >>> cnnx.memory.current() - before
    4194304
"""

from . import _core

__all__ = ["cached", "current", "empty_cache", "peak", "reset_peak"]


def current() -> int:
    """Bytes of live buffers, each rounded up to its size class."""
    return _core._memory_stats()[0]


def peak() -> int:
    """The largest value of ``current()`` since the start or the last ``reset_peak()``."""
    return _core._memory_stats()[1]


def cached() -> int:
    """Bytes of freed buffers that wait for reuse."""
    return _core._memory_stats()[2]


def reset_peak() -> None:
    """Starts the measurement of the peak anew."""
    _core._reset_peak_memory()


def empty_cache() -> None:
    """Returns the cached buffers to the operating system."""
    _core._empty_cache()
