"""Weights from files of other libraries: .safetensors, .npz, and .pth without running what is in it."""

from __future__ import annotations

from .load import load_weights, read_weights

__all__ = ["load_weights", "read_weights"]
