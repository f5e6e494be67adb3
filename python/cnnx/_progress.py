"""The progress bar of training, on the error stream; rich is imported only when one is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

__all__ = ["Progress"]


PAUSE = 0.1  #: seconds between two texts: what they tell may have to be waited for


class Progress:
    """A bar with a status text and the time left; does nothing unless enabled."""

    def __init__(self, total: int, enabled: bool) -> None:
        self._bar: rich.progress.Progress | None = None
        self._left, self._said = total, 0.0
        if enabled:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("starting", total=total)

    def advance(self, text: Callable[[], str]) -> None:
        """One step more, with what there is to say, which is not asked for in every step."""
        self._left -= 1
        if self._bar is None:
            return
        now = time.monotonic()
        if self._left > 0 and now - self._said < PAUSE:
            self._bar.update(self._task, advance=1)
        else:
            self._said = now
            self._bar.update(self._task, advance=1, description=text())

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
