"""Training, evaluation and prediction with one call each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, cuda, optim
from ._arguments import check_integer, check_module, describe
from ._core import Module, Tensor
from ._inputs import input_converter, input_device, readable
from ._modes import evaluating, no_grad
from ._progress import Progress
from .data import ArrayDataset, Augmentation, DataLoader, Dataset
from .functional import cross_entropy
from .models import GoogLeNetOutputs

__all__ = ["Epoch", "Evaluation", "History", "evaluate", "fit", "predict"]

LossFunction = Callable[[Any, Tensor], Tensor]


@dataclass
class Epoch:
    """What one pass over the training set gave.

    Attributes:
        number: from 1.
        loss: mean over the images, as they were met.
        accuracy: share of right answers, as they were met.
        seconds: that it took.
        images_per_second: of training alone.
        validation_loss: behind the epoch; None without a validation set.
        validation_accuracy: likewise.
    """

    number: int
    loss: float
    accuracy: float
    seconds: float
    images_per_second: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass
class History:
    """What :func:`cnnx.fit` did.

    Attributes:
        epochs: one :class:`Epoch` each.
        interrupted: whether Ctrl-C ended it early.
        seconds: that it took.

    Example:
        >>> import cnnx
        >>> train, test = cnnx.data.digits()
        >>> history = cnnx.fit(cnnx.models.small_convnet(), train, epochs=1, progress=False)
        >>> len(history.epochs), history.interrupted, history.epochs[0].accuracy > 0.1
        (1, False, True)
    """

    epochs: list[Epoch] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0


@dataclass
class Evaluation:
    """Figures of a model on a dataset, from :func:`cnnx.evaluate`.

    Attributes:
        loss: mean over the images.
        accuracy: share of right answers.
        confusion: ``confusion[i, j]`` counts images of class i that were taken for class j.

    Example:
        >>> import cnnx
        >>> train, test = cnnx.data.digits()
        >>> result = cnnx.evaluate(cnnx.models.small_convnet(), test)
        >>> int(result.confusion.sum()) == len(test)
        True
        >>> bool(result.confusion.trace() / len(test) == result.accuracy)
        True
    """

    loss: float
    accuracy: float
    confusion: npt.NDArray[np.int64]


def _check_data(op: str, name: str, data: object) -> None:
    if not isinstance(data, Dataset) or isinstance(data, Tensor | np.ndarray | str | dict):
        raise TypeError(
            f"[{op}] the {name} must have a length and items (image, label); got {describe(data)}. Arrays become one with "
            "cnnx.data.ArrayDataset(images, labels)."
        )
    if len(data) == 0:
        raise ValueError(f"[{op}] the {name} is empty.")


def _scores(op: str, outputs: object) -> Tensor:
    """What a model returned, or the first of several: auxiliary heads follow."""
    scores = outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
    if not isinstance(scores, Tensor):
        raise TypeError(
            f"[{op}] the model must return scores (N, classes), or a tuple of them and others; got {describe(outputs)}."
        )
    if scores.ndim != 2:
        raise ValueError(f"[{op}] the model must return scores (N, classes); got shape {scores.shape}.")
    return scores


def _default_loss(outputs: Any, labels: Tensor) -> Tensor:
    """Cross-entropy; of GoogLeNet's auxiliary heads as well, with the paper's weight."""
    if isinstance(outputs, GoogLeNetOutputs):
        main, second, first = (cross_entropy(scores, labels) for scores in outputs)
        return main + (first + second) * 0.3
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"[fit] the model returns several outputs, {describe(outputs)}, so it needs a loss of its own: a function of "
            "(outputs, labels)."
        )
    return cross_entropy(outputs, labels)


def _summed(loss: LossFunction, value: Tensor, count: int) -> Tensor:
    """A loss of a batch, summed over its images."""
    if value.size == count > 1:  # one for each image
        return value.sum()
    return value if getattr(loss, "reduction", "mean") == "sum" else value * count


Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _make_step(model: Module, loss: LossFunction, optimizer: optim.Optimizer) -> Step:
    """A training step of (images, labels); returns the loss and the number of right answers."""

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        outputs = model(images)
        scores = _scores("fit", outputs).detach()
        value = loss(outputs, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return _summed(loss, value.detach().to("float64"), len(labels)), (scores.argmax(axis=1) == labels).sum()

    return step


def fit(
    model: Module,
    train: Dataset,
    validation: Dataset | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    optimizer: optim.Optimizer | None = None,
    schedule: str | Callable[[int], float] | None = "onecycle",
    loss: LossFunction | None = None,
    augment: Augmentation | None = None,
    seed: int = 0,
    progress: bool | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    graph: bool = False,
) -> History:
    """Trains a classifier.

    The same seed gives the same weights bit for bit, with any number of threads. Ctrl-C ends training after the current
    step: the model keeps what it has learnt, and ``history.interrupted`` tells.

    A model in evaluation mode, as an earlier fit or cnnx.load leaves it, is trained in all its parts. In a model in training
    mode, modules that are in evaluation mode stay there: so ``model.train(); model.features.eval()`` keeps the statistics of
    the batch normalization in ``features``, while parameters are trained unless they are frozen.

    Args:
        model: maps images (N, C, H, W) to scores (N, classes), or to a tuple that begins with them; trained in place and left
            in evaluation mode. Images are converted to its dtype.
        train: the training set.
        validation: evaluated after every epoch if given.
        epochs: passes over the training set.
        batch_size: images a step.
        lr: the (largest) learning rate.
        weight_decay: of AdamW.
        optimizer: default: AdamW over the model's parameters; lr and weight_decay are its own if one is given. What the
            schedule makes of its rates is undone afterwards.
        schedule: "onecycle" raises the rate and lowers it over the whole run, "constant" or None keeps it; a function gives
            the factor of the rate for each step. Groups of parameters keep the ratio of their rates.
        loss: of (scores, labels), or of what else the model returns, in its place; default: cross-entropy, and 0.3 times that
            of each of GoogLeNet's auxiliary heads.
        augment: random changes of the training images.
        seed: of order, augmentation and dropout.
        progress: show a progress bar; default: if the error stream is a terminal.
        on_epoch: called with each finished epoch.
        graph: run the steps as CUDA graphs (:func:`cnnx.cuda.graph`), which small networks gain much from. The model must
            be on a GPU, and its forward pass and the loss must not wait for it.

    Returns:
        A History with one Epoch for each pass.

    Raises:
        ValueError: for an empty dataset or options out of range.
        TypeError: for what is no dataset, and for a model with several outputs that needs a loss of its own.

    Example:
        >>> import cnnx
        >>> cnnx.manual_seed(0)
        >>> train, test = cnnx.data.digits()
        >>> model = cnnx.models.small_convnet(10, width=8)
        >>> history = cnnx.fit(model, train, epochs=2, lr=0.01)
        >>> history.epochs[-1].accuracy > 0.8
        True
    """
    check_module("fit", model)
    epochs = check_integer("fit", "epochs", epochs)
    _check_data("fit", "training set", train)
    if validation is not None:
        _check_data("fit", "validation set", validation)
    if optimizer is None:
        optimizer = optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    loader = DataLoader(train, batch_size, shuffle=True, augment=augment, seed=seed, device=input_device(model))
    _core.manual_seed(seed)
    step = _make_step(model, loss or _default_loss, optimizer)
    if graph:
        step = cuda.graph(step)
    kept = [module for module in model.modules() if not module.training] if model.training else []
    rates = [group["lr"] for group in optimizer.param_groups]
    steps: optim.LambdaLR | None = None
    history = History()
    start = time.perf_counter()
    try:
        steps = _schedule(schedule, optimizer, epochs * len(loader))
        with Progress(epochs * len(loader), enabled=sys.stderr.isatty() if progress is None else progress) as bar:
            for number in range(1, epochs + 1):
                model.train()
                for module in kept:
                    module.training = False
                epoch = _train_epoch(model, loader, step, steps, bar, number, epochs)
                if validation is not None:
                    result = evaluate(model, validation, loss=loss)
                    epoch.validation_loss, epoch.validation_accuracy = result.loss, result.accuracy
                history.epochs.append(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        if steps is not None:
            for group, rate in zip(optimizer.param_groups, rates, strict=False):
                group["lr"] = rate
    model.eval()
    history.seconds = time.perf_counter() - start
    return history


def _schedule(
    schedule: str | Callable[[int], float] | None, optimizer: optim.Optimizer, steps: int
) -> optim.LambdaLR | None:
    if schedule is None or schedule == "constant":
        return None
    if schedule == "onecycle":
        return optim.OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups], steps)
    if not callable(schedule):
        raise ValueError(f'[fit] schedule must be "onecycle", "constant" or a function; got {schedule!r}.')
    return optim.LambdaLR(optimizer, schedule)


def _train_epoch(
    model: Module,
    loader: DataLoader,
    step: Step,
    schedule: optim.LambdaLR | None,
    bar: Progress,
    number: int,
    epochs: int,
) -> Epoch:
    start = time.perf_counter()
    seen = 0
    device, as_input = input_device(model), input_converter(model)
    # Added up where the model is: reading the figures of every step would wait for every step.
    total, hits = _core.zeros((), dtype="float64", device=device), _core.zeros((), dtype="int64", device=device)

    def figures() -> tuple[float, float]:
        return total.item() / seen, hits.item() / seen

    def text() -> str:
        loss, accuracy = figures()
        speed = seen / (time.perf_counter() - start)
        return f"epoch {number}/{epochs}  loss {loss:.4f}  accuracy {accuracy:.2%}  {speed:,.0f} images/s"

    for batch, classes in loader:
        images, labels = as_input(batch), classes.to(device)
        value, right = step(images, labels)
        if schedule is not None:
            schedule.step()
        total, hits = total + value, hits + right
        seen += len(labels)
        bar.advance(text)
    loss, accuracy = figures()
    seconds = time.perf_counter() - start
    return Epoch(number, loss, accuracy, seconds, seen / seconds)


@no_grad()
def evaluate(model: Module, data: Dataset, batch_size: int = 256, loss: LossFunction | None = None) -> Evaluation:
    """Measures a classifier. The model is in evaluation mode meanwhile.

    Args:
        model: maps images (N, C, H, W) to scores (N, classes), or to a tuple that begins with them. Images are converted to
            its dtype.
        data: images and labels.
        batch_size: images at once.
        loss: of (scores, labels), or of what else the model returns, in its place; default: cross-entropy. It gives the mean
            over the batch, unless its ``reduction`` is "sum" or it gives a value for each image.

    Returns:
        Loss, accuracy and confusion matrix.

    Raises:
        ValueError: for an empty dataset.

    Example:
        >>> import cnnx
        >>> _, test = cnnx.data.digits()
        >>> result = cnnx.evaluate(cnnx.models.small_convnet(), test)
        >>> result.confusion.shape, int(result.confusion.sum()) == len(test)
        ((10, 10), True)
    """
    check_module("evaluate", model)
    _check_data("evaluate", "dataset", data)
    loss = loss or _default_loss
    total, confusion = 0.0, np.zeros((0, 0), np.int64)
    as_input = input_converter(model)
    with evaluating(model):
        for images, labels in DataLoader(data, batch_size, device=input_device(model)):
            outputs = model(as_input(images))
            scores = _scores("evaluate", outputs)
            total += _summed(loss, loss(outputs, labels), len(labels)).item()
            if not confusion.size:
                classes = readable(scores).shape[1]
                confusion = np.zeros((classes, classes), np.int64)
            np.add.at(confusion, (labels.numpy(), scores.argmax(axis=1).numpy()), 1)
    count = int(confusion.sum())
    return Evaluation(total / count, float(np.trace(confusion)) / count, confusion)


@no_grad()
def predict(
    model: Module, images: Dataset | Tensor | npt.ArrayLike | Sequence[object], batch_size: int = 256
) -> npt.NDArray[np.floating[Any]]:
    """Class probabilities of images. The model is in evaluation mode meanwhile.

    Args:
        model: maps images (N, C, H, W) to scores (N, classes), or to a tuple that begins with them. Images are converted to
            its dtype.
        images: (N, C, H, W), an array or a tensor, integers being divided by 255; or a dataset, whose labels are ignored.
        batch_size: images at once.

    Returns:
        Probabilities (N, classes), in the model's dtype (float32 for bfloat16): the softmax of the scores.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> model = cnnx.models.lenet5()
        >>> cnnx.predict(model, np.zeros((2, 1, 32, 32), np.float32)).sum(axis=1).round(4).tolist()
        [1.0, 1.0]
    """
    check_module("predict", model)
    if isinstance(images, Dataset) and not isinstance(images, Tensor | np.ndarray | list | tuple):
        data: Dataset = images
    else:
        pixels = readable(images) if isinstance(images, Tensor) else np.asarray(images)
        data = ArrayDataset(pixels, np.zeros(len(pixels), np.int64))
    as_input = input_converter(model)
    with evaluating(model):
        loader = DataLoader(data, batch_size, device=input_device(model))
        scores = (_scores("predict", model(as_input(batch))) for batch, _ in loader)
        parts = [readable(_core.softmax(each, dim=1)) for each in scores]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
