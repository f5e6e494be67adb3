"""The commands ``cnnx viz ...``, each of which writes one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import cnnx
from cnnx import viz
from cnnx.analysis.commands import InputOption, ModelArgument, resolve_model, zoo_model
from cnnx.viz._figure import Array
from cnnx.viz._images import DEVIATION, MEAN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["app"]

app = typer.Typer(help="Draws pictures of models.", no_args_is_help=True)

WeightsOption = Annotated[
    Path | None, typer.Option(help="File with the weights of a model of cnnx.models: .safetensors, .npz or .pth.")
]
ImageArgument = Annotated[
    Path | None, typer.Argument(help="An image file. Default, for models of the digits: the first held-out one.")
]
NormalizeOption = Annotated[
    bool,
    typer.Option("--imagenet", help="Scale pixels as torchvision's weights expect, by ImageNet's mean and deviation."),
]
LayersOption = Annotated[list[str] | None, typer.Option("--layer", help="A layer's name; may be given several times.")]


def _out(name: str) -> Any:
    return typer.Option("--out", help=f"File to write; its ending says the format. Default: {name}.")


def _save(figure: Figure, out: Path) -> None:
    figure.savefig(out, bbox_inches="tight")
    print(f"wrote {out}")


def _model(name: str, weights: Path | None, input_text: str | None) -> tuple[cnnx.Module, tuple[int, ...]]:
    """A model with values, and the shape of its images."""
    model, shape = resolve_model(name, input_text)
    if weights is not None:
        make = zoo_model(name)
        if make is None:
            raise ValueError(f"[cnnx] --weights is for models of cnnx.models; {name!r} is none.")
        model = make()
        cnnx.load_weights(model, weights)
    elif any(parameter.device.type == "meta" for parameter in model.parameters()):
        raise ValueError(f"[cnnx] {name} is a model without values. Give a saved file, or --weights.")
    return model, shape


def _classes(name: str) -> list[str] | None:
    from cnnx.cli import InputFormat

    try:
        return InputFormat.of_file(Path(name)).classes
    except (ValueError, OSError):
        return None


def _first_digit(name: str) -> Array:
    from cnnx.cli import InputFormat, evaluation_data

    if not Path(name).exists():
        raise ValueError(f"[cnnx] {name} is no file of a model for the digits. Name an image file.")
    return np.asarray(evaluation_data(None, InputFormat.of_file(Path(name)))[0][0])


def _image(name: str, path: Path | None, shape: tuple[int, ...], imagenet: bool = False) -> Array:
    """The image as the model takes it, values from 0 to 1 unless scaled."""
    if len(shape) != 3:
        raise ValueError(f"[cnnx] the model takes no images, but inputs of shape {shape}.")
    if path is not None:
        pixels = cnnx.data.load_image(path, shape[0], (shape[1], shape[2])).astype(np.float32) / np.float32(255)
    else:
        pixels = _first_digit(name)
    if imagenet:
        if shape[0] != 3:
            raise ValueError(f"[cnnx] --imagenet is for models of 3 channels; this one has {shape[0]}.")
        pixels = (pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(DEVIATION, (3, 1, 1))
    return pixels


@app.command()
def filters(
    model: ModelArgument,
    layer: Annotated[str | None, typer.Option(help="The convolution's name. Default: the first one.")] = None,
    weights: WeightsOption = None,
    out: Annotated[Path, _out("filters.png")] = Path("filters.png"),
) -> None:
    """Draws the filters of a convolution."""
    _save(viz.filter_grid(_model(model, weights, None)[0], layer), out)


@app.command()
def activations(
    model: ModelArgument,
    image: ImageArgument = None,
    layer: LayersOption = None,
    maps: Annotated[int, typer.Option(min=1, help="Maps of each layer.")] = 10,
    weights: WeightsOption = None,
    imagenet: NormalizeOption = False,
    input: InputOption = None,
    out: Annotated[Path, _out("activations.png")] = Path("activations.png"),
) -> None:
    """Draws the feature maps of an image, layer by layer."""
    net, shape = _model(model, weights, input)
    pixels = _image(model, image, shape, imagenet)
    _save(viz.activation_maps(net, pixels, layer, maps=maps, classes=_classes(model)), out)


@app.command()
def saliency(
    model: ModelArgument,
    image: ImageArgument = None,
    target: Annotated[int | None, typer.Option(min=0, help="Class number. Default: that of the highest score.")] = None,
    weights: WeightsOption = None,
    imagenet: NormalizeOption = False,
    input: InputOption = None,
    out: Annotated[Path, _out("saliency.png")] = Path("saliency.png"),
) -> None:
    """Draws which pixels the score of a class depends on."""
    net, shape = _model(model, weights, input)
    pixels = _image(model, image, shape, imagenet)
    _save(viz.saliency(net, pixels, target, classes=_classes(model)), out)


@app.command()
def receptive_field(
    model: ModelArgument,
    image: Annotated[Path | None, typer.Argument(help="An image file to draw over. Default: none.")] = None,
    layer: LayersOption = None,
    at: Annotated[tuple[float, float] | None, typer.Option(help="Row and column. Default: the middle.")] = None,
    input: InputOption = None,
    out: Annotated[Path, _out("receptive_field.png")] = Path("receptive_field.png"),
) -> None:
    """Draws which pixels values of some layers depend on."""
    net, shape = resolve_model(model, input)
    _save(viz.receptive_field(net, shape if image is None else _image(model, image, shape), layer, at=at), out)


@app.command()
def architecture(
    model: ModelArgument,
    input: InputOption = None,
    out: Annotated[Path, _out("architecture.png")] = Path("architecture.png"),
) -> None:
    """Draws a model as volumes, layer by layer."""
    net, shape = resolve_model(model, input)
    _save(viz.architecture(net, shape, name=None if "->" in model else Path(model).name), out)


@app.command()
def confusion(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that cnnx train saved.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of class sub-folders with images. Default: the held-out digits.")
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Write shares in place of counts.")] = False,
    out: Annotated[Path, _out("confusion.png")] = Path("confusion.png"),
) -> None:
    """Draws which classes a model takes for which."""
    from cnnx.cli import InputFormat, evaluation_data

    form = InputFormat.of_file(model)
    result = cnnx.evaluate(cnnx.load(model), evaluation_data(data, form))
    _save(viz.confusion_matrix(result, form.classes, percent=percent), out)


@app.command()
def conv_demo(
    size: Annotated[int, typer.Option(min=1, help="Height and width of the input.")] = 5,
    channels: Annotated[int, typer.Option(min=1, help="Channels of the input.")] = 3,
    filters: Annotated[int, typer.Option(min=1, help="Number of filters.")] = 2,
    kernel_size: Annotated[int, typer.Option(min=1, help="Height and width of the filters.")] = 3,
    stride: Annotated[int, typer.Option(min=1, help="Steps of the window.")] = 2,
    padding: Annotated[int, typer.Option(min=0, help="Zeros around the input.")] = 1,
    dilation: Annotated[int, typer.Option(min=1, help="Distance between the pixels a filter reads.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the random numbers.")] = 0,
    out: Annotated[Path, _out("conv_demo.html")] = Path("conv_demo.html"),
) -> None:
    """Writes the notes' animated convolution as a page for the browser."""
    viz.conv_demo(out, size, channels, filters, kernel_size, stride, padding, dilation, seed=seed)
    print(f"wrote {out}")
