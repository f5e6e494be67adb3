"""Reasoning about a model before it runs: sizes, receptive fields, memory, and a check of the notes' rules.

Everything here runs the model without values: it costs milliseconds and no memory for models of any size.
"""

from __future__ import annotations

from .memory import MemoryReport, memory_report, suggest_batch_size
from .receptive import ReceptiveField, receptive_field, receptive_fields
from .sizes import Finding, check_sizes
from .summary import LayerRow, Summary, summary

__all__ = [
    "Finding",
    "LayerRow",
    "MemoryReport",
    "ReceptiveField",
    "Summary",
    "check_sizes",
    "memory_report",
    "receptive_field",
    "receptive_fields",
    "suggest_batch_size",
    "summary",
]
