"""Loads the compiled core, which the package imports before everything else."""

from __future__ import annotations

try:
    from . import _core
except ImportError:
    # The BLAS library is found by a path relative to this package. Where the two are installed in different places, it
    # is loaded from its own package first.
    import ctypes

    import scipy_openblas32

    ctypes.CDLL(
        f"{scipy_openblas32.get_lib_dir()}/{scipy_openblas32.get_library(fullname=True)}", mode=ctypes.RTLD_GLOBAL
    )
    from . import _core  # noqa: F401
