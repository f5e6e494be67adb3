"""OpenVINO on the exported ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino


def version() -> str:
    return str(openvino.__version__)


def inference(net: str, models: Path, x: np.ndarray) -> Callable[[], object]:
    core = openvino.Core()
    model = core.read_model(models / f"{net}.onnx")
    model.reshape(list(x.shape))
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True)
