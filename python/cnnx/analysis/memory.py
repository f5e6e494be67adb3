"""How much memory a model takes, found by a dry run: the code that allocates runs, the kernels do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .. import _core, functional, optim
from .._arguments import check_input_shape, check_integer, check_module, describe
from .._core import Module, Tensor
from .._inputs import input_dtype
from .._modes import no_grad
from ._trace import BATCH, OPTIMIZER, dry_run, meta_copy, shape_of
from ._units import format_bytes, parse_bytes

__all__ = ["MemoryReport", "memory_report", "suggest_batch_size"]

MakeOptimizer = Callable[[Iterable[Tensor]], optim.Optimizer]

_OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": lambda params: optim.SGD(params, lr=0.1),
    "momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
    "adam": lambda params: optim.Adam(params, lr=0.1),
    "adamw": lambda params: optim.AdamW(params, lr=0.1),
    "rmsprop": lambda params: optim.RMSprop(params, lr=0.1),
    "adagrad": lambda params: optim.Adagrad(params, lr=0.1),
}
_STEPS = 3  # the second is the first with optimizer state and gradients about; a third shows that it goes on so


@dataclass(frozen=True)
class MemoryReport:
    """What a run takes, in bytes. The seven parts are those of the moment of the peak, and add up to it.

    Attributes:
        mode: "train" or "infer".
        batch_size: images at a time.
        peak: the most that the allocator's live buffers come to: ``cnnx.memory.peak()`` of the real run.
        resident: the most that live buffers and those kept for reuse take of the machine: what the process grows by, to
            within a few pages.
        activations: outputs of layers, their gradients, and what else the backward pass keeps.
        parameters: parameters and buffers such as running statistics.
        gradients: those of the parameters.
        optimizer: the optimizer's state.
        workspace: scratch memory of the operation that runs.
        batch: images and targets.
        parameter_bytes: parameters alone, without rounding.
        state_bytes: what parameters, all their gradients as they are kept, and the optimizer's state come to between
            steps.

    Example:
        >>> import cnnx
        >>> report = cnnx.analysis.memory_report(cnnx.models.lenet5(), (1, 32, 32), batch_size=8, mode="infer")
        >>> report.gradients, report.optimizer, report.to_dict()["parts"] == report.parts
        (0, 0, True)
    """

    mode: str
    batch_size: int
    peak: int
    resident: int
    activations: int
    parameters: int
    gradients: int
    optimizer: int
    workspace: int
    batch: int
    parameter_bytes: int
    state_bytes: int

    @property
    def parts(self) -> dict[str, int]:
        """The notes' three consumers of memory at the peak."""
        return {
            "activations and their gradients": self.activations,
            "parameters, gradients, optimizer state": self.parameters + self.gradients + self.optimizer,
            "batch and workspace": self.batch + self.workspace,
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain data, with the three parts."""
        return asdict(self) | {"parts": self.parts}

    def __str__(self) -> str:
        lines = [f"{'training step' if self.mode == 'train' else 'scores'}, batch of {self.batch_size}"]
        detail = {
            "parameters, gradients, optimizer state": f"{format_bytes(self.parameters)} + {format_bytes(self.gradients)} + "
            f"{format_bytes(self.optimizer)}",
            "batch and workspace": f"{format_bytes(self.batch)} + {format_bytes(self.workspace)}",
        }
        for name, size in self.parts.items():
            lines.append(f"  {name:<40}{format_bytes(size):>12}  {detail.get(name, '')}".rstrip())
        lines.append(f"  {'peak':<40}{format_bytes(self.peak):>12}")
        lines.append(f"  {'memory that the process takes':<40}{format_bytes(self.resident):>12}")
        return "\n".join(lines)


def _make_optimizer(op: str, optimizer: str | MakeOptimizer) -> MakeOptimizer:
    if callable(optimizer):
        return optimizer
    if optimizer not in _OPTIMIZERS:
        known = ", ".join(f'"{name}"' for name in _OPTIMIZERS)
        raise ValueError(
            f"[{op}] optimizer must be one of {known}, or a function of the parameters that makes one; got {optimizer!r}."
        )
    return _OPTIMIZERS[optimizer]


def _check_mode(op: str, mode: str) -> None:
    if mode not in ("train", "infer"):
        raise ValueError(f'[{op}] mode must be "train" or "infer"; got {mode!r}.')


def _scores(outputs: Any) -> list[Tensor]:
    several = outputs if isinstance(outputs, tuple | list) else [outputs]
    found = [x for x in several if isinstance(x, Tensor)]
    if not found:
        raise TypeError(
            f"[memory_report] the model must return a tensor, or a tuple of them; got {describe(outputs)}. For other outputs "
            "pass loss=..."
        )
    return found


def _targets(outputs: Any) -> Tensor:
    shape = shape_of(_scores(outputs)[0])
    return _core.zeros((shape[0], *shape[2:]), dtype="int64")


def _loss(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy, summed over all heads."""
    first, *others = _scores(outputs)
    total = functional.cross_entropy(first, targets)
    for scores in others:
        total = total + functional.cross_entropy(scores, targets)
    return total


def _train(
    model: Module, x: Tensor, targets: Tensor, make: MakeOptimizer, loss_of: Callable[[Any, Tensor], Tensor]
) -> int:
    """A few steps of the usual loop; returns the bytes that live between steps."""
    optimizer = make(model.parameters())
    if not isinstance(optimizer, optim.Optimizer):
        raise TypeError(f"[memory_report] the function optimizer must return an Optimizer; got {describe(optimizer)}.")
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss = loss_of(model(x), targets)
        if not isinstance(loss, Tensor):
            raise TypeError(f"[memory_report] the function loss must return a tensor; got {describe(loss)}.")
        loss.backward()
        with _core._MemoryKind(OPTIMIZER):
            optimizer.step()
    kinds: dict[str, int] = _core._memory_stats("meta")["by_kind"]
    return int(kinds["gradients"] + kinds["optimizer"])


def _infer(model: Module, x: Tensor) -> int:
    with no_grad():
        for _ in range(_STEPS):
            model(x)
    return 0


def memory_report(
    model: Module,
    input_shape: Sequence[int],
    batch_size: int = 1,
    optimizer: str | MakeOptimizer = "momentum",
    mode: str = "train",
    loss: Callable[[Any, Tensor], Tensor] | None = None,
) -> MemoryReport:
    """Predicts the memory of training steps, or of scoring, by a dry run on the "meta" device.

    A copy of the model without values goes through the same code: every operation chooses its algorithm, allocates outputs,
    saved values and workspaces through an allocator with the same rules, and leaves its kernels out. So the predicted peak
    is that of the real run to the byte, with checkpointed modules, any optimizer and modules written in Python, for the
    current number of threads and workspace limit; and it costs milliseconds and no memory.

    Args:
        model: any module that takes one batch of images.
        input_shape: of one image, (channels, height, width).
        batch_size: images at a time.
        optimizer: "sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", or a function that makes one from parameters.
        mode: "train" for ``zero_grad``, forward, loss, backward, ``step``; "infer" for scores under ``no_grad``.
        loss: of (outputs, targets), the targets class numbers. Default: cross-entropy.

    Returns:
        A :class:`MemoryReport` with the notes' three parts. The process adds what Python, NumPy and the library's code
        take, and scratch memory of BLAS.

    Raises:
        ValueError: for a wrong argument, or if the model does not take such images.

    Example:
        >>> import cnnx
        >>> report = cnnx.analysis.memory_report(cnnx.models.lenet5(), (1, 32, 32), batch_size=64)
        >>> sum(report.parts.values()) == report.peak
        True
        >>> report.parameter_bytes
        246824
        >>> cnnx.analysis.memory_report(cnnx.models.lenet5(), (1, 32, 32), 64, mode="infer").peak < report.peak
        True

    Source: CS231n notes, "Convolutional Neural Networks", section Computational Considerations.
    """
    op = "memory_report"
    shape = check_input_shape(op, input_shape)
    _check_mode(op, mode)
    make = _make_optimizer(op, optimizer)
    batch_size = check_integer(op, "batch_size", batch_size)
    check_module(op, model)
    if loss is not None and not callable(loss):
        raise TypeError(f"[{op}] loss must be a function of (outputs, targets); got {describe(loss)}.")
    if mode == "train" and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f'[{op}] the model has no parameters to train. Use mode="infer".')
    with dry_run():
        _core._empty_cache("meta")
        before: dict[str, Any] = _core._memory_stats("meta")
        twin = meta_copy(model).train(mode == "train")
        with _core._MemoryKind(BATCH):
            x = _core.zeros((batch_size, *shape), dtype=input_dtype(twin))
            if mode == "train":
                outputs = twin(x)  # with a record, so that no weights are kept in another order
                targets = _targets(outputs)
                del outputs
        _core._empty_cache("meta")
        _core._reset_peak_memory("meta")
        state = _train(twin, x, targets, make, loss or _loss) if mode == "train" else _infer(twin, x)
        after: dict[str, Any] = _core._memory_stats("meta")
        kinds = {name: size - before["by_kind"][name] for name, size in after["peak_by_kind"].items()}
        parameters = after["by_kind"]["parameters"] - before["by_kind"]["parameters"]
        return MemoryReport(
            mode=mode,
            batch_size=batch_size,
            peak=after["peak"] - before["current"],
            resident=after["resident_peak"] - before["resident"],
            **kinds,
            parameter_bytes=sum(p.numel() * p.dtype.itemsize for p in twin.parameters()),
            state_bytes=parameters + state,
        )


def suggest_batch_size(
    model: Module,
    input_shape: Sequence[int],
    memory: str | int | float = "6 GB",
    optimizer: str | MakeOptimizer = "momentum",
    mode: str = "train",
    loss: Callable[[Any, Tensor], Tensor] | None = None,
    largest: int = 65_536,
) -> int:
    """The largest batch with which a run stays within some memory.

    It tries batches by dry runs, doubling and then halving the difference; what the allocator keeps for reuse counts.

    Args:
        model: any module that takes one batch of images.
        input_shape: of one image, (channels, height, width).
        memory: bytes, or text such as "6 GB"; as in the notes, a GB has 1024 MB.
        optimizer: as in :func:`memory_report`, like ``mode`` and ``loss``.
        mode: "train" or "infer".
        loss: of (outputs, targets).
        largest: no more is suggested.

    Raises:
        ValueError: if not even one image fits, or for a wrong argument.

    Example:
        >>> import cnnx
        >>> net = cnnx.models.cifar_net()
        >>> batch = cnnx.analysis.suggest_batch_size(net, (3, 32, 32), memory="100 MB")
        >>> fits, beyond = (cnnx.analysis.memory_report(net, (3, 32, 32), n).resident for n in (batch, batch + 1))
        >>> fits <= 100 * 2**20 < beyond
        True
    """
    op = "suggest_batch_size"
    limit = parse_bytes(op, memory)
    largest = check_integer(op, "largest", largest)
    check_module(op, model)

    def needed(batch: int) -> int:
        return memory_report(model, input_shape, batch, optimizer, mode, loss).resident

    smallest = 2 if mode == "train" and any(type(m).__name__.startswith("BatchNorm") for m in model.modules()) else 1
    at_least = needed(smallest)
    if at_least > limit:
        raise ValueError(
            f"[{op}] a batch of {smallest} needs {format_bytes(at_least)}; got {format_bytes(limit)}. Use smaller images, "
            "a smaller model or cnnx.checkpoint."
        )
    low, high = smallest, smallest + 1
    while high <= largest and needed(high) <= limit:
        low, high = high, 2 * high
    high = min(high, largest + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= limit else (low, middle)
    return low
