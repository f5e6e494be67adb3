"""A dry run of a model: which layers are called, in which order, on which shapes. Nothing is computed and no memory taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from .. import _core
from .._arguments import check_input_shape, check_module
from .._copies import copy_model
from .._core import Device, Module, Tensor
from .._inputs import input_dtype
from .._modes import no_grad

Shape = tuple[int, ...]

#: The numbers of MemoryKind in the C++ core.
ACTIVATIONS, PARAMETERS, GRADIENTS, OPTIMIZER, BATCH, WORKSPACE = range(6)

#: The books of the "meta" device are the process's: one dry run at a time.
LOCK = threading.RLock()


def meta_copy(model: Module) -> Module:
    """A copy of the model without values: its tensors are on the "meta" device."""
    memo: dict[int, Any] = {}
    tensors = [*model.parameters(), *model.buffers()]
    with _core._MemoryKind(PARAMETERS):
        for tensor in tensors:
            memo[id(tensor)] = _core.empty(
                tensor.shape, dtype=tensor.dtype, device="meta", requires_grad=tensor.requires_grad
            )
    return copy_model(model, memo)


def shape_of(tensor: Tensor) -> Shape:
    """Its shape, with the type that it has."""
    return tuple(cast(Sequence[int], tensor.shape))


@dataclass(eq=False)
class Call:
    """One call of a module in a dry run."""

    path: str
    type: str
    module: Module
    inputs: list[Tensor]
    outputs: list[Tensor] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def is_layer(self) -> bool:
        """Whether it called no other module."""
        return not self.calls

    @property
    def input_shape(self) -> Shape:
        return shape_of(self.inputs[0]) if self.inputs else ()

    @property
    def output_shape(self) -> Shape:
        return shape_of(self.outputs[0]) if self.outputs else ()

    def walk(self) -> Iterator[Call]:
        """This call and those inside it, in the order in which they ended."""
        for call in self.calls:
            yield from call.walk()
        yield self


class _Recorder:
    def __init__(self, model: Module) -> None:
        self.model = model
        self.stack: list[Call] = []
        self.root: Call | None = None

    def entered(self, path: str, kind: str, inputs: list[Tensor]) -> None:
        try:
            module = self.model.get_submodule(path)
        except ValueError:  # a module that its caller does not hold as a child
            module = Module()
        call = Call(path, kind, module, inputs)
        if self.stack:
            self.stack[-1].calls.append(call)
        elif self.root is None:
            self.root = call
        self.stack.append(call)

    def left(self, path: str, kind: str, outputs: list[Tensor]) -> None:
        self.stack.pop().outputs = outputs


@contextmanager
def dry_run() -> Iterator[None]:
    """Whatever is made inside the block has no values."""
    with LOCK, Device("meta"):
        yield


def trace(op: str, model: Module, input_shape: Sequence[int], training: bool = False) -> Call:
    """Runs a copy of the model without values on one image, and returns the call of the model with those inside it."""
    check_module(op, model)
    shape = check_input_shape(op, input_shape)
    with dry_run(), no_grad():
        twin = meta_copy(model).train(training)
        for module in twin.modules():
            module.checkpointed = False
        recorder = _Recorder(twin)
        x = _core.empty((1, *shape), dtype=input_dtype(twin))
        with _core._CallWatch(recorder.entered, recorder.left):
            twin(x)
    assert recorder.root is not None
    return recorder.root
