"""DataLoader: shuffled, augmented batches, prepared in the background while the last one trains."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np

from .. import _core
from .._arguments import check_integer
from .._core import Tensor
from .augment import Augmentation
from .dataset import Dataset, Images, Labels, fetch

__all__ = ["DataLoader"]

_Pair = tuple[Tensor, Tensor]
_Ready = Callable[[], _Pair]
_Item = _Ready | BaseException | None
_PATIENCE = 10.0  # seconds that the end of the process waits for an image


class DataLoader:
    """Iterates over a dataset in batches of tensors (images, labels).

    One background thread reads and augments up to ``prefetch`` batches ahead; it ends when the iteration does, after the image
    that it is at (after the batch, of datasets with a method ``batch``). The order and the augmentation depend on the seed and on how often the loader has been iterated, on nothing
    else. A forked child begins iterations of its own: its parent's thread is not there.

    Args:
        dataset: images and labels.
        batch_size: images a batch; the last one may be smaller.
        shuffle: a new random order for every pass.
        drop_last: leave out a last batch that is smaller.
        augment: random changes of the images, such as RandomCrop.
        seed: of order and augmentation.
        prefetch: batches to prepare ahead; 0 works in the caller's thread.
        pin_memory: make batches in page-locked memory: ``.to("cuda", non_blocking=True)`` does not wait for them.
        device: a CUDA device to copy batches to, ahead as well and while it works on the last ones.

    Raises:
        ValueError: for a batch size below 1 or a negative prefetch.
        RuntimeError: for pin_memory or a device without CUDA; in a forked child, for its parent's iteration; for one that goes
            on when the process has begun to end.

    Example:
        >>> import cnnx
        >>> train, _ = cnnx.data.digits()
        >>> loader = cnnx.data.DataLoader(train, batch_size=500)
        >>> [images.shape for images, labels in loader]
        [(500, 1, 8, 8), (500, 1, 8, 8), (437, 1, 8, 8)]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 32,
        shuffle: bool = False,
        drop_last: bool = False,
        augment: Augmentation | None = None,
        seed: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
        device: str | _core.Device | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = check_integer("DataLoader", "batch_size", batch_size, most=2**63 - 1)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.augment = augment
        self.seed = check_integer("DataLoader", "seed", seed, 0, 2**64 - 1)
        self.prefetch = check_integer("DataLoader", "prefetch", prefetch, 0)
        self.pin_memory = pin_memory
        self.device = None if device is None else _core.Device(str(device))
        if pin_memory or (self.device is not None and self.device.type == "cuda"):
            _core._cuda_memory(str(device) if device is not None else "cuda")  # says what is missing
        self._passes = 0

    def __len__(self) -> int:
        """Number of batches."""
        count = len(self.dataset)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def _batches(self, number: int, check: Callable[[], None]) -> Iterator[tuple[Images, Labels]]:
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(self.dataset)) if self.shuffle else np.arange(len(self.dataset))
        for i in range(len(self)):
            images, labels = fetch(self.dataset, order[i * self.batch_size : (i + 1) * self.batch_size], check)
            yield (self.augment(images, rng) if self.augment else images), labels

    def __iter__(self) -> Iterator[_Pair]:
        number, self._passes = self._passes, self._passes + 1
        for ready in self._ahead(number) if self.prefetch else self._prepared(number, lambda: None):
            yield ready()

    def _prepared(self, number: int, check: Callable[[], None]) -> Iterator[_Ready]:
        """Functions that give the batches as tensors where they are wanted, whose copies have begun."""
        uploader = None
        if self.device is not None and self.device.type == "cuda":
            uploader = _core._Uploader(self.device)
        for images, labels in self._batches(number, check):
            if self.pin_memory or uploader is not None:
                pair = _core._pinned_copy(images, "float32"), _core._pinned_copy(labels, "int64")
            else:
                pair = _core.from_numpy(np.ascontiguousarray(images, np.float32)), _core.tensor(labels, dtype="int64")
            if uploader is not None:
                first, second = uploader.start(pair[0]), uploader.start(pair[1])
                yield lambda first=first, second=second: (first.take(), second.take())  # type: ignore[misc]
                continue
            if self.device is not None:
                pair = pair[0].to(self.device), pair[1].to(self.device)
            yield lambda pair=pair: pair  # type: ignore[misc]

    def _ahead(self, number: int) -> Iterator[_Ready]:
        """The same batches from a background thread, which ends when the iteration does."""
        worker = _Worker(lambda check: self._prepared(number, check), self.prefetch)
        try:
            while (item := worker.get()) is not None:
                yield item
        finally:
            worker.end()


class _Stopped(Exception):
    """The iteration has ended before the batch."""


class _Worker:
    """A thread that prepares batches ahead."""

    def __init__(self, prepare: Callable[[Callable[[], None]], Iterator[_Ready]], ahead: int) -> None:
        self._prepare = prepare
        self._ready: queue.Queue[_Item] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._work, name="cnnx-loader", daemon=True)
        _running.add(self)
        self._thread.start()

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _put(self, item: _Item) -> None:
        while True:
            self._check()
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def _work(self) -> None:
        try:
            for batch in self._prepare(self._check):
                self._put(batch)
            self._put(None)
        except _Stopped:
            pass
        except BaseException as error:
            with contextlib.suppress(_Stopped):
                self._put(error)

    def get(self) -> _Ready | None:
        """The next batch, None behind the last one."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "[DataLoader] this iteration belongs to the parent process, whose thread a forked child does not have. "
                "Iterate over the loader anew in the child."
            )
        try:
            item = self._ready.get(block=not self._stop.is_set())
        except queue.Empty:
            raise RuntimeError(
                "[DataLoader] this iteration has ended with the process, which stops the loader's threads. "
                "Use prefetch=0 for iterations in functions of atexit."
            ) from None
        if isinstance(item, BaseException):
            raise item
        return item

    def end(self, timeout: float | None = None) -> None:
        """Ends the thread after the image that it is at."""
        if os.getpid() != self._process:  # a lock may be one that the thread held
            return
        self._stop.set()
        self._thread.join(timeout)


_running: weakref.WeakSet[_Worker] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Python takes the process down with threads that are inside the library when it ends."""
    for worker in list(_running):
        worker.end(_PATIENCE)
