"""Weights from files: every kind and dtype, torchvision's names, and files that are damaged or hostile."""

from __future__ import annotations

import contextlib
import io
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
from helpers import HAS_TORCH, needs_torch
from hypothesis import given
from hypothesis import strategies as st

import cnnx
from cnnx import models

if HAS_TORCH:
    import torch
    import torch_models


def _same(tensor: cnnx.Tensor, expected: np.ndarray) -> None:
    assert tensor.shape == expected.shape
    np.testing.assert_array_equal(tensor.numpy(), expected)


# ---- Kinds of files


def test_safetensors_and_npz(tmp_path):
    model, other = models.lenet5(), models.lenet5()
    cnnx.save_state(model.state_dict(), tmp_path / "a.safetensors")
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    np.savez(tmp_path / "b.npz", **arrays)
    np.savez_compressed(tmp_path / "c.npz", **arrays)
    for name in ("a.safetensors", "b.npz", "c.npz"):
        for parameter in other.parameters():
            parameter.detach().fill_(7.0)
        result = cnnx.load_weights(other, tmp_path / name)
        assert (result.missing_keys, result.unexpected_keys) == ([], [])
        for key, value in other.state_dict().items():
            _same(value, arrays[key])


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", "g", "i1", "u1", ">i2", "i4", "i8", "u8", "?"])
def test_npz_of_every_dtype(tmp_path, dtype):
    values = np.array([[0, 1, 2], [3, 0, 100]]).astype(dtype)
    np.savez(tmp_path / "w.npz", values=values, fortran=np.asfortranarray(values), scalar=values[1, 2])
    read = cnnx.read_weights(tmp_path / "w.npz")
    _same(read["values"], values)
    _same(read["fortran"], values)
    assert read["scalar"].shape == ()
    kinds = {"f": "float32", "i": "int64", "u": "int64", "b": "bool"}
    assert read["values"].dtype == ("float64" if dtype in ("f8", "g") else kinds[np.dtype(dtype).kind])


def test_npz_that_cannot_be_read(tmp_path):
    path = tmp_path / "w.npz"
    for values in (np.array([1j]), np.array(["a"]), np.array([{}], object), np.zeros(1, [("x", "f4")])):
        np.savez(path, values=values)
        with pytest.raises(ValueError, match=r'\[load_weights\] .*w\.npz has a bad array "values": has values of type'):
            cnnx.read_weights(path)
    np.savez(path, values=np.array([2**63], np.uint64))
    with pytest.raises(ValueError, match="has the integer 9223372036854775808"):
        cnnx.read_weights(path)


def _npz(path: Path, content: bytes, **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("values.npy", content)
    return path


def test_hostile_npz(tmp_path):
    path = tmp_path / "w.npz"
    file = io.BytesIO()
    np.save(file, np.zeros(4, "f4"))
    content = file.getvalue()
    huge = content.replace(b"(4,), }" + b" " * 13, b"(4000000000000,), }" + b" ")
    assert len(huge) == len(content)
    assert huge != content
    for bad in (huge, content[:-1], content + b"x", content[:20], b"", b"\x93NUMPY\x09\x00" + content[8:]):
        with pytest.raises(ValueError, match=r"w\.npz has a bad array"):
            cnnx.read_weights(_npz(path, bad))
    _npz(path, bytes(200_000_000), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="far larger uncompressed than weights can be"):
        cnnx.read_weights(path)
    _npz(path, content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../readme.txt", "x")
    with pytest.raises(ValueError, match=r"entries that are no \.npy arrays"):
        cnnx.read_weights(path)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="damaged zip file"):
        cnnx.read_weights(path)


def test_names_of_files(tmp_path):
    with pytest.raises(
        ValueError, match=re.escape("expected a file named .safetensors, .npz, .pth, .pt or .bin; got w.h5.")
    ):
        cnnx.read_weights(tmp_path / "w.h5")
    for name in ("w.npz", "w.pth", "w.safetensors"):
        with pytest.raises(FileNotFoundError):
            cnnx.read_weights(tmp_path / name)
    np.savez(tmp_path / "w.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match=r"key belongs to files of torch\.save; got w\.npz\."):
        cnnx.read_weights(tmp_path / "w.npz", key="model")
    assert list(cnnx.read_weights(os.fsencode(tmp_path / "w.npz"))) == ["a"]


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    model = cnnx.Linear(2, 3)
    before = model.weight.numpy().copy()
    np.savez(tmp_path / "w.npz", weight=np.ones((3, 2)), offset=np.ones(3))
    with pytest.raises(ValueError, match=r"(?s)nothing was changed.*Missing keys: bias.*Unexpected keys: offset"):
        cnnx.load_weights(model, tmp_path / "w.npz")
    _same(model.weight.detach(), before)
    result = cnnx.load_weights(model, tmp_path / "w.npz", strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["bias"], ["offset"])
    _same(model.weight.detach(), np.ones((3, 2), "f4"))


# ---- Files of torch.save


def _torch_dtypes() -> list[str]:
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool"
    return names.split()


@needs_torch
@pytest.mark.parametrize("dtype", _torch_dtypes())
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pth_of_every_dtype(tmp_path, dtype, protocol):
    values = torch.tensor([[0.0, 1, 2], [3, 0, 100]]).to(getattr(torch, dtype))
    torch.save(
        {"values": values, "scalar": values[1, 2], "empty": values[:0]}, tmp_path / "w.pth", pickle_protocol=protocol
    )
    read = cnnx.read_weights(tmp_path / "w.pth")
    expected = values.to(torch.float32 if dtype == "bfloat16" else values.dtype).numpy()
    _same(read["values"], expected)
    _same(read["scalar"], expected[1, 2])
    assert read["empty"].shape == (0, 3)
    wide = "float32" if "float" in dtype else "bool" if dtype == "bool" else "int64"
    assert read["values"].dtype == ("float64" if dtype == "float64" else wide)


@needs_torch
def test_pth_half_precision_is_exact(tmp_path):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    state = {"half": bits.view(torch.float16), "brain": bits.clone().view(torch.bfloat16)}
    torch.save(state, tmp_path / "w.pt")
    for name, values in cnnx.read_weights(tmp_path / "w.pt").items():
        np.testing.assert_array_equal(values.numpy(), state[name].float().numpy())


@needs_torch
def test_pth_of_views_and_shared_storages(tmp_path):
    base = torch.arange(60.0).reshape(3, 4, 5)
    state = {
        "base": base,
        "row": base[1],
        "transposed": base.permute(2, 0, 1),
        "stepped": base[::2, 1::2, ::3],
        "expanded": base[:1, :1, :1].expand(3, 4, 5),
        "parameter": torch.nn.Parameter(base[2, 1:]),
        "again": base,
    }
    torch.save(state, tmp_path / "w.pth")
    read = cnnx.read_weights(tmp_path / "w.pth")
    assert list(read) == list(state)
    for name, values in read.items():
        _same(values, state[name].detach().numpy())


@needs_torch
def test_pth_of_a_checkpoint(tmp_path):
    net = torch.nn.Linear(2, 3)
    torch.save(
        {"epoch": 3, "best": 0.5, "state_dict": net.state_dict(), "args": [1, (2,), None, True]}, tmp_path / "w.pth"
    )
    model = cnnx.Linear(2, 3)
    cnnx.load_weights(model, tmp_path / "w.pth", key="state_dict")
    _same(model.weight.detach(), net.weight.detach().numpy())
    with pytest.raises(ValueError, match=r'no tensors: epoch, best, state_dict, args\. Name .*: key="state_dict"\.'):
        cnnx.load_weights(model, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r'has no entry "model"; entries are: epoch, best, state_dict, args\.'):
        cnnx.load_weights(model, tmp_path / "w.pth", key="model")


@needs_torch
def test_pth_that_is_no_state_dict(tmp_path):
    path = tmp_path / "w.pth"
    net = torch.nn.Linear(2, 3)

    def check(message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            cnnx.read_weights(path)
        assert str(caught.value).startswith(f"[load_weights] {path} ")

    torch.save(net, path)
    check(r"refers to torch\.nn\.modules\.linear\.Linear; only tensors are built, and nothing in a file is run\.")
    torch.save(torch.ones(2), path)
    check("has one tensor and no names; a state dict is expected")
    torch.save([torch.ones(2)], path)
    check("has a list; a state dict is expected")
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, path)
    check("has values of type ComplexFloatStorage")
    torch.save({"a": torch.ones(2).to(torch.float8_e5m2)}, path)
    check("has values of type float8_e5m2")
    torch.save({"a": torch.ones(2).to_sparse()}, path)
    check(r"refers to torch\._utils\._rebuild_sparse_tensor")
    torch.save({"a": torch.ones(4, 4)[0, 0].expand(10_000_000)}, path)
    check("has tensors of far more values than it has bytes")
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    check("has the format of torch before version 1.6")
    torch.jit.save(torch.jit.trace(net, torch.ones(1, 2)), str(path))
    check("is a TorchScript program")
    path.write_bytes(bytes(257) + b"ustar" + bytes(600))
    check("is a tar file")
    path.write_bytes(b"")
    check("it is no zip file")


@needs_torch
@pytest.mark.parametrize(
    ("make", "reference", "size"),
    [
        (lambda: models.resnet18(7), lambda s, x: torch_models.resnet(s, x, (2, 2, 2, 2), False), 64),
        (lambda: models.googlenet(7), lambda s, x: torch_models.googlenet(s, x, True)[0], 64),
    ],
)
def test_pth_files_of_torchvisions_names_give_torchs_scores(tmp_path, make, reference, size):
    """A torch state dict with random values, counters of batches included, read into a fresh model."""
    generator = torch.Generator().manual_seed(0)
    state = OrderedDict()
    for name, value in make().state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(123)
        elif name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn.weight")):
            state[name] = torch.rand(value.shape, generator=generator) + 0.5
        else:
            state[name] = (
                torch.randn(value.shape, generator=generator) * (2 / max(1, value.numel() // value.shape[0])) ** 0.5
            )
    torch.save(state, tmp_path / "w.pth")
    model = make().eval()
    result = cnnx.load_weights(model, tmp_path / "w.pth")
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    x = torch.randn(2, 3, size, size, generator=generator)
    with torch.no_grad():
        theirs = reference(state, x).numpy()
    ours = model(cnnx.tensor(x.numpy())).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4 * np.abs(theirs).max())


@needs_torch
def test_googlenet_without_heads_takes_weights_with_heads(tmp_path):
    state = {
        name: torch.tensor(value.numpy()) for name, value in models.googlenet(3, aux_logits=True).state_dict().items()
    }
    torch.save(state, tmp_path / "w.pth")
    model = models.googlenet(3)
    with pytest.raises(ValueError, match=r"Unexpected keys: aux1\.conv\.conv\.weight"):
        cnnx.load_weights(model, tmp_path / "w.pth")
    result = cnnx.load_weights(model, tmp_path / "w.pth", strict=False)
    assert not result.missing_keys
    assert all(key.startswith("aux") for key in result.unexpected_keys)
    _same(model.fc.weight.detach(), state["fc.weight"].numpy())


# ---- Hostile files of torch.save


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
    _same(cnnx.read_weights(path)["w0"], np.arange(4, dtype="f4"))


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
