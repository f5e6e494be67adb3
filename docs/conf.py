"""Configuration of the documentation: Markdown pages, and the reference from docstrings, those of pybind11 included.

pip install '.[docs]' && sphinx-build -W docs build/docs
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
from pathlib import Path
from typing import Any

import cnnx

project = "cnnx"
author = "the cnnx authors"
copyright = "the cnnx authors, Apache-2.0"
version = release = cnnx.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "literal"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = f"cnnx {release}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autoclass_content = "both"  # constructors of pybind11 have their signature in their docstring
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Shape", ("Source", "notes_style")]

_BOUND_SIGNATURE = re.compile(r"^(?:\d+\. )?\w+(\(.*\))(?: -> .*)?$", re.MULTILINE)  # in docstrings of pybind11
_OVERLOADED = "Overloaded function."
_PROTECTED = re.compile(r"(``.*?``|:\w+:`.*?`|`[^`]+`_{0,2}|https?://\S+)")
_SPECIAL = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")


def escape_docstring(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Lets docstrings be plain text: `*`, `|` and trailing `_` mean themselves, but in literals, tables and examples."""
    text = "\n".join(lines)
    if _OVERLOADED in text:
        text = _BOUND_SIGNATURE.sub("", text.split(_OVERLOADED)[1])
    blocks = text.split("\n\n")
    for i, block in enumerate(blocks):
        head = block.split(">>>")[0]
        if re.search(r"^\s*=+ +=+", block, re.MULTILINE) or not head.strip():
            continue
        pieces = _PROTECTED.split(head)
        pieces[::2] = [_SPECIAL.sub(lambda match: "\\" + match[0], piece) for piece in pieces[::2]]
        blocks[i] = "".join(pieces) + block[len(head) :]
    lines[:] = "\n\n".join(blocks).split("\n")


def _split_arguments(text: str) -> list[str]:
    """At the commas that are in no bracket and no string."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += (letter in "([{") - (letter in ")]}") if not quote else 0
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def plain_signature(
    app: Any, what: str, name: str, obj: object, options: Any, signature: str | None, result: str | None
) -> tuple[str | None, None] | None:
    """Names and defaults alone, as `Args` has the types, and those of pybind11 are long."""
    _, overloaded, overloads = (obj.__doc__ or "").partition(_OVERLOADED)
    if overloaded and (first := _BOUND_SIGNATURE.search(overloads)):
        signature = first[1]
    if signature is None or not signature.startswith("("):
        return None
    arguments = []
    for argument in _split_arguments(signature[1:-1]):
        name_and_type, _, default = argument.partition(" = ") if " = " in argument else argument.partition("=")
        argument_name = name_and_type.split(":")[0].strip()
        if argument_name != "self":
            arguments.append(f"{argument_name}={default.strip()}" if default else argument_name)
    return f"({', '.join(arguments)})", None


_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def draw_pictures(app: Any) -> None:
    """Runs the examples of pages with pictures, in their folder: they save the pictures that the pages show."""
    for page in sorted(Path(app.srcdir).rglob("*.md")):
        code = "".join(_PYTHON.findall(page.read_text(encoding="utf-8")))
        if "savefig(" not in code:
            continue
        before, names = Path.cwd(), dict[str, Any]()
        os.chdir(page.parent)
        try:
            for example in doctest.DocTestParser().get_examples(code):
                raises = () if example.exc_msg is None else Exception
                with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(raises):
                    exec(compile(example.source, page.name, "single"), names)
        finally:
            os.chdir(before)


def copy_pages(app: Any, error: Exception | None) -> None:
    """Puts HTML pages that examples wrote beside the pages that show them."""
    for page in Path(app.srcdir).glob("guide/*.html"):
        shutil.copy(page, Path(app.outdir) / "guide")


def setup(app: Any) -> None:
    """Registers the hooks; docstrings are escaped before napoleon reads them."""
    app.connect("builder-inited", draw_pictures)
    app.connect("build-finished", copy_pages)
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)
    app.connect("autodoc-process-signature", plain_signature)
