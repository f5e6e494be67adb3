"""The documentation: examples of its pages and of the README, and that the reference has every public name."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import cnnx

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
_FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DIRECTIVE = re.compile(r"^\.\. auto(class|function|module):: (\S+)", re.MULTILINE)


def _code_alone(text: str) -> str:
    """The text with all but the Python blocks made blank, so that line numbers in messages stay right."""
    kept, end = [], 0
    for match in _FENCE.finditer(text):
        kept += [re.sub(r"[^\n]+", "", text[end : match.start(1)]), match[1]]
        end = match.end(1)
    return "".join(kept)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_of_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    code = _code_alone(text)
    if "cnnx.viz" in code:
        pytest.importorskip("matplotlib")
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    failures: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(test, out=failures.append)
    assert not failures, "".join(failures)
    shown = re.findall(r"!\[.+?\]\((\S+?)\)|<iframe [^>]*src=\"(.+?)\"", text)
    pictures = {"".join(names) for names in shown}
    measured = {name for name in pictures if "_static/" in name}  # recorded, not drawn by the page's examples
    assert all((page.parent / name).is_file() for name in measured)
    assert pictures - measured == {path.name for path in tmp_path.iterdir()}


def test_python_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (program,) = _FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    exec(program, {})
    assert float(capsys.readouterr().out) > 0.9
    assert (tmp_path / "digits.safetensors").is_file()


def test_the_reference_has_every_public_name():
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/api").glob("*.rst"))
    found = {name.removeprefix("cnnx.") for _, name in _DIRECTIVE.findall(text)}
    modules = {
        "functional",
        "optim",
        "init",
        "data",
        "models",
        "convert",
        "analysis",
        "memory",
        "testing",
        "cuda",
        "viz",
    }
    assert modules <= found
    dtypes = {"float32", "float64", "float16", "bfloat16", "int64", "bool"}
    elsewhere = {"patterns", "weights", *modules, "checkpoint", *dtypes}
    missing = [name for name in cnnx.__all__ if name not in found | elsewhere]
    assert not missing
