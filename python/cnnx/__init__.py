"""cnnx: convolutional networks, as clear as a textbook and as fast as the hardware.

>>> import cnnx
>>> net = cnnx.Sequential(cnnx.Conv2d(1, 8, 3, padding=1), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(8 * 64, 10))
>>> net(cnnx.randn(2, 1, 8, 8)).shape
(2, 10)
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import _load, cuda, functional, init, memory, optim  # noqa: F401
from ._core import (
    GELU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    CrossEntropyLoss,
    Device,
    Dropout,
    Dropout2d,
    DType,
    Flatten,
    GroupNorm,
    Identity,
    InstanceNorm2d,
    LayerNorm,
    LeakyReLU,
    Linear,
    LocallyConnected2d,
    LocalResponseNorm,
    LogSoftmax,
    LPPool2d,
    MaxPool2d,
    Module,
    MSELoss,
    MultiMarginLoss,
    Parameter,
    ReflectionPad2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Tensor,
    Upsample,
    ZeroPad2d,
    abs,
    arange,
    autotune_choices,
    bool,
    clear_autotune,
    clip,
    concat,
    conv_algorithm,
    conv_algorithms,
    cpu_isa,
    empty,
    exp,
    float32,
    float64,
    from_dlpack,
    from_numpy,
    full,
    get_fit_mode,
    get_num_threads,
    int64,
    is_autotune_enabled,
    is_grad_enabled,
    load,
    load_metadata,
    load_state,
    log,
    manual_seed,
    matmul,
    ones,
    pad,
    rand,
    randn,
    save,
    save_state,
    set_conv_algorithm,
    set_num_threads,
    sqrt,
    tensor,
    zeros,
)
from ._core import __version__ as __version__
from ._modes import autocast, autotune, detect_anomaly, enable_grad, fit_mode, no_grad
from ._scaler import GradScaler
from .memory import checkpoint

if TYPE_CHECKING:
    from . import analysis, convert, data, models, patterns, testing, viz, weights
    from .freezing import freeze, unfreeze
    from .patterns import pattern, pattern_of
    from .training import Evaluation, History, evaluate, fit, predict
    from .weights import load_weights, read_weights

# What needs NumPy or much of the standard library is imported at its first use, so that importing cnnx costs little.
_LAZY_MODULES = ("analysis", "convert", "data", "models", "patterns", "testing", "training", "viz", "weights")
_LAZY_NAMES = {
    **dict.fromkeys(("Evaluation", "History", "evaluate", "fit", "predict"), "training"),
    **dict.fromkeys(("freeze", "unfreeze"), "freezing"),
    **dict.fromkeys(("load_weights", "read_weights"), "weights"),
    **dict.fromkeys(("pattern", "pattern_of"), "patterns"),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _LAZY_NAMES:
        value = getattr(importlib.import_module(f".{_LAZY_NAMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__all__ = [
    "GELU",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "DType",
    "Device",
    "Dropout",
    "Dropout2d",
    "Evaluation",
    "Flatten",
    "GradScaler",
    "GroupNorm",
    "History",
    "Identity",
    "InstanceNorm2d",
    "LPPool2d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LocallyConnected2d",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "MultiMarginLoss",
    "Parameter",
    "ReLU",
    "ReflectionPad2d",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Tensor",
    "Upsample",
    "ZeroPad2d",
    "abs",
    "analysis",
    "arange",
    "autocast",
    "autotune",
    "autotune_choices",
    "bool",
    "checkpoint",
    "clear_autotune",
    "clip",
    "concat",
    "conv_algorithm",
    "conv_algorithms",
    "convert",
    "cpu_isa",
    "cuda",
    "data",
    "detect_anomaly",
    "empty",
    "enable_grad",
    "evaluate",
    "exp",
    "fit",
    "fit_mode",
    "float32",
    "float64",
    "freeze",
    "from_dlpack",
    "from_numpy",
    "full",
    "functional",
    "get_fit_mode",
    "get_num_threads",
    "init",
    "int64",
    "is_autotune_enabled",
    "is_grad_enabled",
    "load",
    "load_metadata",
    "load_state",
    "load_weights",
    "log",
    "manual_seed",
    "matmul",
    "memory",
    "models",
    "no_grad",
    "ones",
    "optim",
    "pad",
    "pattern",
    "pattern_of",
    "patterns",
    "predict",
    "rand",
    "randn",
    "read_weights",
    "save",
    "save_state",
    "set_conv_algorithm",
    "set_num_threads",
    "sqrt",
    "tensor",
    "testing",
    "unfreeze",
    "viz",
    "weights",
    "zeros",
]
