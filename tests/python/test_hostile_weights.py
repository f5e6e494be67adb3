"""Weights from strangers: damaged files, and files of torch.save that want code to be run or memory to be filled."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnx


class _Op:
    """Pieces of pickles."""

    FLOAT = b"ctorch\nFloatStorage\n"
    REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
    DICT = b"ccollections\nOrderedDict\n)R"

    @staticmethod
    def text(value: str) -> bytes:
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data

    @staticmethod
    def number(value: int) -> bytes:
        data = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    @classmethod
    def numbers(cls, values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(cls.number(value) for value in values) + b"t"

    @classmethod
    def tensor(cls, count=4, offset=0, shape=(4,), strides=(1,), key="0", storage=FLOAT) -> bytes:
        identity = b"(" + cls.text("storage") + storage + cls.text(key) + cls.text("cpu") + cls.number(count) + b"tQ"
        arguments = identity + cls.number(offset) + cls.numbers(shape) + cls.numbers(strides) + b"\x89" + cls.DICT
        return cls.REBUILD + b"(" + arguments + b"tR"

    @classmethod
    def state(cls, *values: bytes) -> bytes:
        items = b"".join(cls.text(f"w{i}") + value for i, value in enumerate(values))
        return b"\x80\x02}(" + items + b"u."


def _pth(path: Path, pickled: bytes, storage: bytes = bytes(16), **options) -> Path:
    entries = {"a/data.pkl": pickled, "a/byteorder": b"little", "a/data/0": storage, **options.pop("entries", {})}
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_own_pieces_make_a_readable_file(tmp_path):
    path = _pth(tmp_path / "w.pth", _Op.state(_Op.tensor()), np.arange(4, dtype="f4").tobytes())
    np.testing.assert_array_equal(cnnx.read_weights(path)["w0"].numpy(), np.arange(4, dtype="f4"))


class _Runs:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_do_not_run_code(tmp_path, protocol):
    witness = tmp_path / "witness"
    attacks = [
        _Runs(os.system, f"touch {witness}"),
        _Runs(eval, f"open({str(witness)!r}, 'w')"),
        _Runs(exec, f"open({str(witness)!r}, 'w')"),
        _Runs(open, str(witness), "w"),
        _Runs(Path.touch, witness),
        _Runs(OrderedDict, [("a", 1)]),
        _Runs(__import__, "antigravity"),
    ]
    for attack in attacks:
        for value in (attack, {"w": attack}, {"w": [attack]}, [{"w": attack}]):
            path = _pth(tmp_path / "w.pth", pickle.dumps(value, protocol=protocol))
            with pytest.raises(ValueError, match=r"w\.pth (refers to|has the pickle instruction|makes an OrderedDict)"):
                cnnx.read_weights(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # code by other instructions
        (b"(cos\nsystem\nX\x02\x00\x00\x00lsoR.", "refers to os.system"),
        (b"(X\x02\x00\x00\x00lsios\nsystem\n.", "has the pickle instruction b'i'"),
        (b"cos\nsystem\n)\x81.", "refers to os.system"),
        (b"\x8c\x08builtins\x8c\x04eval\x93.", "refers to builtins.eval"),
        (b"}}\x93.", "refers to ?"),
        (b"\x82\x01.", r"has the pickle instruction b'\x82'"),
        (b"ctorch._utils\n_rebuild_tensor_v2\nQ.", "that is no storage"),
        (b"ccollections\nOrderedDict\n(]tR.", "makes an OrderedDict in a way that state dicts do not"),
        (b"ccollections\nOrderedDict\n}R.", "calls something that is no function"),
        (b"X\x02\x00\x00\x00ls)R.", "calls something that is no function"),
        (b"ctorch\nFloatStorage\n)R.", "calls something that is no function"),
        (b"ccollections\nOrderedDict\n}b.", "adds to something that is no dict"),
        (b"c" + b"x" * 5000, "has a name without an end"),
        # memory
        (b"X\xff\xff\xff\xff.", "ends in the middle of its pickle"),
        (b"\x8b\xff\xff\xff\x7f.", "has the pickle instruction"),
        (b"\x8d" + b"\xff" * 8, "has the pickle instruction"),
        (b"\x96" + b"\xff" * 8, "has the pickle instruction"),
        (b"]r\xff\xff\xff\xffj\xff\xff\xff\xff.", "has a list; a state dict is expected"),
        (b"]" + b"q\x00h\x00" + b"\x86q\x00h\x00" * 60 + b".", "has a tuple; a state dict is expected"),
        (b"}" + b")q\x00" + b"h\x00\x86q\x00" * 60 + b"Ns.", "has a tuple as a key; keys are strings and integers"),
        (b"(" * 100_000 + b".", "takes a value where its pickle has none"),
        (b"]" * 100_000 + b"a" * 99_999 + b".", "has a list; a state dict is expected"),
        (b")" + b"\x85" * 100_000 + b".", "has a tuple; a state dict is expected"),
        (b"]q\x00h\x00a.", "has a list; a state dict is expected"),
        # nonsense
        (b"", "ends in the middle of its pickle"),
        (b".", "takes a value where its pickle has none"),
        (b"\x80\x09.", "has pickle protocol 9"),
        (b"h\x05.", "refers to value 5, which it has not defined"),
        (b"q\x00.", "remembers a value where its pickle has none"),
        (b"\x94.", "remembers a value where its pickle has none"),
        (b"t.", "closes a group that was not opened"),
        (b"}(Nu.", "has a key without a value"),
        (b"Na.", "takes a value|adds to something that is no list"),
        (b"NNa.", "adds to something that is no list"),
        (b"X\x01\x00\x00\x00\xff.", "has text that is not UTF-8"),
        # tensors
        (_Op.state(_Op.tensor(count=2**40, shape=(2**40,))), "has tensors of far more values than it has bytes"),
        (_Op.state(_Op.tensor(shape=(2**40,), strides=(0,))), "has tensors of far more values than it has bytes"),
        (
            _Op.state(*[_Op.tensor(shape=(50_000,), strides=(0,))] * 40),
            "has tensors of far more values than it has bytes",
        ),
        (_Op.state(_Op.tensor(shape=(5,))), "has a tensor that ends at value 4 of a storage of 4"),
        (_Op.state(_Op.tensor(offset=1)), "has a tensor that ends at value 4 of a storage of 4"),
        (_Op.state(_Op.tensor(offset=2**61, shape=())), "shape and strides do not fit"),
        (_Op.state(_Op.tensor(offset=2**61, shape=(), strides=())), "ends at value 2305843009213693952"),
        (_Op.state(_Op.tensor(offset=-1)), "whose sizes are no numbers, or negative"),
        (_Op.state(_Op.tensor(offset=2**70)), "whose sizes are no numbers, or negative"),
        (_Op.state(_Op.tensor(strides=(-1,))), "whose sizes are no numbers, or negative"),
        (_Op.state(_Op.tensor(shape=(2, 2), strides=(2**61, 2**61))), "has a tensor that ends at value"),
        (_Op.state(_Op.tensor(shape=(1,) * 9, strides=(1,) * 9)), "has a tensor of 9 axes; 8 are possible"),
        (_Op.state(_Op.tensor(count=100, shape=(100,))), "has a storage 0 that is shorter than its pickle claims"),
        (_Op.state(_Op.tensor(key="1")), 'lacks the entry "a/data/1"'),
        (_Op.state(_Op.tensor(key="../../../etc/passwd")), "names a storage that is no number"),
        (_Op.state(_Op.tensor(key="0/../0")), "names a storage that is no number"),
        (_Op.state(_Op.tensor(key="٣")), "names a storage that is no number"),
        (_Op.state(_Op.tensor(storage=_Op.text("torch.FloatStorage"))), "that is no storage"),
        (_Op.state(_Op.tensor(storage=b"ccollections\nOrderedDict\n")), "that is no storage"),
        (_Op.state(b"ctorch._utils\n_rebuild_tensor_v2\n)R"), "has a tensor with properties"),
        (_Op.state(b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR"), "has a tensor without a storage"),
        (_Op.state(b"ctorch._utils\n_rebuild_tensor_v3\n(NNNNNNNtR"), "has a tensor without a storage"),
        (_Op.state(b"ctorch._utils\n_rebuild_parameter\n(NtR"), "has a parameter without a tensor"),
    ],
)
def test_hostile_pickles(tmp_path, pickled, message):
    path = _pth(tmp_path / "w.pth", pickled)
    tracemalloc.start()
    with pytest.raises(ValueError, match="|".join(re.escape(part) for part in message.split("|"))):
        cnnx.read_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def test_hostile_archives(tmp_path):
    path, good = tmp_path / "w.pth", _Op.state(_Op.tensor())

    def check(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            cnnx.read_weights(path)

    _pth(path, good, compression=zipfile.ZIP_DEFLATED)
    check("has a compressed entry")
    _pth(path, good, entries={"a/byteorder": b"big"})
    check("was written on a big-endian machine")
    _pth(path, good, entries={"b/data.pkl": good})
    check("has no single data.pkl")
    _pth(path, good + bytes(2**22))
    check("has a pickle of more than 4194304 bytes")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", good)
    check("has no single data.pkl")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", good)
        file.filelist.append(file.filelist[0])
    check("has two entries of one name")
    with zipfile.ZipFile(path, "w") as file:  # a hundred entries that are the same bytes
        file.writestr("a/data.pkl", good)
        file.writestr("a/data/0", bytes(100_000))
        info = file.getinfo("a/data/0")
        for i in range(1, 100):
            copy = zipfile.ZipInfo(f"a/data/{i}")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(copy, name, getattr(info, name))
            file.filelist.append(copy)
    check("has entries that are larger than the file or overlap")
    data = bytearray(_pth(path, good).read_bytes())
    at = data.index(bytes(16))
    data[at] ^= 1
    path.write_bytes(data)
    check("damaged zip file: Bad CRC-32")


@given(st.data())
def test_damaged_files_raise_nothing_but_value_errors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("w") / "w.pth"
    pickled = bytearray(_Op.state(_Op.tensor(), _Op.tensor(shape=(2, 2), strides=(2, 1))))
    if data.draw(st.booleans(), "damage the pickle"):
        for _ in range(data.draw(st.integers(1, 4))):
            pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
        _pth(path, bytes(pickled))
    else:
        content = bytearray(_pth(path, bytes(pickled)).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        read = cnnx.read_weights(path)
    except ValueError:
        return
    assert all(tensor.numel() <= 16 for tensor in read.values())


@given(st.binary(max_size=60))
def test_random_pickles_raise_nothing_but_value_errors(tmp_path_factory, pickled):
    path = _pth(tmp_path_factory.mktemp("w") / "w.pth", pickled)
    with contextlib.suppress(ValueError):
        cnnx.read_weights(path)
