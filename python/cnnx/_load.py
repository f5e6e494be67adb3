"""Loads the compiled core, which the package imports before everything else."""

from __future__ import annotations

import os


def _load() -> None:
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


# GNU's OpenMP lets a thread that waits spin for milliseconds. Where other processes want the same cores, it spins in the
# way of the thread it waits for: training took 20 times as long. With 3000 turns, a fraction of a millisecond, it does not,
# and small nets lose nothing. The library reads this while it is loaded; other programs are not to inherit it.
if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    _load()
else:
    os.environ["GOMP_SPINCOUNT"] = "3000"
    try:
        _load()
    finally:
        del os.environ["GOMP_SPINCOUNT"]
