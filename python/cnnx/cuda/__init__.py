"""CUDA devices. Their kernels are a library of its own, which is loaded when "cuda" is first used.

Example:
    >>> import cnnx
    >>> device = "cuda" if cnnx.cuda.is_available() else "cpu"
    >>> x = cnnx.zeros(2, 3, device=device)
"""

from .. import _core
from . import memory
from .graphs import Graph, graph

__all__ = ["Graph", "device_count", "graph", "is_available", "memory", "synchronize"]


def is_available() -> bool:
    """Whether tensors can be moved to "cuda". If not, moving one raises an error that says what is missing.

    Example:
        >>> import cnnx
        >>> cnnx.cuda.is_available() == (cnnx.cuda.device_count() > 0)
        True
    """
    return _core._cuda_is_available()


def device_count() -> int:
    """The number of devices: "cuda:0" and so on. 0 if there are none, or no CUDA in this installation."""
    return _core._cuda_device_count()


def synchronize(device: str = "cuda") -> None:
    """Waits until the device has done all it was given. Operations return before: without this, times are too short.

    Raises:
        RuntimeError: if there is no such device.
        IndexError: if class or row numbers that an operation was given on the device were out of range. Whatever else waits
            for the device, such as item(), raises it as well.
    """
    _core._synchronize(device)
