"""CUDA devices. Their kernels are a library of its own, which is loaded when "cuda" is first used.

``cnnx.cuda.allow_tf32`` (off at first, as for PyTorch's products; for the whole process) lets convolutions and matrix
products of float32 run on tensor cores, which round the factors to TF32, 11 significant bits, and add in float32. It is
read when an operation runs forward; its backward pass keeps to that. :class:`cnnx.autocast` asks for 16 bits.

Example:
    >>> import cnnx
    >>> device = "cuda" if cnnx.cuda.is_available() else "cpu"
    >>> x = cnnx.zeros(2, 3, device=device)
    >>> cnnx.cuda.allow_tf32
    False
"""

import sys
import types

from .. import _core
from . import memory
from .graphs import Graph, graph

__all__ = [
    "Graph",
    "allow_tf32",
    "cudnn_version",
    "device_count",
    "graph",
    "is_available",
    "memory",
    "synchronize",
    "tensor_cores",
]

allow_tf32: bool


class _Module(types.ModuleType):
    """The type of this module, which makes a property of a module's attribute."""

    @property
    def allow_tf32(self) -> bool:
        return _core._cuda_allow_tf32()

    @allow_tf32.setter
    def allow_tf32(self, on: bool) -> None:
        if not isinstance(on, bool):
            raise TypeError(f"[allow_tf32] expected True or False; got {on!r}.")
        _core._set_cuda_allow_tf32(on)


sys.modules[__name__].__class__ = _Module


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


def cudnn_version() -> int | None:
    """The version of the cuDNN that convolutions use, such as 91300 for 9.13.0.

    cuDNN is loaded when the first convolution on a CUDA device wants it, or by this function. The environment variable
    ``CNNX_CUDNN`` may name its file ``libcudnn.so.9``; ``CNNX_CUDNN=0`` does without.

    Returns:
        None if there is no cuDNN 9, a part of it is missing, or there is no CUDA device: convolutions run on cnnx's kernels.

    Example:
        >>> import cnnx
        >>> version = cnnx.cuda.cudnn_version()
        >>> version is None or version >= 90000
        True
    """
    return _core._cudnn_version() or None


def tensor_cores(device: str = "cuda") -> str | None:
    """The instructions of tensor cores by which cnnx's own kernels multiply in TF32, bfloat16 and float16 there.

    Hopper's own, ``"wgmma"``, are taken on GPUs of compute capability 9.0 if the library was built for it and the first use
    on the device finds in small products and convolutions of each precision that they give what ``"mma.sync"`` gives.
    ``CNNX_WGMMA=0`` in the environment does without them.

    Returns:
        ``"wgmma"``, ``"mma.sync"``, or None if the device has no tensor cores for these precisions or there is no CUDA device.

    Raises:
        ValueError: if the device is not a CUDA device.
        RuntimeError: if there are CUDA devices, but not this one.

    Example:
        >>> import cnnx
        >>> cnnx.cuda.tensor_cores() in ("wgmma", "mma.sync", None)
        True
    """
    return _core._cuda_tensor_cores(device) or None


def synchronize(device: str = "cuda") -> None:
    """Waits until the device has done all it was given. Operations return before: without this, times are too short.

    Raises:
        RuntimeError: if there is no such device.
        IndexError: if class or row numbers that an operation was given on the device were out of range. Whatever else waits
            for the device, such as item(), raises it as well.
    """
    _core._synchronize(device)
