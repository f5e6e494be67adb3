"""``python -m cnnx``: the ``cnnx`` command, and the paths that C++ projects need."""

from __future__ import annotations

import sys
from pathlib import Path


def _installed_root() -> Path:
    """The folder with lib/ and include/: this one, or in an editable install that of the extension module."""
    from . import _core

    return Path(_core.__file__ or __file__).resolve().parent


if __name__ == "__main__":
    if sys.argv[1:] == ["--cmake-dir"]:
        print(_installed_root() / "lib" / "cmake" / "cnnx")
    elif sys.argv[1:] == ["--include-dir"]:
        print(_installed_root() / "include")
    else:
        from .cli import main

        main()
