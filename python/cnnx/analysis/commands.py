"""The commands ``cnnx summary``, ``cnnx memory`` and ``cnnx check``."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

import cnnx
from cnnx.analysis import check_sizes, memory_report, suggest_batch_size
from cnnx.analysis import summary as summarize
from cnnx.analysis._units import format_bytes

__all__ = ["check", "memory", "resolve_model", "summary", "zoo_model"]

Shape = tuple[int, ...]

_ARROW = "->"
_INPUTS = {
    "lenet5": (1, 32, 32),
    "cifar_net": (3, 32, 32),
    "small_convnet": (1, 8, 8),
    "all_convolutional": (3, 32, 32),
}

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model of cnnx.models such as vgg16, a pattern, or a saved file.")
]
InputOption = Annotated[
    str | None,
    typer.Option("--input", help="Shape of one image, CHANNELSxHEIGHTxWIDTH. Default: the model's usual one."),
]


def _parse_input(text: str) -> Shape:
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise ValueError(f"[cnnx] --input must be a shape such as 3x224x224; got {text!r}.")
    return tuple(int(size) for size in text.split("x"))


def _saved_input(path: Path) -> Shape | None:
    from cnnx.cli import InputFormat

    try:
        form = InputFormat.of_file(path)
    except ValueError:
        return None
    return form.channels, form.height, form.width


def zoo_model(name: str) -> Callable[[], cnnx.Module] | None:
    """The function of ``cnnx.models`` that makes a model, by its name in small or capital letters."""
    make: Callable[[], cnnx.Module] | None = getattr(cnnx.models, name.lower(), None)
    return make if name.lower() in cnnx.models.__all__ else None


def resolve_model(name: str, input_text: str | None) -> tuple[cnnx.Module, Shape]:
    """The model of a name in ``cnnx.models``, of a pattern or of a saved file, and the shape of its images.

    A model of ``cnnx.models`` comes without values, so that a large one costs no time.

    Raises:
        ValueError: for an unknown name, or where the shape of the images is neither given nor known.
    """
    shape = _parse_input(input_text) if input_text is not None else None
    if _ARROW in name or name.strip().upper() == "INPUT":
        shape = shape or (3, 224, 224)
        with cnnx.Device("meta"):
            model: cnnx.Module = cnnx.pattern(name, input_shape=shape)
        return model, shape
    make = zoo_model(name)
    if make is not None:
        with cnnx.Device("meta"):
            return make(), shape or _INPUTS.get(name.lower(), (3, 224, 224))
    path = Path(name)
    if not path.is_file():
        known = [each for each in cnnx.models.__all__ if each.islower()]
        near = get_close_matches(name.lower(), known, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ValueError(f"[cnnx] there is neither a model nor a file {name!r}. {hint}Models are {', '.join(known)}.")
    shape = shape or _saved_input(path)
    if shape is None:
        raise ValueError(f"[cnnx] {name} does not say which images it takes. Give --input, such as 3x224x224.")
    return cnnx.load(path), shape


def summary(
    model: ModelArgument,
    input: InputOption = None,
    style: Annotated[str, typer.Option(help='"table", or "notes" for the form of the CS231n notes.')] = "table",
) -> None:
    """Prints a model's layers: shapes, weights, FLOPs, receptive fields, memory."""
    net, shape = resolve_model(model, input)
    print(summarize(net, shape, style=style))


def memory(
    model: ModelArgument,
    input: InputOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    optimizer: Annotated[str, typer.Option(help="sgd, momentum, adam, adamw, rmsprop or adagrad.")] = "momentum",
    mode: Annotated[str, typer.Option(help='"train" or "infer".')] = "train",
    limit: Annotated[str | None, typer.Option(help='Find the largest batch that fits, such as "6 GB".')] = None,
) -> None:
    """Predicts the memory of training or of scoring, to the byte, without running the model."""
    net, shape = resolve_model(model, input)
    if limit is not None:
        batch_size = suggest_batch_size(net, shape, limit, optimizer, mode)
        print(f"the largest batch within {limit} has {batch_size} images")
    report = memory_report(net, shape, batch_size, optimizer, mode)
    print(report)
    print(f"  {'of it between steps':<40}{format_bytes(report.state_bytes):>12}")


def check(model: ModelArgument, input: InputOption = None) -> None:
    """Checks a model's sizes against the rules of thumb of the CS231n notes."""
    net, shape = resolve_model(model, input)
    findings = check_sizes(net, shape)
    for finding in findings:
        print(f"{finding.rule}: {finding.path + ': ' if finding.path else ''}{finding.message}")
        print(f"    why: {finding.reason}\n    try: {finding.suggestion}")
    print(f"{len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}")
