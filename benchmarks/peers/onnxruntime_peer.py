"""ONNX Runtime on the exported ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime


def version() -> str:
    return str(onnxruntime.__version__)


def inference(net: str, models: Path, x: np.ndarray) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    session = onnxruntime.InferenceSession(str(models / f"{net}.onnx"), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})
