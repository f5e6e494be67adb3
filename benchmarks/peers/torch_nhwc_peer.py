"""PyTorch with images and weights in channels-last layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .torch_peer import Step, inference_in, training_in, version

__all__ = ["inference", "training", "version"]


def inference(net: str, models: Path, x: np.ndarray) -> Step:
    return inference_in(torch.channels_last, net, models, x)


def training(net: str, models: Path, x: np.ndarray, labels: np.ndarray) -> Step:
    return training_in(torch.channels_last, net, models, x, labels)
