"""Weights from files: every kind and dtype, torchvision's names."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from helpers import HAS_TORCH, needs_torch

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
    kinds = {"f2": "float16", "f4": "float32", ">f4": "float32", "f8": "float64", "g": "float64", "?": "bool"}
    assert read["values"].dtype == kinds.get(dtype, "int64")


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


def test_names_with_a_prefix_are_recognised(tmp_path):
    model = cnnx.models.lenet5()
    state = {f"module.{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    np.savez(tmp_path / "parallel.npz", **state)
    with pytest.raises(
        ValueError, match=r'begin with "module\.", as torch\'s DataParallel writes them\. Take it off: model\.load'
    ):
        cnnx.load_weights(model, tmp_path / "parallel.npz")
    taken_off = {name.removeprefix("module."): x for name, x in cnnx.read_weights(tmp_path / "parallel.npz").items()}
    assert not model.load_state_dict(taken_off).missing_keys
    np.savez(tmp_path / "other.npz", **{"module.head": np.zeros(3)})
    with pytest.raises(ValueError, match="Unexpected keys") as caught:
        cnnx.load_weights(model, tmp_path / "other.npz")
    assert "DataParallel" not in str(caught.value)


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
    read = {name: x.to("float32") if x.dtype == "bfloat16" else x for name, x in read.items()}
    _same(read["values"], expected)
    _same(read["scalar"], expected[1, 2])
    assert read["empty"].shape == (0, 3)
    assert cnnx.read_weights(tmp_path / "w.pth")["values"].dtype == (dtype if "int" not in dtype else "int64")


@needs_torch
def test_pth_half_precision_is_exact(tmp_path):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    state = {"half": bits.view(torch.float16), "brain": bits.clone().view(torch.bfloat16)}
    torch.save(state, tmp_path / "w.pt")
    for name, values in cnnx.read_weights(tmp_path / "w.pt").items():
        assert values.dtype == str(state[name].dtype).removeprefix("torch.")
        np.testing.assert_array_equal(values.to("float32").numpy(), state[name].float().numpy())


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
