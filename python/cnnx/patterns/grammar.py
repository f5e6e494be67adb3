"""The grammar of patterns: text to a tree of steps, and the tree to a flat list of them.

chain := step ("->" step)*
step  := (TOKEN | "[" chain "]") ("*" count)? "?"?
count := a number or a name
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MAX_LENGTH = 100_000
MAX_DEPTH = 50
MAX_STEPS = 10_000

_LEXEME = re.compile(r"\s+|->|[][*?]|[A-Za-z0-9_./-]+?(?=->|[^A-Za-z0-9_./-]|$)")
_SHAPES = {
    "INPUT": r"",
    "CONV": r"(?P<size>\d+)?(?:-(?P<count>\d+))?(?:/(?P<stride>\d+))?(?:P(?P<padding>\d+))?",
    "POOL": r"(?P<size>\d+)?(?:/(?P<stride>\d+))?(?:P(?P<padding>\d+))?",
    "FC": r"(?P<count>\d+)?",
    "RELU": r"",
    "BN": r"",
    "LRN": r"(?P<size>\d+)?",
    "DROPOUT": r"(?P<rate>\d?\.?\d+)?",
}
_TOKENS = {kind: re.compile(kind + arguments, re.IGNORECASE) for kind, arguments in _SHAPES.items()}
_EXAMPLES = "INPUT, CONV, CONV3-64, CONV11-96/4P0, RELU, POOL, POOL3/2, FC, FC4096, BN, LRN, DROPOUT"
_NUMBER_DIGITS = 7


@dataclass(frozen=True)
class Source:
    """The text of a pattern, for errors that point into it."""

    text: str

    def error(self, at: int, message: str) -> ValueError:
        """A ValueError with the line and a caret under the place."""
        begin = self.text.rfind("\n", 0, at) + 1
        end = self.text.find("\n", at)
        line = self.text[begin : len(self.text) if end < 0 else end]
        column = at - begin
        cut = max(0, column - 80)
        shown, caret = line[cut : cut + 120].replace("\t", " "), " " * (column - cut) + "^"
        return ValueError(f"[pattern] {message}\n  {shown}\n  {caret}")


@dataclass(frozen=True)
class Token:
    """A layer: its kind, its numbers as written, and where it stands."""

    kind: str
    at: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    optional: bool = False


@dataclass(frozen=True)
class Group:
    """Steps in brackets or a repeated token."""

    steps: tuple[Step, ...]
    at: int
    repeats: int = 1
    optional: bool = False


Step = Token | Group


@dataclass(frozen=True)
class _Lexeme:
    text: str
    at: int


class _Parser:
    def __init__(self, source: Source, counts: Mapping[str, int]) -> None:
        self.source = source
        self.counts = counts
        self.used: set[str] = set()
        self.lexemes = list(self._split())
        self.position = 0

    def _split(self) -> Iterator[_Lexeme]:
        at = 0
        while at < len(self.source.text):
            match = _LEXEME.match(self.source.text, at)
            if match is None:
                raise self.source.error(at, f"unexpected character {self.source.text[at]!r}.")
            if not match[0].isspace():
                yield _Lexeme(match[0], at)
            at = match.end()

    def _peek(self) -> str:
        return self.lexemes[self.position].text if self.position < len(self.lexemes) else ""

    def _here(self) -> int:
        return self.lexemes[self.position].at if self.position < len(self.lexemes) else len(self.source.text)

    def _expected(self, what: str) -> ValueError:
        got = f'got "{self._peek()}"' if self._peek() else "the pattern ends here"
        return self.source.error(self._here(), f"expected {what}; {got}.")

    def parse(self) -> tuple[Step, ...]:
        steps = self._chain(0)
        if self._peek() == "]":
            raise self.source.error(self._here(), '"]" has no "[" before it.')
        if self._peek():
            raise self._expected('"->"')
        for name in self.counts:
            if name not in self.used:
                raise ValueError(f'[pattern] {name}={self.counts[name]} is given, but nothing is repeated "*{name}".')
        return steps

    def _chain(self, depth: int) -> tuple[Step, ...]:
        steps = [self._step(depth)]
        while self._peek() == "->":
            self.position += 1
            steps.append(self._step(depth))
        return tuple(steps)

    def _step(self, depth: int) -> Step:
        at = self._here()
        if self._peek() == "[":
            if depth >= MAX_DEPTH:
                raise self.source.error(at, f"brackets nest at most {MAX_DEPTH} deep.")
            self.position += 1
            steps = self._chain(depth + 1)
            if self._peek() != "]":
                raise self._expected(f'"->" or the "]" of the "[" in column {at + 1}')
            self.position += 1
        else:
            steps = (self._token(),)
        repeats = 1
        if self._peek() == "*":
            self.position += 1
            repeats = self._count()
        optional = self._peek() == "?"
        self.position += optional
        if self._peek() in ("*", "?"):
            raise self.source.error(self._here(), 'a step takes one "*" and after it one "?" at most.')
        return Group(steps, at, repeats, optional)

    def _token(self) -> Token:
        text, at = self._peek(), self._here()
        if not text or text in ("->", "]", "*", "?"):
            raise self._expected("a layer")
        for kind, shape in _TOKENS.items():
            match = shape.fullmatch(text)
            if match:
                self.position += 1
                numbers = {name: self._number(value, at) for name, value in match.groupdict().items() if value}
                return Token(kind, at, numbers)
        raise self.source.error(at, f'"{text}" is no layer. Layers are {_EXAMPLES}.')

    def _number(self, digits: str, at: int) -> float:
        if len(digits) > _NUMBER_DIGITS:
            raise self.source.error(at, f"numbers have at most {_NUMBER_DIGITS} digits; got {len(digits)}.")
        return float(digits) if "." in digits else int(digits)

    def _count(self) -> int:
        text, at = self._peek(), self._here()
        if text.isdigit() and text.isascii():
            self.position += 1
            return int(self._number(text, at))
        if not text.isidentifier():
            raise self._expected('a number or a name behind "*"')
        if text not in self.counts:
            raise self.source.error(at, f"{text} has no value. Pass it by name: pattern(..., {text}=2).")
        self.position += 1
        self.used.add(text)
        return self.counts[text]


def parse(source: Source, counts: Mapping[str, int]) -> tuple[Step, ...]:
    """The tree of a pattern.

    Raises:
        ValueError: points at the place where the text is wrong.
    """
    if len(source.text) > MAX_LENGTH:
        raise ValueError(f"[pattern] a pattern has at most {MAX_LENGTH} characters; got {len(source.text)}.")
    steps = _Parser(source, counts).parse()
    for step in steps:
        if _length(step, source) > MAX_STEPS:
            raise source.error(step.at, f"a pattern has at most {MAX_STEPS} layers; got more.")
    return steps


def _length(step: Step, source: Source) -> int:
    """Layers of a step, counted and not listed."""
    if isinstance(step, Token):
        return 1
    return step.repeats * sum(_length(inner, source) for inner in step.steps)
