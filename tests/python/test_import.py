"""The package: what importing costs, what it exports, docstring examples, the paths for C++."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cnnx


def _modules() -> list[str]:
    names = [name for _, name, _ in pkgutil.walk_packages(cnnx.__path__, "cnnx.")]
    return ["cnnx", *(name for name in names if "__main__" not in name and "cli" not in name and "_core" not in name)]


@pytest.mark.parametrize("name", _modules())
def test_examples_in_docstrings(name):
    if name.startswith("cnnx.viz"):
        pytest.importorskip("matplotlib")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def _bound_objects() -> list[object]:
    core = cnnx._core
    found: list[object] = []
    for module in (core, core.optim, core.init):
        for name, value in vars(module).items():
            if not name.startswith("_") and callable(value):
                found.append(value)
                if isinstance(value, type):
                    found.extend(
                        member
                        for member in vars(value).values()
                        if callable(member) and getattr(member, "__doc__", None)
                    )
    return found


def test_examples_of_bound_functions():
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    parser, count = doctest.DocTestParser(), 0
    for value in _bound_objects():
        text = value.__doc__ or ""
        if ">>>" in text:
            count += 1
            runner.run(parser.get_doctest(text, {}, str(getattr(value, "__name__", value)), None, 0))
    assert count > 20
    assert runner.failures == 0


def test_everything_public_is_documented():
    missing = [str(value) for value in _bound_objects() if not (value.__doc__ or "").strip()]
    assert not missing


def test_public_functions_have_arguments_and_an_example():
    names = [
        "functional",
        "init",
        "memory",
        "optim",
        "analysis",
        "convert",
        "data",
        "models",
        "patterns",
        "testing",
        "viz",
        "weights",
    ]
    modules = [cnnx, *(getattr(cnnx, name) for name in names)]
    functions = {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in modules
        for name in getattr(module, "__all__", [])
        if inspect.isroutine(getattr(module, name))
    }
    assert len(functions) > 100
    for name, function in functions.items():
        text = inspect.getdoc(function) or ""
        has_arguments = not re.search(r"^\w+\(\)", text) and "(self)" not in text
        if not text.startswith(name.rsplit(".", 1)[-1] + "("):
            has_arguments = bool(inspect.signature(function).parameters)
        assert "Example:" in text, name
        assert "Args:" in text or not has_arguments, name


def test_exports_exist():
    for name in _modules():
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", []):
            assert hasattr(module, public), f"{name}.{public}"


def test_heavy_packages_are_imported_lazily():
    code = "import sys, cnnx; print([m for m in ('rich', 'typer', 'PIL', 'matplotlib', 'torch', 'safetensors') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize(("option", "file"), [("--cmake-dir", "cnnxConfig.cmake"), ("--include-dir", "cnnx/cnnx.h")])
def test_paths_for_cpp_projects(option, file):
    output = subprocess.run([sys.executable, "-m", "cnnx", option], capture_output=True, text=True, check=True).stdout
    folder = Path(output.strip())
    if not folder.exists():
        pytest.skip("not an installed package")
    assert (folder / file).is_file()
