"""CUDA devices."""

from . import _core

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether tensors can be moved to "cuda".

    Example:
        >>> import cnnx
        >>> cnnx.cuda.is_available()
        False
    """
    return _core._cuda_is_available()
