"""The messages of errors, which are part of the interface: bad calls by family, each with its exception and its text."""

from __future__ import annotations

from . import layers, models, pictures, values, windows
from .common import Case

CASES: list[Case] = [*windows.CASES, *values.CASES, *layers.CASES, *models.CASES, *pictures.CASES]
