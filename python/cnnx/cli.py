"""The ``cnnx`` command: train, evaluate, predict, info; cnnx.analysis and cnnx.viz have the other commands."""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import cnnx
from cnnx.analysis import commands
from cnnx.data import ArrayDataset, Dataset, ImageFolder, RandomAffine, load_image, random_split
from cnnx.training import Epoch
from cnnx.viz.commands import app as viz_app

__all__ = ["main"]

app = typer.Typer(
    help="Trains and runs small convolutional networks.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_HELD_OUT = 0.2
_INTERRUPTED = 130  # the shell's exit code for Ctrl-C

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A model that cnnx train saved.")]
DataOption = Annotated[
    Path | None, typer.Option(help="Folder of class sub-folders with images. Default: the digits that come with cnnx.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="CPU threads. Default: all that the machine grants.")
]


@dataclass
class InputFormat:
    """What images a model takes, kept in its file."""

    channels: int
    height: int
    width: int
    classes: list[str]

    def metadata(self) -> dict[str, str]:
        """As strings for the model file."""
        size = {"channels": self.channels, "height": self.height, "width": self.width}
        return {"cnnx.input": json.dumps(size), "cnnx.classes": json.dumps(self.classes)}

    @staticmethod
    def of_file(path: Path) -> InputFormat:
        """Reads it back. Raises ValueError if the file has none."""
        metadata = cnnx.load_metadata(path)
        try:
            size, classes = json.loads(metadata["cnnx.input"]), json.loads(metadata["cnnx.classes"])
            return InputFormat(
                int(size["channels"]), int(size["height"]), int(size["width"]), [str(c) for c in classes]
            )
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"[cnnx] {path} does not say which images and classes it is for. Was it saved by cnnx train?"
            ) from None


def _small(form: InputFormat) -> cnnx.Sequential:
    return cnnx.models.small_convnet(len(form.classes), form.channels, (form.height, form.width), dropout=0.3)


#: Models by name: how to make one, and the image size it needs, if any.
_MODELS: dict[str, tuple[Callable[[InputFormat], cnnx.Sequential], tuple[int, int] | None]] = {
    "small": (_small, None),
    "lenet5": (lambda form: cnnx.models.lenet5(len(form.classes), form.channels), (32, 32)),
    "cifar": (lambda form: cnnx.models.cifar_net(len(form.classes)), (32, 32)),
}


def _say(text: str = "") -> None:
    print(text, flush=True)


def _report_broken(data: ImageFolder) -> None:
    for path, reason in data.broken:
        print(f"skipped {path}: {reason}", file=sys.stderr)
    if data.broken:
        print(f"skipped {len(data.broken)} broken images of {len(data.broken) + len(data)}", file=sys.stderr)


def _resized(data: ArrayDataset, channels: int, size: tuple[int, int]) -> ArrayDataset:
    """The digits enlarged by whole pixels and repeated over channels, for models that need other images."""
    images = data.images
    down, right = max(1, size[0] // images.shape[2]), max(1, size[1] // images.shape[3])
    images = images.repeat(down, axis=2).repeat(right, axis=3).repeat(channels, axis=1)
    if images.shape[2:] != size:
        raise ValueError(f"[cnnx] the digits can be enlarged to multiples of 8 pixels; got {size[0]}x{size[1]}.")
    return ArrayDataset(images, data.labels, data.classes)


def _training_data(
    folder: Path | None, size: tuple[int, int] | None, channels: int | None
) -> tuple[Dataset, Dataset, InputFormat]:
    """Training set, held-out set, and what the model must take."""
    if folder is None:
        size, channels = size or (8, 8), channels or 1
        train, held_out = (_resized(part, channels, size) for part in cnnx.data.digits())
        return train, held_out, InputFormat(channels, *size, train.classes)
    data = ImageFolder(folder, size=size, channels=channels)
    _report_broken(data)
    form = InputFormat(data.channels, *data.size, data.classes)
    if len(data.classes) == 1:
        raise ValueError(f"[cnnx] {folder} has one class only, {data.classes[0]}; at least 2 are needed to tell apart.")
    held, train_part = random_split(data, [_HELD_OUT, 1 - _HELD_OUT])
    if len(held) == 0 or len(train_part) == 0:
        raise ValueError(f"[cnnx] {folder} has {len(data)} usable images; at least 3 are needed to train and to check.")
    return train_part, held, form


def evaluation_data(folder: Path | None, form: InputFormat) -> Dataset:
    """Images of a folder, or the held-out digits, as the model takes them."""
    size = (form.height, form.width)
    if folder is None:
        digits = cnnx.data.digits()[1]
        if form.classes != digits.classes:
            raise ValueError(
                f"[cnnx] the model is for the classes {', '.join(form.classes)}, not for the digits. "
                "Name a folder of its images with --data."
            )
        return _resized(digits, form.channels, size)
    data = ImageFolder(folder, size=size, channels=form.channels, classes=form.classes)
    _report_broken(data)
    return data


def _check_writable(out: Path) -> None:
    """Before training, not after it."""
    folder = out.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"[cnnx] there is no folder {folder} to save {out.name} in.")
    if out.exists() and not out.is_file():
        raise IsADirectoryError(f"[cnnx] {out} is no file that a model could be saved in.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"[cnnx] {folder} is write-protected, so {out.name} could not be saved there.")


def _print_epoch(epoch: Epoch) -> None:
    held_out = "" if epoch.validation_accuracy is None else f"  held-out accuracy {epoch.validation_accuracy:.2%}"
    _say(
        f"epoch {epoch.number}  loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.2%}{held_out}  "
        f"{epoch.images_per_second:,.0f} images/s"
    )


def _print_confusion(confusion: np.ndarray[tuple[int, ...], np.dtype[np.int64]], classes: list[str]) -> None:
    """The matrix, or for many classes the ten most frequent mistakes."""
    if len(classes) <= 20:
        width = max(6, *(len(name) + 1 for name in classes), len(str(confusion.max())) + 1)
        _say("confusion matrix: rows are the true classes, columns the answers")
        _say(" " * width + "".join(name.rjust(width) for name in classes))
        for name, row in zip(classes, confusion, strict=True):
            _say(name.rjust(width) + "".join(str(count).rjust(width) for count in row))
        return
    mistakes = confusion - np.diag(np.diag(confusion))
    _say("most frequent mistakes:")
    for flat in np.argsort(-mistakes, axis=None, kind="stable")[:10]:
        true, answer = np.unravel_index(flat, confusion.shape)
        if mistakes[true, answer]:
            _say(f"  {classes[true]} taken for {classes[answer]}: {mistakes[true, answer]}")


def _saying_when_interrupted(command: Callable[..., None]) -> Callable[..., None]:
    """For Ctrl-C before training has begun; after that, fit saves what there is. Typer would end without a word."""

    @functools.wraps(command)
    def wrapper(*args: object, **options: object) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            print("interrupted; nothing was saved", file=sys.stderr)
            raise typer.Exit(_INTERRUPTED) from None

    return wrapper


@app.command()
@_saying_when_interrupted
def train(
    data: DataOption = None,
    model: Annotated[str, typer.Option(help="Architecture: small, lenet5 or cifar.")] = "small",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 30,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 32,
    lr: Annotated[float, typer.Option(help="Largest learning rate.")] = 0.01,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="The same seed gives the same model.")] = 0,
    threads: ThreadsOption = None,
    out: Annotated[Path, typer.Option(help="File to save the model in.")] = Path("model.safetensors"),
    image_size: Annotated[
        int | None, typer.Option(min=4, max=2048, help="Resize images to this many pixels square.")
    ] = None,
    curves: Annotated[
        Path | None, typer.Option(help="Picture of loss and accuracy over the epochs; needs cnnx[viz].")
    ] = None,
) -> None:
    """Trains a convnet on a folder of images, or on the digits that come with the package, and saves it."""
    if model not in _MODELS:
        raise ValueError(f"[cnnx] there is no model {model!r}; choose {', '.join(_MODELS)}.")
    _check_writable(out)
    if curves is not None:
        _check_writable(curves)
        cnnx.viz.check_available()
    if threads is not None:
        cnnx.set_num_threads(threads)
    make, needed = _MODELS[model]
    size = needed or ((image_size, image_size) if image_size else None)
    training, held_out, form = _training_data(data, size, 3 if model == "cifar" else None)
    cnnx.manual_seed(seed)
    net = make(form)
    count = sum(parameter.numel() for parameter in net.parameters())
    _say(
        f"{len(training)} training images, {len(held_out)} held out, {len(form.classes)} classes, "
        f"{form.channels} x {form.height} x {form.width} pixels; {model} net with {count:,} parameters"
    )
    history = cnnx.fit(
        net,
        training,
        held_out,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=0.05,
        loss=cnnx.CrossEntropyLoss(label_smoothing=0.1),
        augment=RandomAffine(degrees=10, scale=0.1, shift=max(0.5, min(form.height, form.width) / 16)),
        seed=seed,
        on_epoch=None if sys.stderr.isatty() else _print_epoch,
    )
    cnnx.save(net, out, form.metadata())
    if curves is not None and history.epochs:
        cnnx.viz.training_curves(history).savefig(curves)
    if history.epochs and not math.isfinite(history.epochs[-1].loss):
        print("warning: the loss is no number any more; train with a lower --lr", file=sys.stderr)
    if history.interrupted:
        _say(f"interrupted after {len(history.epochs)} of {epochs} epochs; the model so far is saved in {out}")
        raise typer.Exit(_INTERRUPTED)
    _say(f"held-out accuracy {history.epochs[-1].validation_accuracy:.2%} after {history.seconds:.1f} s; saved {out}")


@app.command()
def evaluate(model: ModelArgument, data: DataOption = None, threads: ThreadsOption = None) -> None:
    """Prints a model's accuracy and its confusion matrix."""
    if threads is not None:
        cnnx.set_num_threads(threads)
    form = InputFormat.of_file(model)
    net = cnnx.load(model)
    images = evaluation_data(data, form)
    result = cnnx.evaluate(net, images)
    _say(f"accuracy {result.accuracy:.2%} on {len(images)} images, loss {result.loss:.4f}")
    _print_confusion(result.confusion, form.classes)


@app.command()
def predict(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name for each image.")] = 3,
) -> None:
    """Names the most probable classes of images."""
    form = InputFormat.of_file(model)
    net = cnnx.load(model)
    failed = 0
    for path in images:
        try:
            pixels = load_image(path, form.channels, (form.height, form.width))
        except (ValueError, OSError) as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
            failed += 1
            continue
        probabilities = cnnx.predict(net, pixels[np.newaxis].astype(np.float32) / np.float32(255))[0]
        best = np.argsort(-probabilities, kind="stable")[:top]
        _say(f"{path}: " + ", ".join(f"{form.classes[i]} {probabilities[i]:.1%}" for i in best))
    if failed:
        raise typer.Exit(1)


@app.command()
def info(model: ModelArgument) -> None:
    """Prints a model's layers, its parameters and the images it takes."""
    net = cnnx.load(model)
    _say(repr(net))
    count = sum(parameter.numel() for parameter in net.parameters())
    size = sum(parameter.numel() * parameter.dtype.itemsize for parameter in net.parameters())
    _say(f"{count:,} parameters, {size / 2**20:.2f} MiB")
    try:
        form = InputFormat.of_file(model)
    except ValueError:
        return
    _say(f"input {form.channels} x {form.height} x {form.width}; classes: {', '.join(form.classes)}")


for _command in (commands.summary, commands.memory, commands.check):
    app.command()(_command)
app.add_typer(viz_app, name="viz")


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"cnnx {cnnx.__version__} ({cnnx.cpu_isa()}, {cnnx.get_num_threads()} threads)")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: turns the library's errors into one line and an exit code."""
    try:
        app()
    except (ValueError, IndexError, OSError, RuntimeError, MemoryError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
