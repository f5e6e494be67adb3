"""ncnn on the files that pnnx has converted: image by image, for it has no batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import ncnn
import numpy as np


def version() -> str:
    return str(ncnn.__version__)


def inference(net: str, models: Path, x: np.ndarray) -> Callable[[], object]:
    model = ncnn.Net()
    model.opt.num_threads = int(os.environ["OMP_NUM_THREADS"])
    model.opt.use_vulkan_compute = False
    # The others compute in float32, too.
    for half in ("bf16_storage", "fp16_storage", "fp16_packed", "fp16_arithmetic"):
        setattr(model.opt, f"use_{half}", False)
    if model.load_param(str(models / f"{net}.ncnn.param")) or model.load_model(str(models / f"{net}.ncnn.bin")):
        raise FileNotFoundError(f"ncnn cannot load {net}")
    images = [ncnn.Mat(image).clone() for image in x]

    def call() -> object:
        outputs = []
        for image in images:
            extractor = model.create_extractor()
            extractor.input("in0", image)
            outputs.append(np.array(extractor.extract("out0")[1]))
        return outputs

    return call
