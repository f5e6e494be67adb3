"""The allocator's books for CUDA devices, as :mod:`cnnx.memory` has them for the CPU, and what the device has left."""

from .. import _core
from .. import memory as _memory

__all__ = ["cached", "current", "empty_cache", "info", "peak", "reset_peak"]


def current(device: str = "cuda") -> int:
    """Bytes of live buffers, each rounded up to its size class."""
    return _memory.current(device)


def peak(device: str = "cuda") -> int:
    """The largest value of ``current()`` since the start or the last ``reset_peak()``."""
    return _memory.peak(device)


def cached(device: str = "cuda") -> int:
    """Bytes of freed buffers that wait for reuse."""
    return _memory.cached(device)


def reset_peak(device: str = "cuda") -> None:
    """Starts the measurement of the peak anew."""
    _memory.reset_peak(device)


def empty_cache(device: str = "cuda") -> None:
    """Returns the cached buffers to the device, for other processes."""
    _memory.empty_cache(device)


def info(device: str = "cuda") -> tuple[int, int]:
    """Bytes of the device that are free, and all of them, whichever process has them.

    Raises:
        RuntimeError: if there is no such device.
    """
    free, total = _core._cuda_memory(device)
    return free, total
