"""Architectures as the CS231n notes write them: ``INPUT -> [[CONV -> RELU]*2 -> POOL]*3 -> [FC -> RELU]*2 -> FC``."""

from __future__ import annotations

from .build import pattern
from .describe import pattern_of

__all__ = ["pattern", "pattern_of"]
