"""Patterns: the notes' examples, inferred sizes, errors that point into the text, and the way back."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cnnx
from cnnx.patterns.build import plan

_CIFAR = {"input_shape": (3, 32, 32), "classes": 10}


def _layers(model: cnnx.Module) -> list[str]:
    return [repr(layer) for layer in model.children()]


# ---- The four examples of the notes


def test_linear_classifier():
    model = cnnx.pattern("INPUT -> FC", **_CIFAR)
    assert _layers(model) == _layers(cnnx.Sequential(cnnx.Flatten(), cnnx.Linear(3072, 10)))


def test_one_convolution():
    model = cnnx.pattern("INPUT -> CONV -> RELU -> FC", **_CIFAR, filters=12)
    expected = cnnx.Sequential(
        cnnx.Conv2d(3, 12, 3, padding=1), cnnx.ReLU(), cnnx.Flatten(), cnnx.Linear(12 * 1024, 10)
    )
    assert _layers(model) == _layers(expected)


def test_one_convolution_before_every_pooling():
    model = cnnx.pattern("INPUT -> [CONV -> RELU -> POOL]*2 -> FC -> RELU -> FC", **_CIFAR, filters=8, hidden=20)
    expected = cnnx.Sequential(
        *(cnnx.Conv2d(3, 8, 3, padding=1), cnnx.ReLU(), cnnx.MaxPool2d(2)),
        *(cnnx.Conv2d(8, 16, 3, padding=1), cnnx.ReLU(), cnnx.MaxPool2d(2)),
        *(cnnx.Flatten(), cnnx.Linear(16 * 64, 20), cnnx.ReLU(), cnnx.Linear(20, 10)),
    )
    assert _layers(model) == _layers(expected)


def test_two_convolutions_before_every_pooling():
    text = "INPUT -> [CONV -> RELU -> CONV -> RELU -> POOL]*3 -> [FC -> RELU]*2 -> FC"
    model = cnnx.pattern(text, **_CIFAR, filters=4)
    assert [m.out_channels for m in model if isinstance(m, cnnx.Conv2d)] == [4, 4, 8, 8, 16, 16]
    assert [m.out_features for m in model if isinstance(m, cnnx.Linear)] == [256, 256, 10]
    assert model(cnnx.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("m", [0, 2])
@pytest.mark.parametrize("k", [0, 2])
def test_the_general_pattern(n, m, k):
    text = "INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC"
    model = cnnx.pattern(text, N=n, M=m, K=k, **_CIFAR, filters=4, hidden=8)
    kinds = [type(layer).__name__ for layer in model]
    assert (kinds.count("Conv2d"), kinds.count("MaxPool2d"), kinds.count("Linear")) == (n * m, m, k + 1)
    assert model(cnnx.zeros(1, 3, 32, 32)).shape == (1, 10)


# ---- Sizes, numbers, options


def test_vgg_by_its_pattern():
    text = """INPUT -> [CONV3-64 -> RELU]*2 -> POOL2 -> [CONV3-128 -> RELU]*2 -> POOL2 -> [CONV3-256 -> RELU]*3 -> POOL2
        -> [[CONV3-512 -> RELU]*3 -> POOL2]*2 -> [FC4096 -> RELU -> DROPOUT]*2 -> FC"""
    specs = plan(text, input_shape=(3, 224, 224), classes=1000)
    weights = 0
    for layer, arguments, _, _ in specs:
        if layer is cnnx.Conv2d:
            weights += arguments["in_channels"] * arguments["out_channels"] * 9 + arguments["out_channels"]
        elif layer is cnnx.Linear:
            weights += (arguments["in_features"] + 1) * arguments["out_features"]
    assert weights == 138_357_544
    assert [shape for layer, _, _, shape in specs if layer is cnnx.MaxPool2d][-1] == (512, 7, 7)


def test_alexnet_of_the_notes_by_its_pattern():
    text = cnnx.pattern_of(cnnx.models.alexnet(variant="notes"))
    assert text == (
        "INPUT -> CONV11-96/4P0 -> RELU -> LRN5 -> POOL3/2 -> CONV5-256 -> RELU -> LRN5 -> POOL3/2 -> [CONV3-384 -> RELU]*2"
        " -> CONV3-256 -> RELU -> POOL3/2 -> [DROPOUT0.5 -> FC4096 -> RELU]*2 -> FC1000"
    )
    specs = plan(text, input_shape=(3, 227, 227))
    assert [shape for layer, _, _, shape in specs if layer is cnnx.Conv2d] == [
        *((96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13))
    ]
    assert [shape for layer, _, _, shape in specs if layer is cnnx.Flatten] == [(9216,)]


def test_growth_and_defaults():
    def channels(**options):
        model = cnnx.pattern("INPUT -> [CONV -> POOL]*3", input_shape=(1, 32, 32), **options)
        return [m.out_channels for m in model if isinstance(m, cnnx.Conv2d)]

    assert channels() == [32, 64, 128]
    assert channels(filters=5, growth=1) == [5, 5, 5]
    model = cnnx.pattern(
        "INPUT -> CONV -> CONV1 -> CONV-7/2 -> DROPOUT", input_shape=(1, 9, 9), kernel_size=5, dropout=0.1
    )
    assert [(m.kernel_size, m.padding) for m in model if isinstance(m, cnnx.Conv2d)] == [
        *(((5, 5), (2, 2)), ((1, 1), (0, 0)), ((5, 5), (2, 2)))
    ]
    assert model(cnnx.zeros(1, 1, 9, 9)).shape == (1, 7, 5, 5)
    assert model[3].p == pytest.approx(0.1)


def test_optional_steps_that_do_not_fit_are_left_out():
    text = "INPUT -> [CONV -> RELU -> POOL?]*4 -> FC"

    def pools(size, **options):
        model = cnnx.pattern(text, input_shape=(1, *size), classes=2, filters=2, **options)
        assert model(cnnx.zeros(1, 1, *size)).shape == (1, 2)
        return [type(layer) for layer in model].count(cnnx.MaxPool2d)

    assert pools((32, 32)) == 4
    assert pools((32, 4)) == 2
    assert pools((32, 32), optional=False) == 0


def test_sizes_follow_the_fit_mode():
    text = "INPUT -> POOL -> FC"
    sizes = {}
    for mode in ("floor", "ceil"):
        with cnnx.fit_mode(mode):
            model = cnnx.pattern(text, input_shape=(1, 5, 5), classes=2)
            assert model(cnnx.zeros(1, 1, 5, 5)).shape == (1, 2)
            sizes[mode] = model[2].in_features
    assert sizes == {"floor": 4, "ceil": 9}
    with cnnx.fit_mode("strict"), pytest.raises(ValueError, match=r"height 5 does not fit kernel 2, stride 2"):
        cnnx.pattern(text, input_shape=(1, 5, 5), classes=2)


def test_small_letters_spaces_and_lines():
    a = cnnx.pattern("input->[conv5-4->relu->pool3/2]*2->fc", **_CIFAR)
    b = cnnx.pattern("INPUT\n -> [ CONV5-4\t-> RELU -> POOL3/2 ] * 2\n -> FC", **_CIFAR)
    assert repr(a) == repr(b)


# ---- Errors


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("", "expected a layer; the pattern ends here.", 0),
        ("CONV -> FC", "a pattern begins with INPUT.", 0),
        ("INPUT*2 -> FC", "a pattern begins with INPUT.", 0),
        ("INPUT ->", "expected a layer; the pattern ends here.", 8),
        ("INPUT -> -> FC", 'expected a layer; got "->".', 9),
        ("INPUT CONV", 'expected "->"; got "CONV".', 6),
        ("INPUT -> [CONV", 'expected "->" or the "]" of the "[" in column 10; the pattern ends here.', 14),
        ("INPUT -> CONV] -> FC", '"]" has no "[" before it.', 13),
        ("INPUT -> [] -> FC", 'expected a layer; got "]".', 10),
        ("INPUT -> CONV* -> FC", 'expected a number or a name behind "*"; got "->".', 15),
        ("INPUT -> CONV*N -> FC", "N has no value. Pass it by name: pattern(..., N=2).", 14),
        ("INPUT -> CONV*2*2 -> FC", 'a step takes one "*" and after it one "?" at most.', 15),
        ("INPUT -> POOL?? -> FC", 'a step takes one "*" and after it one "?" at most.', 14),
        ("INPUT -> FC!", "unexpected character '!'.", 11),
        ("INPUT -> REUL -> FC", '"REUL" is no layer. Layers are INPUT, CONV, CONV3-64', 9),
        ("INPUT -> INPUT", "INPUT comes once, at the beginning.", 9),
        ("INPUT -> FC12345678", "numbers have at most 7 digits; got 8.", 9),
        ("INPUT -> POOL0 -> FC", "size must be at least 1; got 0.", 9),
        ("INPUT -> DROPOUT7 -> FC", "the rate of DROPOUT must lie in [0, 1]; got 7.", 9),
        ("INPUT -> FC -> BN -> FC", "BN needs a volume; here is a vector of 256 values, behind FC.", 15),
        ("INPUT -> [POOL]*7 -> FC", "POOL does not fit the volume of 1 x 1: [max_pool2d] kernel 2", 10),
        ("INPUT -> CONV9P0 -> CONV40P0 -> FC", "CONV does not fit the volume of 24 x 24: [conv2d] kernel 40", 20),
        ("INPUT -> POOL2P2 -> FC", "[max_pool2d] padding must be at most half the kernel", 9),
        ("INPUT -> POOL*9999999 -> FC", "a pattern has at most 10000 layers; got more.", 9),
        ("INPUT -> RELU*9000 -> RELU*9000 -> FC", "a pattern has at most 10000 layers; got more.", 22),
        ("INPUT -> CONV3-999999 -> CONV3-999999 -> FC", "the limit is 1,073,741,824.", 25),
        ("INPUT -> FC20", "this FC layer gives 20 scores; classes=10.", 9),
        ("INPUT -> " + "[" * 60, "brackets nest at most 50 deep.", 59),
    ],
)
def test_errors_point_at_the_place(text, message, column):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        cnnx.pattern(text, **_CIFAR)
    assert type(caught.value) is ValueError
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("[pattern] ")
    assert lines[-2:] == [f"  {text[:120]}", "  " + " " * column + "^"]


def test_errors_show_the_line_and_a_part_of_a_long_one():
    with pytest.raises(ValueError, match=re.escape("\n   -> FOO -> FC\n      ^")):
        cnnx.pattern("INPUT -> CONV\n -> FOO -> FC", **_CIFAR)
    with pytest.raises(ValueError, match="FOO") as caught:
        cnnx.pattern("INPUT -> " + "RELU -> " * 100 + "FOO -> FC", **_CIFAR)
    shown, caret = str(caught.value).split("\n")[1:]
    assert shown[caret.index("^") :].startswith("FOO")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (3, 32)}, "input_shape must be (channels, height, width), at least 1 each; got (3, 32)."),
        (
            {"input_shape": (3, 0, 32)},
            "input_shape must be (channels, height, width), at least 1 each; got (3, 0, 32).",
        ),
        ({"N": 2}, 'N=2 is given, but nothing is repeated "*N".'),
        ({"N": -1}, "N must be an integer of at least 0; got -1."),
        ({"filters": 0}, "filters must be an integer of at least 1; got 0."),
        ({"filters": 2.5}, "filters must be an integer of at least 1; got 2.5."),
        ({"classes": True}, "classes must be an integer of at least 1; got True."),
        ({"classes": None}, "how many scores? Pass classes=..., or write the number: FC10."),
        ({"classes": 2**30}, "the limit is 1,073,741,824."),
        ({"dropout": 2}, "dropout must lie in [0, 1]; got 2."),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cnnx.pattern("INPUT -> FC", **{**_CIFAR, **options})


def test_other_bad_calls():
    with pytest.raises(TypeError, match="expected a string; got int"):
        cnnx.pattern(3, **_CIFAR)
    with pytest.raises(ValueError, match="no FC layer gives scores"):
        cnnx.pattern("INPUT -> CONV", **_CIFAR)
    with pytest.raises(ValueError, match="at most 100000 characters"):
        cnnx.pattern("INPUT -> " + "RELU -> " * 20_000 + "FC", **_CIFAR)


def test_empty_repeats_end_at_once():
    assert len(cnnx.pattern("INPUT -> [[[CONV*0]*9999999]*9999999]*9999999 -> FC", **_CIFAR)) == 2


_TOKENS = (
    "INPUT CONV CONV3-4 CONV5-3/2P0 RELU POOL POOL3/2 FC FC7 BN LRN DROPOUT [ ] *2 *N * ? *0 3 - é *9999999 CONV9999999"
)
_PIECES = st.sampled_from([*_TOKENS.split(), "->", " -> ", " -> ", " ", "\n"])


@given(st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=25).map("".join)), st.integers(0, 3))
@example("INPUT -> [CONV -> RELU -> POOL?]*N -> FC", 3)
def test_nothing_but_value_errors(text, n):
    for start in ("", "INPUT -> "):
        try:
            specs = plan(start + text, input_shape=(2, 9, 7), classes=3, filters=2, hidden=5, N=n)
        except ValueError:
            continue
        if specs and len(specs) < 200:
            layers = [layer(**arguments) for layer, arguments, _, _ in specs]
            assert cnnx.Sequential(*layers).eval()(cnnx.zeros(1, 2, 9, 7)).shape == (1, *specs[-1].shape)


def _chains() -> st.SearchStrategy[str]:
    token = st.sampled_from(["CONV", "CONV3-4", "CONV5-3P2", "RELU", "POOL", "POOL3/2P1", "BN", "LRN", "DROPOUT0.25"])
    group = st.recursive(
        token,
        lambda inner: st.tuples(st.lists(inner, min_size=1, max_size=3), st.integers(0, 3)).map(
            lambda made: f"[{' -> '.join(made[0])}]*{made[1]}"
        ),
        max_leaves=6,
    )
    return st.lists(group, max_size=4).map(lambda steps: " -> ".join(["INPUT", *steps, "FC9", "RELU", "FC"]))


@given(_chains())
def test_the_way_back(text):
    options = {"input_shape": (2, 64, 64), "classes": 3, "filters": 2, "growth": 1}
    try:
        model = cnnx.pattern(text, **options)
    except ValueError:
        return
    again = cnnx.pattern(cnnx.pattern_of(model), **options)
    assert repr(again) == repr(model)
    assert cnnx.pattern_of(again) == cnnx.pattern_of(model)


@pytest.mark.parametrize(
    "text",
    [
        "INPUT -> FC",
        "INPUT -> CONV -> RELU -> FC",
        "INPUT -> [CONV -> RELU -> POOL]*2 -> FC -> RELU -> FC",
        "INPUT -> [[CONV -> RELU]*2 -> POOL]*3 -> [FC -> RELU]*2 -> FC",
    ],
)
def test_structure_of_the_notes_examples(text):
    assert cnnx.pattern_of(cnnx.pattern(text, **_CIFAR, filters=2), numbers=False) == text


def test_nets_that_patterns_cannot_say():
    with pytest.raises(ValueError, match=r'\[pattern_of\] no pattern can say layer "avgpool": AdaptiveAvgPool2d'):
        cnnx.pattern_of(cnnx.models.alexnet())
    for layer in (
        cnnx.Conv2d(1, 1, (1, 3)),
        cnnx.Conv2d(2, 2, 1, groups=2),
        cnnx.Conv2d(1, 1, 3, bias=False),
        cnnx.GELU(),
    ):
        with pytest.raises(ValueError, match=r'layer "0.1"'):
            cnnx.pattern_of(cnnx.Sequential(cnnx.Sequential(cnnx.ReLU(), layer)))
    with pytest.raises(ValueError, match="expected a Sequential; got Linear"):
        cnnx.pattern_of(cnnx.Linear(1, 1))


def test_pattern_of_a_real_net_trains():
    train, test = cnnx.data.digits()
    cnnx.manual_seed(0)
    text = "INPUT -> [CONV -> BN -> RELU -> POOL]*2 -> FC"
    model = cnnx.pattern(text, input_shape=(1, 8, 8), classes=10, filters=8)
    cnnx.fit(model, train, epochs=3, lr=0.02)
    assert cnnx.evaluate(model, test).accuracy > 0.9
    assert np.isfinite(cnnx.predict(model, test.images)).all()


def test_integers_of_numpy():
    options = {"input_shape": np.array([3, 8, 8]), "classes": np.int64(2), "filters": np.int32(4), "N": np.uint8(2)}
    made = cnnx.pattern("INPUT -> CONV*N -> FC", **options)
    assert repr(made) == repr(cnnx.pattern("INPUT -> CONV*2 -> FC", input_shape=(3, 8, 8), classes=2, filters=4))
    assert cnnx.pattern_of(made, input_shape=np.array([3, 8, 8])) == "INPUT -> CONV3-4*2 -> FC2"
