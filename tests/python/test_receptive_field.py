"""Receptive fields against gradients: which pixels of the image change a value."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import meta_model

import cnnx
from cnnx.analysis import receptive_field, receptive_fields
from cnnx.analysis._axis import AxisField, sliding


def probe(model: cnnx.Module, shape: tuple[int, ...], index: tuple[int, int] | None) -> tuple[int, int, int, int]:
    """The first and last row and column of the image that one output depends on: where its gradient is not zero."""
    model = model.eval().to("float64")
    for name, parameter in model.named_parameters():
        parameter.detach().fill_(0.0 if name.endswith("bias") else 0.1)  # positive: nothing cancels, no ReLU closes
    x = cnnx.ones(1, *shape, dtype="float64", requires_grad=True)
    y = model(x)
    gradient = np.zeros(y.shape)
    gradient[(0, 0) if index is None else (0, 0, *index)] = 1.0
    y.backward(cnnx.tensor(gradient))
    seen = np.abs(x.grad.numpy()[0]).sum(0) > 0
    rows, columns = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
    return rows[0], rows[-1], columns[0], columns[-1]


def conv(*args: int, **options: object) -> cnnx.Conv2d:
    return cnnx.Conv2d(1, 1, *args, **options)


STRIDED = conv(3, 2)
BRANCHES = cnnx.Concat(cnnx.Conv2d(1, 1, 1), cnnx.Sequential(conv(3, padding=1), conv(5, padding=2)))

PROBED = [
    cnnx.Sequential(conv(3), conv(3), conv(3)),
    cnnx.Sequential(conv(3, padding=1), cnnx.ReLU(), conv(3, padding=1), cnnx.AvgPool2d(2), conv(3, padding=1)),
    cnnx.Sequential(conv(3, dilation=2, padding=2), conv(3, dilation=4, padding=4)),
    cnnx.Sequential(conv(7, stride=2, padding=3), cnnx.AvgPool2d(3, 2, 1), conv(3, padding=1)),
    cnnx.Sequential(conv((3, 5), stride=(1, 2), padding=(0, 0, 2, 1), dilation=(2, 1)), conv((1, 2))),
    cnnx.Sequential(conv(2, padding="same"), conv(4, padding="same")),
    cnnx.Sequential(conv(5), BRANCHES, cnnx.Conv2d(2, 1, 3, stride=2)),
    cnnx.Sequential(conv(3, stride=2, padding=1), cnnx.Residual(conv(3, padding=1), cnnx.ReLU(), conv(3, padding=1))),
    cnnx.Sequential(cnnx.Residual(conv(3, 2, 1), conv(3, padding=1), downsample=conv(1, 2)), conv(3, padding=1)),
    cnnx.Residual(STRIDED, downsample=STRIDED),
    cnnx.Sequential(cnnx.LPPool2d(2, 3, 3), conv((3, 2)), cnnx.AdaptiveAvgPool2d(2)),
    cnnx.Sequential(conv(3, padding=1), cnnx.BatchNorm2d(1), cnnx.LocalResponseNorm(1), cnnx.GELU()),
]


@pytest.mark.parametrize("model", PROBED, ids=range(len(PROBED)))
def test_fields_equal_the_probe(model: cnnx.Module) -> None:
    shape = (1, 32, 40)
    field = receptive_field(model, shape)
    assert field.notes == ()
    outputs = model.eval().to("float64")(cnnx.zeros(1, *shape, dtype="float64")).shape[2:]
    for index in {(0, 0), (outputs[0] // 2, outputs[1] // 2), (outputs[0] - 1, outputs[1] - 1)}:
        seen = probe(model, shape, index)
        for axis in (0, 1):
            first = field.start[axis] + index[axis] * field.stride[axis]
            last = first + field.size[axis] - 1
            assert seen[2 * axis] == max(0, first)
            assert seen[2 * axis + 1] == min(shape[1 + axis] - 1, last)
            assert field.center[axis] == field.start[axis] + (field.size[axis] - 1) / 2


def seen_lines(model: cnnx.Module, shape: tuple[int, ...], axis: int) -> list[tuple[int, int]]:
    """For each row (axis 0) or column (1) of outputs the first and last row or column of the image that it depends on.

    (0, -1) where it depends on none.
    """
    model = model.eval().to("float64")
    for parameter in model.parameters():
        parameter.detach().fill_(0.1)
    x = cnnx.ones(1, *shape, dtype="float64", requires_grad=True)
    y = model(x)
    found = []
    for line in range(y.shape[2 + axis]):
        gradient = np.zeros(y.shape)
        np.moveaxis(gradient, 2 + axis, 0)[line] = 1
        x.grad = None
        y.backward(cnnx.tensor(gradient), retain_graph=True)
        seen = np.nonzero(np.abs(x.grad.numpy()[0]).sum((0, 2 - axis)) > 1e-12)[0]
        found.append((seen[0], seen[-1]) if len(seen) else (0, -1))
    return found


def up(**options: object) -> cnnx.Upsample:
    return cnnx.Upsample(**options)


def transposed(*args: object, **options: object) -> cnnx.ConvTranspose2d:
    return cnnx.ConvTranspose2d(1, 1, *args, **options)


def half() -> cnnx.Conv2d:
    return conv(4, 2, 1)


def same() -> cnnx.Conv2d:
    return conv(3, padding=1)


# Models whose layers enlarge or pad, and how many outputs at each end see the border in a way of its own.
TO_THE_PIXEL = [
    (up(scale_factor=2), 0),
    (up(scale_factor=3), 0),
    (up(scale_factor=2.5), 0),
    (up(scale_factor=(1, 2)), 0),
    (up(scale_factor=0.5), 0),
    (up(size=(19, 33)), 0),
    (up(size=5), 0),
    (up(scale_factor=2, mode="bilinear"), 0),
    (up(scale_factor=3, mode="bilinear"), 0),
    (up(scale_factor=(1.5, 4), mode="bilinear"), 0),
    (up(size=(9, 7), mode="bilinear"), 0),
    (up(size=(23, 31), mode="bilinear", align_corners=True), 0),
    (up(size=(12, 16), mode="bilinear", align_corners=True), 0),
    (cnnx.Sequential(same(), up(scale_factor=2), same()), 0),
    (cnnx.Sequential(conv(3, 2, 1), up(scale_factor=2, mode="bilinear"), conv(5, padding=2)), 0),
    (cnnx.Sequential(half(), half(), up(scale_factor=4), conv(2)), 0),
    (cnnx.Sequential(up(scale_factor=2), cnnx.AvgPool2d(2)), 0),
    (cnnx.Sequential(up(scale_factor=3), cnnx.AvgPool2d(2), up(scale_factor=2, mode="bilinear")), 0),
    (transposed(2, 2), 0),
    (transposed(3, 2, 1, 1), 0),
    (transposed(4, 2, 1), 0),
    (transposed(3, 1, 1), 0),
    (transposed((3, 5), (2, 3), (0, 2)), 0),
    (transposed(3, 2, 2, 1, dilation=2), 0),
    (transposed(2, 3), 0),  # every third line sees nothing
    (cnnx.Sequential(transposed(2, 3), conv(2)), 0),
    (cnnx.Sequential(transposed(1, 2), conv(2, dilation=2)), 0),  # the gaps meet the lines that see nothing
    (cnnx.Sequential(conv(3, 2, 1), transposed(4, 2, 1), same()), 0),
    (cnnx.Sequential(half(), transposed(3, 2, 1, 1), transposed(3, 3), conv(3, 2)), 0),
    (cnnx.ZeroPad2d(2), 0),
    (cnnx.ZeroPad2d((1, 2, 0, 3)), 0),
    (cnnx.Sequential(cnnx.ZeroPad2d((1, 2, 0, 3)), conv(3, 2), cnnx.ZeroPad2d(1), conv(3)), 0),
    (cnnx.ReflectionPad2d(2), 2),
    (cnnx.Sequential(same(), cnnx.ReflectionPad2d((2, 1, 1, 2)), conv(3), conv(3)), 3),
    (cnnx.Concat(up(scale_factor=2), cnnx.Sequential(transposed(4, 2, 1))), 0),
    (cnnx.Concat(same(), cnnx.Sequential(half(), same(), up(scale_factor=2, mode="bilinear"))), 0),  # as in a U-Net
    (cnnx.Sequential(cnnx.AdaptiveAvgPool2d((5, 7)), same()), 0),
]


@pytest.mark.parametrize(("model", "border"), TO_THE_PIXEL, ids=range(len(TO_THE_PIXEL)))
def test_every_output_sees_the_pixels_that_its_field_names(model: cnnx.Module, border: int) -> None:
    shape = (1, 12, 16)
    field = receptive_field(model, shape)
    for axis in (0, 1):
        lines = seen_lines(model, shape, axis)
        sizes = []
        for output, seen in enumerate(lines):
            first, last = field.pixels(*((output, 0) if axis == 0 else (0, output)))[axis]
            inside = max(first, 0), min(last, shape[1 + axis] - 1)
            if not border <= output < len(lines) - border:
                continue
            if inside[0] > inside[1]:
                inside = 0, -1
            assert seen == inside, (axis, output)
            sizes.append(last - first + 1)
        assert field.size[axis] >= max(sizes)
        assert field.start[axis] == field.pixels(0, 0)[axis][0]
    assert (len(set(sizes)) > 1) <= any("differ in size" in note for note in field.notes)


def test_upsampling_in_numbers() -> None:
    nearest = receptive_field(up(scale_factor=2), (1, 8, 8))
    assert (nearest.size, nearest.stride, nearest.start, nearest.center) == ((1, 1), (0.5, 0.5), (0, 0), (-0.25, -0.25))
    blend = receptive_field(up(scale_factor=2, mode="bilinear"), (1, 8, 8))
    assert (blend.size, blend.stride, blend.start, blend.center) == ((2, 2), (0.5, 0.5), (-1, -1), (-0.25, -0.25))
    assert [blend.pixels(i, i)[0] for i in (0, 1, 2, 3)] == [(-1, 0), (0, 1), (0, 1), (1, 2)]
    aligned = receptive_field(up(size=15, mode="bilinear", align_corners=True), (1, 8, 8))
    assert (aligned.size, aligned.stride, aligned.start) == ((2, 2), (0.5, 0.5), (0, 0))
    assert aligned.notes == ("fields behind Upsample differ in size; the largest is given",)  # every second is a pixel


def test_fields_that_repeat_too_late_are_refused() -> None:
    model = cnnx.Sequential(up(scale_factor=1.37), up(scale_factor=1.37))
    with pytest.raises(ValueError, match=r"fields behind 1 follow no pattern that repeats within a few thousand"):
        receptive_field(model, (1, 24, 24))
    assert cnnx.analysis.summary(model, (1, 24, 24)).rows[-1].receptive_field is None


def test_axis_fields_are_those_of_single_outputs() -> None:
    """Chains of maps against what they mean, output by output."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        maps = []
        for _ in range(rng.integers(1, 4)):
            phases = int(rng.integers(1, 4))
            first = np.sort(rng.integers(-3, 4, phases))
            last = first + rng.integers(-1, 4, phases)  # some see nothing
            gap, advance = (int(rng.integers(1, most)) for most in (3, 9))
            last = first + (last - first) // gap * gap
            maps.append(AxisField(tuple(map(int, first)), tuple(map(int, last)), advance, 100, gap))
        field = sliding(1, 1, 1, 0, 100)
        for layer in maps:
            field = field.through(layer)
        for output in range(-20, 20):
            seen = {output}
            for layer in reversed(maps):
                seen = {i for o in seen for i in range(layer.pixels(o)[0], layer.pixels(o)[1] + 1, layer.gap)}
            first, last = field.pixels(output)
            assert (first, last) == (min(seen), max(seen)) if seen else first > last


def test_linear_layers_see_all_that_is_left() -> None:
    model = cnnx.Sequential(conv(3), cnnx.AvgPool2d(2), cnnx.Flatten(), cnnx.Linear(25, 2))
    field = receptive_field(model, (1, 13, 13))
    assert (field.size, field.start, field.stride) == ((12, 12), (0, 0), (2, 2))
    assert probe(model, (1, 13, 13), None) == (0, 11, 0, 11)


def test_fields_of_the_notes() -> None:
    stack = cnnx.Sequential(*(conv(3, padding=1) for _ in range(3)))
    assert [field.size[0] for field in receptive_fields(stack, (1, 9, 9)).values()] == [3, 5, 7, 7]
    # dilation makes the field grow much faster
    dilated = cnnx.Sequential(*(conv(3, padding=d, dilation=d) for d in (1, 2, 4)))
    assert [field.size[0] for field in receptive_fields(dilated, (1, 32, 32)).values()] == [3, 7, 15, 15]


@pytest.mark.parametrize(
    ("name", "options", "shape", "path", "size", "stride"),
    [
        ("vgg16", {}, (3, 224, 224), "features.30", 212, 32),
        ("vgg16", {}, (3, 224, 224), "classifier.0", 404, 32),
        ("alexnet", {"variant": "notes"}, (3, 227, 227), "features.14", 195, 32),
        ("alexnet", {"variant": "notes"}, (3, 227, 227), "", 355, 32),
        ("resnet18", {}, (3, 224, 224), "layer4", 435, 32),
        ("resnet50", {}, (3, 224, 224), "layer4", 427, 32),
        ("googlenet", {"variant": "2014"}, (3, 224, 224), "inception5b", 715, 32),
        ("googlenet", {"variant": "2014"}, (3, 224, 224), "avgpool", 907, 32),
    ],
)
def test_fields_of_the_case_studies(
    name: str, options: dict[str, object], shape: tuple[int, ...], path: str, size: int, stride: int
) -> None:
    field = receptive_fields(meta_model(name, **options), shape)[path]
    assert (field.size, field.stride) == ((size, size), (stride, stride))


def test_a_module_in_python_passes_fields_on() -> None:
    class Twice(cnnx.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(3, stride=2)

        def forward(self, x: cnnx.Tensor) -> cnnx.Tensor:
            return self.conv(self.conv(x))

    field = receptive_field(Twice(), (1, 20, 20))
    assert (field.size, field.stride) == ((7, 7), (4, 4))


def test_branches_that_do_not_line_up_are_told() -> None:
    shifted = cnnx.Concat(conv(3, padding=(2, 0, 1, 1)), conv(3, padding=1))
    field = receptive_field(shifted, (1, 8, 8))
    assert field.notes == ("the model joins branches whose rows are centred 1 pixels apart",)
    assert (field.size, field.start) == ((4, 3), (-2, -1))
    strides = cnnx.Sequential(cnnx.Concat(conv(2, stride=2), cnnx.Sequential(conv(3), conv(2), conv(2))))
    field = receptive_field(strides, (1, 8, 8))
    assert field.notes[0] == "0 joins branches of strides 2 and 1 along rows"
    assert "note: 0 joins branches" in str(field)
    uneven = receptive_field(cnnx.AdaptiveAvgPool2d(3), (1, 8, 8))
    assert uneven.size == (4, 4)
    assert uneven.notes == ("fields behind AdaptiveAvgPool2d differ in size; the largest is given",)
