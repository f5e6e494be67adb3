"""What a model's inputs have to be, of its parameters' dtype and where they are, and its outputs as arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._core import Module, Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FLOATING = (_core.float16, _core.bfloat16, _core.float32, _core.float64)


def input_dtype(model: Module) -> _core.DType:
    """The dtype of the parameters, float32 for a model without any."""
    return next((parameter.dtype for parameter in model.parameters()), _core.float32)


def input_device(model: Module) -> _core.Device:
    """Where the parameters are, the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), _core.Device("cpu"))


def readable(tensor: Tensor) -> npt.NDArray[np.floating[Any]]:
    """A tensor's values for NumPy: those of bfloat16, which it lacks, as float32."""
    return (tensor.to("float32") if tensor.dtype == _core.bfloat16 else tensor).detach().numpy()


def input_converter(model: Module) -> Callable[[Tensor], Tensor]:
    """A function that brings batches to where the model is now, and into its dtype if they are of floating-point numbers."""
    dtype, device = input_dtype(model), input_device(model)

    def convert(batch: Tensor) -> Tensor:
        is_floating = batch.dtype in _FLOATING
        return batch.to(device).to(dtype if is_floating else batch.dtype)

    return convert
