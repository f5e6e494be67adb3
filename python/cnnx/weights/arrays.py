"""Values of files as tensors: which types there are and what they become, and the layout of a .npy array."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .._core import Tensor, tensor
from .archive import FileError

__all__ = ["STORED_TYPES", "parse_npy", "to_tensor"]

Array = npt.NDArray[Any]

# What torch calls a value type, and how its bytes are read. bfloat16 is the upper half of a float32.
STORED_TYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype([("upper", "<u2")]),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}


def to_tensor(values: Array) -> Tensor:
    """A copy as a tensor of the same kind of numbers; small integers become int64.

    Raises:
        FileError: for other types and integers of 2^63 and more.
    """
    if values.dtype == STORED_TYPES["bfloat16"]:
        return tensor((values["upper"].astype(np.uint32) << 16).view(np.float32), "bfloat16")
    elif values.dtype == bool and values.size:
        values = values.view(np.uint8) != 0  # a file may hold bytes other than 0 and 1
    elif values.dtype.kind in "iu":
        if values.dtype.itemsize == 8 and values.dtype.kind == "u" and values.size and values.max() >= 2**63:
            raise FileError(f"has the integer {values.max()}; the largest here is 2^63 - 1")
        values = values.astype(np.int64)
    elif values.dtype.kind == "f":
        values = values.astype(f"f{min(values.dtype.itemsize, 8)}")  # of this machine's byte order
    elif values.dtype != bool:
        raise FileError(f"has values of type {values.dtype}; real numbers and booleans can be read")
    return tensor(np.asarray(values, order="C"))


def parse_npy(data: bytes) -> Array:
    """The array of a .npy file, a view of its bytes.

    Raises:
        ValueError: if it is malformed, or its values are no numbers.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"has version {version[0]}.{version[1]} of the .npy format; 1.0 and 2.0 are known")
    if dtype.kind not in "fiub":
        raise ValueError(f"has values of type {dtype}; real numbers and booleans can be read")
    size = len(data) - file.tell()
    if any(extent < 0 for extent in shape) or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"claims shape {shape} of {dtype}, but has {size} bytes of values")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran_order else "C")
