"""A pickle reader that builds plain values, and of classes and functions only what its caller lists.

Nothing is imported, nothing is called but the listed builders. Every length is compared with what is left of the input
before memory is asked for, so that a file cannot take more than a small multiple of its size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["PickleError", "Unpickler"]

Builder = Callable[[tuple[Any, ...]], Any]


class PickleError(ValueError):
    """The pickle is malformed or asks for something that is not allowed; the text begins in mid-sentence."""


class _Global:
    """A listed class or function, by name."""

    def __init__(self, name: str) -> None:
        self.name = name


class Unpickler:
    """Reads one pickle.

    Args:
        data: the bytes.
        builders: of "module name": what stands for that global when it is called with a tuple of arguments.
        constants: of "module name": what stands for that global itself.
        persistent: makes the object of a persistent id.
    """

    def __init__(
        self,
        data: bytes,
        builders: Mapping[str, Builder],
        constants: Mapping[str, Any],
        persistent: Callable[[Any], Any],
    ) -> None:
        self.data = data
        self.at = 0
        self.builders = builders
        self.constants = constants
        self.persistent = persistent
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below the open marks
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The value.

        Raises:
            PickleError: for anything but a well-formed pickle of allowed values.
        """
        while True:
            code = self._take(1)
            if code == b".":
                return self._pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise PickleError(f"has the pickle instruction {code!r}, which state dicts do not need")
            operation(self)

    # ---- Input and stack

    def _take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise PickleError("ends in the middle of its pickle")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def _unsigned(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            raise PickleError("has a name without an end")
        return self._take(end + 1 - self.at)[:-1].decode("utf-8", "replace")

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _pop(self) -> Any:
        if not self.stack:
            raise PickleError("takes a value where its pickle has none")
        return self.stack.pop()

    def _top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise PickleError(f"adds to something that is no {kind.__name__}")
        return self.stack[-1]

    def _pop_mark(self) -> list[Any]:
        if not self.outer:
            raise PickleError("closes a group that was not opened")
        items, self.stack = self.stack, self.outer.pop()
        return items

    # ---- Instructions

    def _protocol(self) -> None:
        version = self._unsigned(1)
        if version > 5:
            raise PickleError(f"has pickle protocol {version}; protocols 0 to 5 are known")

    def _frame(self) -> None:
        self._unsigned(8)  # its length, of which nothing depends

    def _mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _string(self, size: int) -> None:
        try:
            self._push(self._take(self._unsigned(size)).decode("utf-8"))
        except UnicodeDecodeError:
            raise PickleError("has text that is not UTF-8") from None

    def _signed(self, size: int) -> None:
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _long(self) -> None:
        self._signed(self._unsigned(1))

    def _float(self) -> None:
        self._push(struct.unpack(">d", self._take(8))[0])

    def _tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        if len(items) % 2:
            raise PickleError("has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):  # hashing nested tuples can take exponential time
                raise PickleError(f"has a {type(key).__name__} as a key; keys are strings and integers")
            target[key] = value

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _put(self, size: int) -> None:
        if not self.stack:
            raise PickleError("remembers a value where its pickle has none")
        self.memo[self._unsigned(size)] = self.stack[-1]

    def _memoize(self) -> None:
        if not self.stack:
            raise PickleError("remembers a value where its pickle has none")
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, size: int) -> None:
        index = self._unsigned(size)
        if index not in self.memo:
            raise PickleError(f"refers to value {index}, which it has not defined")
        self._push(self.memo[index])

    def _find(self, module: Any, name: Any) -> None:
        full = f"{module} {name}" if isinstance(module, str) and isinstance(name, str) else "?"
        if full in self.constants:
            self._push(self.constants[full])
        elif full in self.builders:
            self._push(_Global(full))
        else:
            shown = full[:100].replace(" ", ".")
            raise PickleError(f"refers to {shown}; only tensors are built, and nothing in a file is run")

    def _global(self) -> None:
        module = self._line()
        self._find(module, self._line())

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        self._find(module, name)

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise PickleError("calls something that is no function")
        self._push(self.builders[function.name](arguments))

    def _build(self) -> None:
        self._pop()  # attributes of a dict, such as torch's _metadata
        self._top(dict)

    def _persistent_id(self) -> None:
        self._push(self.persistent(self._pop()))


_OPERATIONS: dict[bytes, Callable[[Unpickler], None]] = {
    b"\x80": Unpickler._protocol,
    b"\x95": Unpickler._frame,
    b"(": Unpickler._mark,
    b"N": lambda self: self._push(None),
    b"\x88": lambda self: self._push(True),
    b"\x89": lambda self: self._push(False),
    b"J": lambda self: self._signed(4),
    b"K": lambda self: self._push(self._unsigned(1)),
    b"M": lambda self: self._push(self._unsigned(2)),
    b"\x8a": Unpickler._long,
    b"G": Unpickler._float,
    b"X": lambda self: self._string(4),
    b"\x8c": lambda self: self._string(1),
    b"}": lambda self: self._push({}),
    b"]": lambda self: self._push([]),
    b")": lambda self: self._push(()),
    b"t": lambda self: self._push(tuple(self._pop_mark())),
    b"\x85": lambda self: self._tuple(1),
    b"\x86": lambda self: self._tuple(2),
    b"\x87": lambda self: self._tuple(3),
    b"s": Unpickler._set_item,
    b"u": lambda self: self._set_items(self._pop_mark()),
    b"a": Unpickler._append,
    b"e": Unpickler._appends,
    b"q": lambda self: self._put(1),
    b"r": lambda self: self._put(4),
    b"\x94": Unpickler._memoize,
    b"h": lambda self: self._get(1),
    b"j": lambda self: self._get(4),
    b"c": Unpickler._global,
    b"\x93": Unpickler._stack_global,
    b"R": Unpickler._reduce,
    b"b": Unpickler._build,
    b"Q": Unpickler._persistent_id,
}
