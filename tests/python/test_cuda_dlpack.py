"""DLPack on CUDA without a copy, with a consumer and a producer made by hand of the published structs. See test_cuda.py."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest
from helpers import needs_cuda

import cnnx
import cnnx.functional as F

pytestmark = needs_cuda
CUDA, CPU = 2, 1


class Managed(ctypes.Structure):
    pass


Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(Managed))
Managed._fields_ = [
    ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
    ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
    ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("offset", ctypes.c_uint64),
    ("context", ctypes.c_void_p), ("deleter", Deleter),
]  # fmt: skip

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.restype, _rename.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype, _capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Consumer:
    """Takes a capsule over, as another library does, and gives it back in close()."""

    def __init__(self, tensor: cnnx.Tensor, **options: object) -> None:
        capsule = tensor.__dlpack__(**options)
        self.managed = Managed.from_address(_pointer(capsule, b"dltensor"))
        _rename(capsule, b"used_dltensor")

    def close(self) -> None:
        self.managed.deleter(ctypes.byref(self.managed))


class Producer:
    """Lends memory that another library would own."""

    def __init__(
        self, pointer: int, shape: tuple[int, ...], device: tuple[int, int], strides: tuple[int, ...] = ()
    ) -> None:
        self.device, self.streams, self.freed = device, [], 0
        self.shape, self.strides = (ctypes.c_int64 * len(shape))(*shape), (ctypes.c_int64 * len(shape))(*strides)
        self.deleter = Deleter(self._free)
        self.managed = Managed(
            pointer, *device, len(shape), 2, 32, 1, self.shape, self.strides if strides else None, 0, None, self.deleter
        )

    def _free(self, _: object) -> None:
        self.freed += 1

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, stream: int | None = None) -> object:
        self.streams.append(stream)
        return _capsule(ctypes.addressof(self.managed), b"dltensor", None)


def last_device() -> int:
    return cnnx.cuda.device_count() - 1


def test_tensors_are_lent_without_a_copy():
    index = last_device()
    x = cnnx.tensor(np.arange(6.0).reshape(2, 3), dtype="float32", device=f"cuda:{index}")
    assert x.__dlpack_device__() == (CUDA, index)
    first, second = Consumer(x), Consumer(x, stream=1, dl_device=(CUDA, index), copy=False)
    lent = first.managed
    assert (lent.device_type, lent.device_id, lent.ndim, lent.code, lent.bits) == (CUDA, index, 2, 2, 32)
    assert (lent.shape[:2], lent.strides[:2]) == ([2, 3], [3, 1])
    assert lent.data == second.managed.data
    copied = Consumer(x, copy=True)
    assert copied.managed.data != lent.data
    on_cpu = Consumer(x, dl_device=(CPU, 0))
    assert on_cpu.managed.device_type == CPU
    assert list((ctypes.c_float * 6).from_address(on_cpu.managed.data)) == [0, 1, 2, 3, 4, 5]
    memory = cnnx.cuda.memory.current(f"cuda:{index}")
    del x
    gc.collect()
    second.close()
    copied.close()
    assert cnnx.cuda.memory.current(f"cuda:{index}") == memory - 64  # the copy alone: the consumer keeps the tensor
    first.close()
    assert cnnx.cuda.memory.current(f"cuda:{index}") == memory - 128
    on_cpu.close()
    cnnx.ones(3, device="cuda").__dlpack__(stream=-1)  # a capsule that nobody takes


def test_tensors_are_borrowed_without_a_copy():
    index = last_device()
    owner = cnnx.tensor(np.arange(6.0), dtype="float32", device=f"cuda:{index}")
    lent = Consumer(owner)
    producer = Producer(lent.managed.data, (2, 3), (CUDA, index))
    x = cnnx.from_dlpack(producer)
    assert x.device == f"cuda:{index}"
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    (stream,) = producer.streams
    assert stream not in (None, 0)  # the one that cnnx works on
    Consumer(owner, stream=stream).close()
    x.fill_(7.0)
    assert owner.tolist() == [7.0] * 6
    y = x + 1.0
    assert producer.freed == 0
    del x
    gc.collect()
    assert producer.freed == 1
    assert y.tolist() == [[8.0] * 3] * 2
    lent.close()
    again = cnnx.from_dlpack(y)
    y.fill_(3.0)
    assert again.tolist() == [[3.0] * 3] * 2
    assert again.device == y.device


def test_what_cannot_be_exchanged_is_refused():
    x = cnnx.ones(4, device="cuda")
    for stream in (0, -2):
        with pytest.raises(BufferError, match="expected None, -1, 1, 2 or a CUDA stream"):
            x.__dlpack__(stream=stream)
    with pytest.raises(BufferError, match="expected the tensor's device"):
        x.__dlpack__(dl_device=(CUDA, 63))
    with pytest.raises(BufferError, match="by a copy; got copy=False"):
        x.__dlpack__(dl_device=(CPU, 0), copy=False)
    with pytest.raises(BufferError, match="tensors on the CPU have no stream"):
        cnnx.ones(1).__dlpack__(stream=1)
    lent = Consumer(x)
    for device, strides, kind, message in [
        ((CUDA, 63), (), RuntimeError, "CUDA device"),
        ((8, 0), (), BufferError, "got DLPack device type 8"),
        ((CUDA, 0), (1, 2), BufferError, "row-major"),
    ]:
        with pytest.raises(kind, match=message):
            cnnx.from_dlpack(Producer(lent.managed.data, (2, 2), device, strides))
    lent.close()
    run = cnnx.cuda.graph(lambda x: x.__dlpack__(), warmup=0)
    with pytest.raises(RuntimeError, match="a captured function cannot lend tensors"):
        run(x)


def shifted(values: np.ndarray) -> cnnx.Tensor:
    """The values one number behind an address that fours may begin at."""
    owner = Consumer(cnnx.tensor(np.append(0, values), dtype="float32", device="cuda"))
    producer = Producer(owner.managed.data + 4, values.shape, (CUDA, 0))
    shifted.alive += [owner, producer]
    return cnnx.from_dlpack(producer)


shifted.alive = []


@pytest.mark.parametrize("algorithm", ["direct", "winograd", "implicit_gemm"])
@pytest.mark.parametrize("groups", [1, 4])
def test_memory_of_others_may_begin_anywhere(algorithm, groups):
    """No value is read together with neighbours that begin elsewhere than four do."""
    cnnx.set_conv_algorithm(algorithm)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((2, 4, 8, 8), (8, 4 // groups, 3, 3), (8,), (2, 8, 8, 8))]
    results = []
    for place in (shifted, lambda a: cnnx.tensor(a, dtype="float32")):
        x, w, b, gy = map(place, arrays)
        inputs = [t.requires_grad_() for t in (x, w, b)]
        y = F.conv2d(*inputs, padding=1, groups=groups)
        y.backward(gy)
        z = F.relu(F.batch_norm(y.detach() + gy, None, None, b, b, training=True)) @ gy
        results.append([np.asarray(t) for t in (y.detach(), z, *(t.grad for t in inputs))])
        cnnx.optim.Adam(inputs, lr=0.1).step()
        results[-1] += [np.asarray(t.detach()) for t in inputs]
        results[-1].append(np.asarray(x.detach()[cnnx.tensor([1, 0, 1])]))
    for ours, other in zip(*results, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-4)
