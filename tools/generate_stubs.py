"""Writes the stubs python/cnnx/_core/*.pyi from the built extension module; --check only compares.

Needs pybind11-stubgen and ruff, and cnnx installed or on PYTHONPATH.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "python" / "cnnx" / "_core"
_OPERATOR = re.compile(r"__[ri]?(add|sub|mul|truediv|pow|matmul)__|__(eq|ne|lt|le|gt|ge)__")


_RETURNS_SELF = {
    "train",
    "eval",
    "to",
    "apply",
    "requires_grad_",
    "append",
    "extend",
    "insert",
    "copy_",
    "fill_",
    "add_",
    "sub_",
    "mul_",
    "div_",
}
_GENERIC = {"dict": "dict[str, typing.Any]", "list": "list[typing.Any]", "tuple": "tuple[typing.Any, ...]"}


class _Annotation(ast.NodeTransformer):
    """Completes types: bool is also the name of a dtype of the module, and generic types have arguments."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        node.slice = self.visit(node.slice)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == "bool":
            return ast.parse("builtins.bool", mode="eval").body
        return ast.parse(_GENERIC.get(node.id, node.id), mode="eval").body

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return ast.parse("os.PathLike[str]", mode="eval").body if node.attr == "PathLike" else node


class _Polish(ast.NodeTransformer):
    """Drops docstrings, which the extension module has, and types what pybind11 can only call objects."""

    def __init__(self) -> None:
        self.owner = ""

    def _without_docstring(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:] or [ast.Expr(ast.Constant(...))]

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self._without_docstring(node)
        self.generic_visit(node)
        node.body.insert(1, ast.Import([ast.alias("builtins")]))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self._without_docstring(node)
        self.owner = node.name
        self.generic_visit(node)
        self.owner = ""
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self._without_docstring(node)
        arguments = node.args
        for argument in (arguments.vararg, arguments.kwarg):
            if argument is not None and argument.annotation is None:
                argument.annotation = ast.parse("typing.Any", mode="eval").body
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            if argument.annotation is not None:
                argument.annotation = _Annotation().visit(argument.annotation)
        if node.returns is not None:
            node.returns = _Annotation().visit(node.returns)
        elif node.name == "__setstate__":
            node.returns = ast.Constant(None)
        if node.name in _RETURNS_SELF and self.owner in ("Module", "Sequential", "Tensor"):
            node.returns = ast.parse("typing_extensions.Self", mode="eval").body
        if self.owner == "Tensor" and _OPERATOR.fullmatch(node.name):
            node.returns = ast.Name("Tensor")
        if self.owner == "Tensor" and node.name == "__iter__":
            node.returns = ast.parse("collections.abc.Iterator[Tensor]", mode="eval").body
        return node


def generate(folder: Path) -> Path:
    """Stubs in a folder; returns where they are."""
    command = [sys.executable, "-m", "pybind11_stubgen", "cnnx._core", "-o", str(folder), "--exit-code"]
    subprocess.run(command, check=True)
    stubs = folder / "cnnx" / "_core"
    for stub in stubs.rglob("*.pyi"):
        text = ast.unparse(_Polish().visit(ast.parse(stub.read_text())))
        text = re.sub(r"(def __(?:eq|ne)__\(.*\) -> Tensor:)", r"\1  # type: ignore[override]", text)
        stub.write_text(text + "\n")
    for arguments in (["check", "-q", "--fix", "--select", "I,F401,UP,RUF022", "--ignore", "UP045"], ["format", "-q"]):
        subprocess.run([sys.executable, "-m", "ruff", *arguments, str(stubs)], check=False)
    return stubs


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        fresh = generate(Path(name))
        if "--check" not in sys.argv:
            shutil.rmtree(TARGET, ignore_errors=True)
            shutil.copytree(fresh, TARGET)
            return 0
        texts = [{p.relative_to(root): p.read_text() for p in root.rglob("*.pyi")} for root in (fresh, TARGET)]
        if texts[0] != texts[1]:
            print("The stubs of cnnx._core are stale. Run python tools/generate_stubs.py.", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
