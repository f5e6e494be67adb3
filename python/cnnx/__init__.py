"""cnnx: convolutional networks, as clear as a textbook and as fast as the hardware.

>>> import cnnx
>>> net = cnnx.Sequential(cnnx.Conv2d(1, 8, 3, padding=1), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(8 * 64, 10))
>>> net(cnnx.randn(2, 1, 8, 8)).shape
(2, 10)
"""

import importlib
from typing import TYPE_CHECKING, Any

try:
    from . import _core
except ImportError:
    # The BLAS library is found by a path relative to this package. Where the two are installed in different places, it is
    # loaded from its own package first.
    import ctypes

    import scipy_openblas32

    ctypes.CDLL(
        f"{scipy_openblas32.get_lib_dir()}/{scipy_openblas32.get_library(fullname=True)}", mode=ctypes.RTLD_GLOBAL
    )
    from . import _core  # noqa: F401

from . import cuda, functional, init, memory, optim
from ._core import (
    GELU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    CrossEntropyLoss,
    Device,
    Dropout,
    DType,
    Flatten,
    Identity,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    LPPool2d,
    MaxPool2d,
    Module,
    MSELoss,
    MultiMarginLoss,
    Parameter,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    Tensor,
    abs,
    arange,
    bool,
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
from ._modes import detect_anomaly, enable_grad, fit_mode, no_grad
from .memory import checkpoint

if TYPE_CHECKING:
    from . import analysis, data, models, testing
    from .training import Evaluation, History, evaluate, fit, predict

# What needs NumPy or much of the standard library is imported at its first use, so that importing cnnx costs little.
_LAZY_MODULES = ("analysis", "data", "models", "testing", "training")
_LAZY_NAMES = {name: "training" for name in ("Evaluation", "History", "evaluate", "fit", "predict")}


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
    "CrossEntropyLoss",
    "DType",
    "Device",
    "Dropout",
    "Evaluation",
    "Flatten",
    "History",
    "Identity",
    "LPPool2d",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "MultiMarginLoss",
    "Parameter",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Tensor",
    "abs",
    "analysis",
    "arange",
    "bool",
    "checkpoint",
    "clip",
    "concat",
    "conv_algorithm",
    "conv_algorithms",
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
    "from_dlpack",
    "from_numpy",
    "full",
    "functional",
    "get_fit_mode",
    "get_num_threads",
    "init",
    "int64",
    "is_grad_enabled",
    "load",
    "load_metadata",
    "load_state",
    "log",
    "manual_seed",
    "matmul",
    "memory",
    "models",
    "no_grad",
    "ones",
    "optim",
    "pad",
    "predict",
    "rand",
    "randn",
    "save",
    "save_state",
    "set_conv_algorithm",
    "set_num_threads",
    "sqrt",
    "tensor",
    "testing",
    "zeros",
]
