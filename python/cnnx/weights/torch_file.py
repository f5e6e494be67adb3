"""Files of torch.save (.pth, .pt): a zip file with a pickle, which is read without running anything, and raw storages.

Source: the format as torch 1.6 and later write it, measured on torch 2.13.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._core import Tensor
from .archive import Archive, FileError, open_archive
from .arrays import STORED_TYPES, Array, to_tensor
from .restricted_pickle import PickleError, Unpickler

__all__ = ["read_torch_file"]

_MAX_PICKLE = 2**22  # bytes: tens of thousands of tensors
_MAX_AXES = 8
_MAX_GROWTH = 16  # bytes of tensors over bytes of the file: views may share values, and small types are widened
_OLD = "Load it with torch and write it again with torch.save."


@dataclass(frozen=True)
class _ValueType:
    """A dtype or a typed storage class; untyped storages hold bytes."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    value_type: str
    count: int


@dataclass(frozen=True)
class _StoredTensor:
    """A view of a storage: nothing is read yet."""

    key: str
    value_type: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_OTHER_TYPES = ("ComplexFloatStorage", "ComplexDoubleStorage", "QInt8Storage", "QUInt8Storage", "QInt32Storage")
_OTHER_DTYPES = ("complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
_CONSTANTS = {
    **{f"torch {name}": _ValueType(name) for name in (*_OTHER_TYPES, *_OTHER_DTYPES)},
    **{f"torch {storage}": _ValueType(name) for storage, name in _STORAGES.items()},
    **{f"torch {name}": _ValueType(name) for name in STORED_TYPES},
    "torch.storage UntypedStorage": _ValueType("uint8"),
}


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _storage(identity: Any) -> _Storage:
    if not (isinstance(identity, tuple) and len(identity) == 5 and isinstance(identity[0], str)):
        raise PickleError("refers to something outside the pickle that is no storage")
    kind, value_type, key, _, count = identity
    if kind != "storage" or not isinstance(value_type, _ValueType) or not _is_size(count):
        raise PickleError("refers to something outside the pickle that is no storage")
    if not (isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 20):
        raise PickleError("names a storage that is no number")
    return _Storage(key, value_type.name, count)


def _tensor(arguments: tuple[Any, ...]) -> _StoredTensor:
    """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])."""
    if not 6 <= len(arguments) <= 7 or (len(arguments) == 7 and arguments[6]):
        raise PickleError("has a tensor with properties that are not understood (conjugate or negated views)")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, _Storage):
        raise PickleError("has a tensor without a storage")
    return _view(storage.key, storage.value_type, storage.count, offset, shape, strides)


def _tensor_with_dtype(arguments: tuple[Any, ...]) -> _StoredTensor:
    """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])."""
    if not 7 <= len(arguments) <= 8 or (len(arguments) == 8 and arguments[7]):
        raise PickleError("has a tensor with properties that are not understood (conjugate or negated views)")
    storage, offset, shape, strides = arguments[:4]
    dtype = arguments[6]
    if not isinstance(storage, _Storage) or storage.value_type != "uint8" or not isinstance(dtype, _ValueType):
        raise PickleError("has a tensor without a storage or a dtype")
    count = storage.count // STORED_TYPES[dtype.name].itemsize if dtype.name in STORED_TYPES else 0
    return _view(storage.key, dtype.name, count, offset, shape, strides)


def _view(key: str, value_type: str, count: int, offset: Any, shape: Any, strides: Any) -> _StoredTensor:
    if value_type not in STORED_TYPES:
        raise PickleError(
            f"has values of type {value_type}; real numbers of 16 to 64 bits, integers and booleans can be read"
        )
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise PickleError("has a tensor whose shape and strides do not fit together")
    if len(shape) > _MAX_AXES:
        raise PickleError(f"has a tensor of {len(shape)} axes; {_MAX_AXES} are possible")
    if not all(_is_size(value) for value in (offset, *shape, *strides)):
        raise PickleError("has a tensor whose sizes are no numbers, or negative")
    last = offset + sum((extent - 1) * stride for extent, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= count:
        raise PickleError(f"has a tensor that ends at value {last} of a storage of {count}")
    return _StoredTensor(key, value_type, offset, shape, strides)


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if arguments:
        raise PickleError("makes an OrderedDict in a way that state dicts do not")
    return {}


def _parameter(arguments: tuple[Any, ...]) -> _StoredTensor:
    """_rebuild_parameter(data, requires_grad, hooks)."""
    if not arguments or not isinstance(arguments[0], _StoredTensor):
        raise PickleError("has a parameter without a tensor")
    return arguments[0]


_BUILDERS = {
    "collections OrderedDict": _ordered_dict,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _tensor_with_dtype,
    "torch._utils _rebuild_parameter": _parameter,
}


class _Reader:
    """The tensors of an archive. A storage that several tensors share is kept until the last has been made."""

    def __init__(self, archive: Archive, root: str, tensors: Mapping[str, _StoredTensor]) -> None:
        self.archive = archive
        self.root = root
        self.uses = Counter(tensor.key for tensor in tensors.values())
        self.kept: dict[str, bytes] = {}
        widest = sum(8 * tensor.count for tensor in tensors.values())
        if widest > _MAX_GROWTH * archive.size + 2**20:
            raise FileError("has tensors of far more values than it has bytes: expanded views. Write copies of them")

    def tensor(self, stored: _StoredTensor) -> Tensor:
        data = self.kept.pop(stored.key, None)
        if data is None:
            data = self.archive.read(f"{self.root}data/{stored.key}", stored=True)
        self.uses[stored.key] -= 1
        if self.uses[stored.key]:
            self.kept[stored.key] = data
        return to_tensor(self._values(stored, data))

    def _values(self, stored: _StoredTensor, data: bytes) -> Array:
        dtype = STORED_TYPES[stored.value_type]
        if 0 in stored.shape:
            return np.zeros(stored.shape, dtype)
        values = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        last = sum((extent - 1) * stride for extent, stride in zip(stored.shape, stored.strides, strict=True))
        if stored.offset + last >= values.size:
            raise FileError(f"has a storage {stored.key} that is shorter than its pickle claims")
        start = values[stored.offset : stored.offset + last + 1]
        strides = [stride * dtype.itemsize for stride in stored.strides]
        return np.lib.stride_tricks.as_strided(start, stored.shape, strides, writeable=False)


def _select(value: Any, key: str | None) -> dict[str, _StoredTensor]:
    if key is not None:
        if not isinstance(value, dict) or key not in value:
            names = ", ".join(str(name)[:40] for name in list(value)[:20]) if isinstance(value, dict) else "none"
            raise FileError(f'has no entry "{key}"; entries are: {names}')
        value = value[key]
    if isinstance(value, _StoredTensor):
        raise FileError("has one tensor and no names; a state dict is expected")
    if not isinstance(value, dict):
        raise FileError(f"has a {type(value).__name__}; a state dict is expected")
    others = [str(name)[:40] for name, entry in value.items() if not isinstance(entry, _StoredTensor)]
    if others:
        dicts = [str(name)[:40] for name, entry in value.items() if isinstance(entry, dict)]
        hint = f'. Name the state dict among them: key="{dicts[0]}"' if dicts else ""
        raise FileError(f"has entries that are no tensors: {', '.join(others[:20])}{hint}")
    return {str(name): entry for name, entry in value.items()}


def _check_kind(path: str | os.PathLike[str]) -> None:
    """Says what a file is that is no zip file."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head[:2] == b"PK":
        return
    if head[257:262] == b"ustar":
        raise FileError(f"is a tar file, as torch wrote before version 0.1.10. {_OLD[:-1]}")
    if head[:1] == b"\x80":
        raise FileError(f"has the format of torch before version 1.6, or is a bare pickle. {_OLD[:-1]}")
    raise FileError("is no file of torch.save: it is no zip file")


def read_torch_file(path: str | os.PathLike[str], key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a state dict that torch.save wrote.

    Raises:
        FileError: says what is wrong.
    """
    _check_kind(path)
    with open_archive(path) as archive:
        pickles = [name for name in archive.entries if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise FileError("is no file of torch.save: it has no single data.pkl")
        root = pickles[0][: -len("data.pkl")]
        if f"{root}constants.pkl" in archive.entries:
            raise FileError("is a TorchScript program. Write its state_dict() with torch.save")
        if f"{root}byteorder" in archive.entries and archive.read(f"{root}byteorder", stored=True) != b"little":
            raise FileError("was written on a big-endian machine. Write it on a little-endian one")
        if archive.entries[pickles[0]].file_size > _MAX_PICKLE:
            raise FileError(f"has a pickle of more than {_MAX_PICKLE} bytes; a state dict's is far smaller")
        data = archive.read(pickles[0], stored=True)
        try:
            value = Unpickler(data, _BUILDERS, _CONSTANTS, _storage).load()
        except PickleError as error:
            raise FileError(str(error)) from None
        tensors = _select(value, key)
        reader = _Reader(archive, root, tensors)
        return {name: reader.tensor(stored) for name, stored in tensors.items()}
