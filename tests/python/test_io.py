"""Saving and loading: round trips, agreement with the safetensors package, atomicity, malformed and hostile files."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnx


def _net():
    return cnnx.Sequential(
        cnnx.Conv2d(1, 4, (3, 2), padding=(1, 1, 0, 1), bias=False),
        cnnx.BatchNorm2d(4, eps=1e-3),
        cnnx.ReLU(),
        cnnx.MaxPool2d(2, fit="ceil"),
        cnnx.Sequential(cnnx.Conv2d(4, 4, 3, padding="same", groups=4), cnnx.LeakyReLU(0.2)),
        cnnx.LPPool2d(2, 2, stride=1),
        cnnx.LocalResponseNorm(3, alpha=0.5),
        cnnx.AdaptiveAvgPool2d((2, 2)),
        cnnx.Flatten(),
        cnnx.Dropout(0.3),
        cnnx.Linear(16, 3),
        cnnx.GELU("tanh"),
        cnnx.Softmax(dim=1),
    )


def test_model_round_trip(tmp_path):
    net = _net()
    net(cnnx.randn(8, 1, 6, 6))  # moves the running statistics
    path = tmp_path / "net.safetensors"
    cnnx.save(net, path, {"note": "größer"})
    other = cnnx.load(path)
    x = cnnx.randn(3, 1, 9, 8)
    assert other(x).tolist() == net.eval()(x).tolist()
    assert not other.training
    assert repr(other) == repr(net)
    assert cnnx.load_metadata(str(path))["note"] == "größer"
    assert all(p.requires_grad for p in other.parameters())


def test_loading_leaves_the_generator_alone(tmp_path):
    cnnx.save(_net(), tmp_path / "net.safetensors")
    cnnx.manual_seed(1)
    expected = cnnx.rand(3).tolist()
    cnnx.manual_seed(1)
    cnnx.load(tmp_path / "net.safetensors")
    assert cnnx.rand(3).tolist() == expected


def test_own_modules_are_saved_as_a_state(tmp_path):
    class Mine(cnnx.Module):
        def __init__(self):
            super().__init__()
            self.layer = cnnx.Linear(2, 2)

    net, path = Mine(), tmp_path / "net.safetensors"
    cnnx.save(net, path)
    with pytest.raises(ValueError, match="without an architecture"):
        cnnx.load(path)
    other = Mine()
    other.load_state_dict(cnnx.load_state(path))
    assert other.layer.weight.tolist() == net.layer.weight.tolist()


def _with_a_buffer():
    net = _net()
    net.register_buffer("mean", cnnx.zeros(3))
    return net


def _pruned():
    net = _net()
    net[0].weight = cnnx.Parameter(net[0].weight.detach()[:2])
    return net


def _without_scale():
    net = _net()
    net[1].weight = None
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_with_a_buffer, "Unexpected keys: mean."),
        (_pruned, "0.weight has shape (4, 1, 3, 2) in the model, (2, 1, 3, 2) in the state."),
        (_without_scale, "Missing keys: 1.weight."),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, make, message):
    net, path = make(), tmp_path / "net.safetensors"
    cnnx.save(_net(), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"\[save\] a file cannot describe this model: .* with save_state\.") as caught:
        cnnx.save(net, path)
    assert message in str(caught.value)
    assert path.read_bytes() == before
    cnnx.save_state(net.state_dict(), path)
    make().load_state_dict(cnnx.load_state(path))


def test_pruned_layers_whose_arguments_agree_are_saved(tmp_path):
    net = _pruned()
    net[0].out_channels = 2
    cnnx.save(net[:1], tmp_path / "net.safetensors")
    assert cnnx.load(tmp_path / "net.safetensors")[0].weight.shape == (2, 1, 3, 2)


def test_shared_tensors_stay_shared(tmp_path):
    block = cnnx.Sequential(cnnx.Conv2d(4, 4, 3, padding=1), cnnx.BatchNorm2d(4))
    net = cnnx.Sequential({"a": block, "b": block, "c": cnnx.Conv2d(4, 4, 3), "d": cnnx.Conv2d(4, 4, 3)})
    net.d.weight = net.c.weight
    path = tmp_path / "net.safetensors"
    cnnx.save(net, path)
    other = cnnx.load(path)
    names = [name for name, _ in net.named_parameters()]
    assert [name for name, _ in other.named_parameters()] == names
    assert set(other.state_dict()) == set(net.state_dict()) == set(cnnx.load_state(path))
    assert [name for name, _ in other.named_buffers()] == [name for name, _ in net.named_buffers()]
    assert other.b[0].weight is other.a[0].weight
    assert other.d.weight is other.c.weight
    assert other.d.bias is not other.c.bias
    for model in (net, other):
        model.train()(cnnx.ones(1, 4, 8, 8)).sum().backward()
        assert model.a[1].num_batches_tracked.item() == 2
    cnnx.optim.SGD(other.parameters(), lr=0.1).step()
    assert other.d.weight.tolist() == other.c.weight.tolist()
    cnnx.save(other, path)
    assert [name for name, _ in cnnx.load(path).named_parameters()] == names


@pytest.mark.parametrize("converted", [0, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_shared_tensors_that_one_layer_converted(tmp_path, converted, bias):
    net, path = cnnx.Sequential(*(cnnx.Linear(3, 3, bias=bias) for _ in range(2))), tmp_path / "net.safetensors"
    net[1].weight = net[0].weight
    net[converted].to("float64")
    assert net[0].weight is net[1].weight
    cnnx.save(net, path)
    other = cnnx.load(path)
    assert other[0].weight is other[1].weight
    for name, tensor in net.state_dict().items():
        loaded = other.state_dict()[name]
        assert (loaded.dtype, loaded.tolist()) == (tensor.dtype, tensor.tolist())
    if not bias:
        x = cnnx.randn(2, 3, dtype="float64")
        assert other(x).tolist() == net(x).tolist()


def test_models_keep_the_dtype_of_each_tensor(tmp_path):
    net, path = cnnx.Sequential(cnnx.Linear(3, 2)), tmp_path / "net.safetensors"
    net[0].bias = cnnx.Parameter(cnnx.full((2,), 0.1, dtype="float64"))
    cnnx.save(net, path)
    assert cnnx.load(path)[0].bias.tolist() == [0.1, 0.1]


def test_states_of_every_dtype(tmp_path):
    state = {
        "a": cnnx.randn(2, 3),
        "b": cnnx.randn(4, dtype="float64"),
        "c": cnnx.tensor([2**60, -1]),
        "d": cnnx.tensor([True, False, True]),
        "scalar": cnnx.tensor(1.5),
        "empty": cnnx.zeros(0, 3),
    }
    cnnx.save_state(state, tmp_path / "s.safetensors")
    loaded = cnnx.load_state(tmp_path / "s.safetensors")
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert loaded[name].tolist() == tensor.tolist()


def test_safetensors_package_agrees(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "s.safetensors"
    arrays = {
        "f32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f64": np.arange(3, dtype=np.float64),
        "f16": np.array([0.5, -2, 6e-8, 65504, np.inf], np.float16),
        "i64": np.array([[1], [2]]),
        "i32": np.array([-7], np.int32),
        "u8": np.arange(5, dtype=np.uint8),
        "bool": np.array([True, False]),
        "scalar": np.array(3.0, np.float32),
    }
    safetensors.save_file(arrays, path, {"from": "elsewhere"})
    loaded = cnnx.load_state(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array)
    assert cnnx.load_metadata(path) == {"from": "elsewhere"}
    cnnx.save_state({name: cnnx.tensor(array) for name, array in arrays.items()}, path)
    for name, array in safetensors.load_file(path).items():
        np.testing.assert_array_equal(array, arrays[name])


# ---- Writing -------------------------------------------------------------------------------------------------------------
def test_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.safetensors"
    cnnx.save(cnnx.Linear(1, 1), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="cnnx's own"):
        cnnx.save(cnnx.Linear(2, 2), path, {"cnnx.architecture": "x"})
    with pytest.raises(FileNotFoundError):
        cnnx.save(cnnx.Linear(2, 2), tmp_path / "missing" / "net.safetensors")
    with pytest.raises(IsADirectoryError):
        cnnx.save(cnnx.Linear(2, 2), tmp_path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.safetensors"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_devices_are_not_replaced():
    with pytest.raises(RuntimeError, match="not a regular file"):
        cnnx.save(cnnx.Linear(2, 2), "/dev/full")
    assert not Path("/dev/full").is_file()


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_and_permissions_kept(tmp_path):
    target, link = tmp_path / "real.safetensors", tmp_path / "link.safetensors"
    cnnx.save(cnnx.Linear(1, 1), target)
    target.chmod(0o640)
    link.symlink_to(target)
    cnnx.save(cnnx.Linear(2, 2), link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert cnnx.load(target).in_features == 2


# ---- Malformed files -----------------------------------------------------------------------------------------------------
def _file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few for a header"),
        (b"1234567", "too few for a header"),
        (struct.pack("<Q", 2**63), "claims"),
        (struct.pack("<Q", 1000) + b"{}", "but the file has"),
        (_file(b""), "no JSON object"),
        (_file(b"[]"), "no JSON object"),
        (_file(b"{"), "not valid JSON"),
        (_file(b'{"a": 1, \xff}'), "not valid JSON"),
        (_file(b"{" + b'"a":{' * 50_000), "not valid JSON"),
        (_file({"a": 3}), "lacks"),
        (_file({"a": {"dtype": "F32", "shape": [1]}}), "lacks"),
        (_file({"a": _entry([1], 0, 4, "F99")}, b"1234"), "dtype F99"),
        (_file({"a": _entry([-1], 0, 4)}, b"1234"), "natural number"),
        (_file({"a": _entry([1.5], 0, 4)}, b"1234"), "natural number"),
        (_file({"a": _entry([1], 0, 8)}, b"1234"), "lies at bytes"),
        (_file({"a": _entry([1], 4, 0)}, b"1234"), "lies at bytes"),
        (_file({"a": _entry([2], 0, 4)}, b"1234"), "has 4 bytes"),
        (_file({"a": _entry([2**62, 2**62], 0, 4)}, b"1234"), "more values|has 4 bytes"),
        (_file({"a": _entry([1] * 9, 0, 4)}, b"1234"), "more than 8"),
        (_file({"a": _entry([1], 0, 4), "b": _entry([1], 0, 4)}, b"1234"), "overlaps"),
        (_file({"a": _entry([1], 4, 8)}, b"12345678"), "unused bytes"),
        (_file({"a": _entry([1], 0, 4)}, b"12345678"), "after the last"),
        (
            _file(
                b'{"a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "a": {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
                b"1234",
            ),
            "twice",
        ),
        (_file({"__metadata__": {"a": 1}}), "no string"),
        (_file({"__metadata__": 1}), "metadata"),
    ],
)
def test_malformed_files_say_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    for read in (cnnx.load, cnnx.load_state, cnnx.load_metadata):
        with pytest.raises(ValueError, match=message):
            read(path)


def _with_architecture(path: Path, architecture: object, tensors=None) -> None:
    text = architecture if isinstance(architecture, str) else json.dumps(architecture)
    cnnx.save_state(tensors or {}, path)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"cnnx.architecture": text}
    path.write_bytes(_file(header, content[8 + length :]))


def _shared(*names: str) -> object:
    return {"type": "Linear", "args": {"in_features": 2, "out_features": 2}, "shared": [names]}


_DEEP: object = {"type": "ReLU"}
for _ in range(2000):
    _DEEP = '{"type":"Sequential","children":[["0",' + (_DEEP if isinstance(_DEEP, str) else json.dumps(_DEEP)) + "]]}"


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "expected an object"),
        ({"type": "Exec"}, 'unknown layer "Exec"'),
        ({"type": "Linear", "args": {"in_features": "many"}}, "must be an integer"),
        ({"type": "Linear", "args": {"in_features": 2**70, "out_features": 1}}, "must be an integer"),
        ({"type": "Linear", "args": {"in_features": 10**6, "out_features": 10**6}}, "more memory"),
        ({"type": "BatchNorm2d", "args": {"num_features": 10**12}}, "more memory"),
        ({"type": "Linear", "args": {"in_features": 2**40, "out_features": 2**40}}, "too many|more memory"),
        ({"type": "Linear", "args": {"in_features": -1, "out_features": 1}}, "in_features"),
        ({"type": "Conv2d", "args": {"in_channels": 1, "out_channels": 1, "kernel_size": [1]}}, "2 integers"),
        (
            {"type": "Conv2d", "args": {"in_channels": 3, "out_channels": 4, "kernel_size": [1, 1], "groups": 2}},
            "groups",
        ),
        ({"type": "ReLU", "children": []}, "only Sequential, Residual and Concat"),
        ({"type": "Sequential", "children": [["0", {"type": "ReLU"}], ["0", {"type": "ReLU"}]]}, "twice"),
        ({"type": "Linear", "args": {"in_features": 2, "out_features": 2}}, "weight"),
        (_DEEP, "deep|JSON"),
        ({"type": "ReLU", "shared": "weight"}, "list of lists of names"),
        ({"type": "ReLU", "shared": [["weight", 1]]}, "list of lists of names"),
        ({"type": "ReLU", "shared": [["weight", "bias"]]}, "more names than the model has tensors"),
        (_shared("weight", "bias"), r'"bias" cannot be the same as "weight"'),
        (_shared("weight", "0.weight"), "no child"),
        (_shared("", "."), '"" cannot be the same'),
    ],
)
def test_hostile_architectures(tmp_path, architecture, message):
    path = tmp_path / "bad.safetensors"
    _with_architecture(path, architecture)
    with pytest.raises(ValueError, match=message):
        cnnx.load(path)


@given(data=st.data())
def test_damaged_files_never_crash(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "net.safetensors"
    cnnx.save(_net(), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(content), 3000) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    for read in (cnnx.load, cnnx.load_state):
        with contextlib.suppress(ValueError, IndexError):  # anything else fails, a crash above all
            read(path)


def test_missing_file():
    with pytest.raises(FileNotFoundError):
        cnnx.load("no such file.safetensors")
    with pytest.raises((IsADirectoryError, PermissionError)):
        cnnx.load_state("/")


def test_shared_modules_with_too_many_names_are_refused(tmp_path):
    net = cnnx.Linear(1, 1)
    for _ in range(40):
        net = cnnx.Sequential(net, net)
    with pytest.raises(RuntimeError, match="more than 1000000 names"):
        cnnx.save(net, tmp_path / "net.safetensors")


def test_architecture_with_too_many_children_is_refused(tmp_path):
    net = {"type": "Sequential", "children": [[str(i), {"type": "ReLU"}] for i in range(200_000)]}
    header = json.dumps({"__metadata__": {"cnnx.architecture": json.dumps(net)}}).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ValueError, match="Sequential has more than 10000 children"):
        cnnx.load(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_write_protected_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        for write in (cnnx.save, lambda module, path: cnnx.save_state(module.state_dict(), path)):
            with pytest.raises(PermissionError, match=r"\[save\] the folder .* is write-protected"):
                write(cnnx.Linear(1, 1), tmp_path / "linear.safetensors")
    finally:
        tmp_path.chmod(0o700)
