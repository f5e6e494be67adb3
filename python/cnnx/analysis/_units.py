"""Numbers of bytes and of values as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(op: str, text: str | int | float) -> int:
    """Bytes of a number or of text such as "6 GB"; as in the notes, each unit is 1024 times the one before."""
    if isinstance(text, (int, float)) and not isinstance(text, bool) and 0 < text < 2**63:
        return int(text)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", str(text), re.IGNORECASE)
    size = float(found[1]) * _UNITS[found[2].upper()] if found else 0.0
    if not 1 <= size < 2**63:
        raise ValueError(f'[{op}] expected a positive number of bytes, or text such as "6 GB"; got {text!r}.')
    return int(size)


def format_bytes(count: float) -> str:
    """In the largest unit that leaves at least one: "58.1 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def format_count(count: int) -> str:
    """As in the notes: two digits and K or M for what has five digits or more, "3.2M" or "150K"."""
    if count < 10_000:
        return str(count)
    for limit, unit in ((1_000_000, "K"), (1_000_000_000, "M")):
        value = count / (limit / 1000)
        if value < 999.5 or unit == "M":
            digits = 1 if value < 9.95 else 0
            step = 10 if value >= 99.5 else 1
            return f"{round(value / step) * step if step > 1 else value:.{digits}f}{unit}"
    raise AssertionError


def format_volume(shape: tuple[int, ...]) -> str:
    """A shape without its batch as the notes write volumes: width x height x depth."""
    if len(shape) == 3:
        return f"{shape[2]}x{shape[1]}x{shape[0]}"
    return f"1x1x{shape[0]}" if len(shape) == 1 else "x".join(str(size) for size in reversed(shape))
