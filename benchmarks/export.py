"""Writes the networks for the peers: torch modules, ONNX, and ncnn's two files. python -m benchmarks.export DIR NET..."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

import torch

from .cases import NETS
from .graph import to_torch


def export(net: str, directory: Path) -> None:
    shape = NETS[net].shape
    model = to_torch(NETS[net].build()).eval()
    torch.save(model, directory / f"{net}.torch")
    x = torch.zeros(1, *shape)
    with contextlib.suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"x": {0: "n"}, "y": {0: "n"}}
        path = str(directory / f"{net}.onnx")
        torch.onnx.export(model, (x,), path, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes)
    # pnnx also writes a Python script and imports it, which fails for some nets after ncnn's files are there.
    with contextlib.suppress(Exception):
        import pnnx

        pnnx.export(model, str(directory / f"{net}.pt"), (x,), fp16=False)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        export(name, Path(sys.argv[1]))
