"""What a model's inputs have to be: of its parameters' dtype, and where they are."""

from __future__ import annotations

from . import _core
from ._core import Module, Tensor


def input_dtype(model: Module) -> _core.DType:
    """The dtype of the parameters, float32 for a model without any."""
    return next((parameter.dtype for parameter in model.parameters()), _core.float32)


def input_device(model: Module) -> _core.Device:
    """Where the parameters are, the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), _core.Device("cpu"))


def as_input(model: Module, batch: Tensor) -> Tensor:
    """The batch where the model is, and in its dtype if it is of floating-point numbers."""
    dtype = input_dtype(model)
    is_floating = batch.dtype in (_core.float32, _core.float64)
    return batch.to(input_device(model)).to(dtype if is_floating else batch.dtype)
