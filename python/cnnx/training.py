"""Training, evaluation and prediction with one call each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from . import _core, cuda, optim
from ._core import CrossEntropyLoss, Module, Tensor
from ._modes import no_grad
from ._progress import Progress
from .data import ArrayDataset, Augmentation, DataLoader, Dataset

__all__ = ["Epoch", "Evaluation", "History", "evaluate", "fit", "predict"]

LossFunction = Callable[[Tensor, Tensor], Tensor]


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


def _device_of(model: Module) -> _core.Device | str:
    """Where the model's parameters are, and so where its input has to be."""
    return next((parameter.device for parameter in model.parameters()), "cpu")


Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _make_step(model: Module, loss: LossFunction, optimizer: optim.Optimizer) -> Step:
    """A training step of (images, labels); returns the loss and the number of right answers."""

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        scores = model(images)
        value = loss(scores, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach(), (scores.detach().argmax(axis=1) == labels).sum()

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

    Args:
        model: maps images (N, C, H, W) to scores (N, classes); trained in place and left in evaluation mode.
        train: the training set.
        validation: evaluated after every epoch if given.
        epochs: passes over the training set.
        batch_size: images a step.
        lr: the (largest) learning rate.
        weight_decay: of AdamW.
        optimizer: default: AdamW over the model's parameters; lr and weight_decay are its own if one is given.
        schedule: "onecycle" raises the rate and lowers it over the whole run, "constant" or None keeps it; a function gives
            the factor of the rate for each step. Groups of parameters keep the ratio of their rates.
        loss: of (scores, labels); default: cross-entropy.
        augment: random changes of the training images.
        seed: of order, augmentation and dropout.
        progress: show a progress bar; default: if the error stream is a terminal.
        on_epoch: called with each finished epoch.
        graph: run the steps as CUDA graphs (:func:`cnnx.cuda.graph`), which small networks gain much from. The model must
            be on a GPU, and its forward pass and the loss must not wait for it.

    Returns:
        A History with one Epoch for each pass.

    Raises:
        ValueError: for an empty training set or options out of range.

    Example:
        >>> import cnnx
        >>> cnnx.manual_seed(0)
        >>> train, test = cnnx.data.digits()
        >>> model = cnnx.models.small_convnet(10, width=8)
        >>> history = cnnx.fit(model, train, epochs=2, lr=0.01)
        >>> history.epochs[-1].accuracy > 0.8
        True
    """
    if epochs < 1:
        raise ValueError(f"[fit] epochs must be at least 1; got {epochs}.")
    if len(train) == 0:
        raise ValueError("[fit] the training set is empty.")
    _core.manual_seed(seed)
    loader = DataLoader(train, batch_size, shuffle=True, augment=augment, seed=seed, device=_device_of(model))
    if optimizer is None:
        optimizer = optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    steps = _schedule(schedule, optimizer, epochs * len(loader))
    step = _make_step(model, loss or CrossEntropyLoss(), optimizer)
    if graph:
        step = cuda.graph(step)
    history = History()
    start = time.perf_counter()
    with Progress(epochs * len(loader), enabled=sys.stderr.isatty() if progress is None else progress) as bar:
        try:
            for number in range(1, epochs + 1):
                epoch = _train_epoch(model, loader, step, steps, bar, number, epochs)
                if validation is not None:
                    result = evaluate(model, validation, loss=loss)
                    epoch.validation_loss, epoch.validation_accuracy = result.loss, result.accuracy
                history.epochs.append(epoch)
                if on_epoch is not None:
                    on_epoch(epoch)
        except KeyboardInterrupt:
            history.interrupted = True
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
    model.train()
    start = time.perf_counter()
    seen = 0
    device = _device_of(model)
    # Added up where the model is: reading the figures of every step would wait for every step.
    total, hits = _core.zeros((), dtype="float64", device=device), _core.zeros((), dtype="int64", device=device)

    def figures() -> tuple[float, float]:
        return total.item() / seen, hits.item() / seen

    def text() -> str:
        loss, accuracy = figures()
        speed = seen / (time.perf_counter() - start)
        return f"epoch {number}/{epochs}  loss {loss:.4f}  accuracy {accuracy:.2%}  {speed:,.0f} images/s"

    for batch, classes in loader:
        images, labels = batch.to(device), classes.to(device)
        value, right = step(images, labels)
        if schedule is not None:
            schedule.step()
        total, hits = total + value.to("float64") * len(labels), hits + right
        seen += len(labels)
        bar.advance(text)
    loss, accuracy = figures()
    seconds = time.perf_counter() - start
    return Epoch(number, loss, accuracy, seconds, seen / seconds)


@no_grad()
def evaluate(model: Module, data: Dataset, batch_size: int = 256, loss: LossFunction | None = None) -> Evaluation:
    """Measures a classifier. The model is in evaluation mode meanwhile.

    Args:
        model: maps images (N, C, H, W) to scores (N, classes).
        data: images and labels.
        batch_size: images at once.
        loss: of (scores, labels); default: cross-entropy.

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
    if len(data) == 0:
        raise ValueError("[evaluate] the dataset is empty.")
    loss = loss or CrossEntropyLoss()
    training = model.training
    model.eval()
    total, confusion = 0.0, np.zeros((0, 0), np.int64)
    try:
        device = _device_of(model)
        for images, labels in DataLoader(data, batch_size, device=device):
            scores = model(images)
            total += loss(scores, labels).item() * len(labels)
            if not confusion.size:
                confusion = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
            np.add.at(confusion, (labels.numpy(), scores.argmax(axis=1).numpy()), 1)
    finally:
        model.train(training)
    count = int(confusion.sum())
    return Evaluation(total / count, float(np.trace(confusion)) / count, confusion)


@no_grad()
def predict(
    model: Module, images: Dataset | Tensor | npt.ArrayLike | Sequence[object], batch_size: int = 256
) -> npt.NDArray[np.float32]:
    """Class probabilities of images. The model is in evaluation mode meanwhile.

    Args:
        model: maps images (N, C, H, W) to scores (N, classes).
        images: (N, C, H, W), an array or a tensor, integers being divided by 255; or a dataset, whose labels are ignored.
        batch_size: images at once.

    Returns:
        Probabilities (N, classes): the softmax of the scores.

    Example:
        >>> import numpy as np
        >>> import cnnx
        >>> model = cnnx.models.lenet5()
        >>> cnnx.predict(model, np.zeros((2, 1, 32, 32), np.float32)).sum(axis=1).round(4).tolist()
        [1.0, 1.0]
    """
    if isinstance(images, Dataset) and not isinstance(images, Tensor | np.ndarray | list | tuple):
        data: Dataset = images
    else:
        pixels = np.asarray(images)
        data = ArrayDataset(pixels, np.zeros(len(pixels), np.int64))
    training = model.training
    model.eval()
    try:
        device = _device_of(model)
        loader = DataLoader(data, batch_size, device=device)
        parts = [_core.softmax(model(batch), dim=1).numpy() for batch, _ in loader]
    finally:
        model.train(training)
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
