"""The animated convolution: its numbers are the library's, and the page does what it says in a real browser."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest
import reference
from browser import Page, find_chromium
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnx
import cnnx.functional as F


def _data(page):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page)[1])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 3, 3)),
        (
            {
                "input_size": (6, 9),
                "channels": 2,
                "filters": 3,
                "kernel_size": (3, 2),
                "stride": (1, 3),
                "padding": (0, 2),
            },
            (3, 4, 4),
        ),
        ({"input_size": 9, "channels": 1, "filters": 1, "stride": 1, "padding": 0, "dilation": (3, 2)}, (1, 3, 5)),
    ],
)
def test_numbers_are_those_of_conv2d(tmp_path, options, shape):
    data = _data(cnnx.viz.conv_demo(tmp_path / "demo.html", seed=3, **options).read_text(encoding="utf-8"))
    padded, w, b = (np.array(data[name], np.float64) for name in ("padded", "weight", "bias"))
    ph, pw = data["padding"]
    x = padded[:, ph : padded.shape[1] - ph, pw : padded.shape[2] - pw]
    assert padded.sum() == x.sum()
    y = F.conv2d(
        *(cnnx.tensor(np.ascontiguousarray(a)) for a in (x[None], w, b)),
        stride=tuple(data["stride"]),
        padding=(ph, pw),
        dilation=tuple(data["dilation"]),
    ).numpy()[0]
    assert y.shape == shape
    np.testing.assert_array_equal(y, np.array(data["output"]))
    partial = np.array(data["partial"])
    np.testing.assert_array_equal(partial.sum(axis=0) + b[:, None, None], y)
    (i, j), (r, s) = (shape[1] - 1, shape[2] - 1), w.shape[2:]
    (sh, sw), (dh, dw) = data["stride"], data["dilation"]
    window = padded[0, i * sh : i * sh + dh * (r - 1) + 1 : dh, j * sw : j * sw + dw * (s - 1) + 1 : dw]
    assert partial[0, 0, i, j] == (window * w[0, 0]).sum()


def test_values_of_the_caller(tmp_path):
    x, w = np.arange(9.0).reshape(1, 3, 3) / 4, cnnx.ones(1, 1, 2, 2)
    page = cnnx.viz.conv_demo(tmp_path / "d.html", input=x, weight=w, bias=[0.5], stride=1, padding=0).read_text(
        "utf-8"
    )
    assert _data(page)["output"] == [[[2.5, 3.5], [5.5, 6.5]]]
    assert "3x3x1" in page
    assert "(3 - 2 + 2*0)/1 + 1 = 2" in page


@given(
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    seed=st.integers(0, 9),
)
@settings(max_examples=30)
def test_drawn_geometries_against_the_naive_convolution(
    tmp_path_factory, size, channels, filters, kernel, stride, padding, seed
):
    path = tmp_path_factory.getbasetemp() / "drawn.html"
    demo = cnnx.viz.conv_demo(path, size, channels, filters, kernel, stride, padding, seed=seed)
    data = {name: np.array(value, np.float64) for name, value in _data(demo.read_text("utf-8")).items()}
    x = data["padded"][None, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    sides = (padding[0], padding[0], padding[1], padding[1])
    y = reference.conv2d(x, data["weight"], data["bias"], stride, sides, (1, 1), 1)
    np.testing.assert_array_equal(data["output"], y[0])


def test_random_input_has_the_channels_of_a_given_weight(tmp_path):
    page = cnnx.viz.conv_demo(tmp_path / "d.html", weight=np.ones((1, 4, 2, 3))).read_text("utf-8")
    assert np.array(_data(page)["padded"]).shape == (4, 7, 7)
    x = np.ones((2, 5, 5))
    page = cnnx.viz.conv_demo(tmp_path / "d.html", input=x).read_text("utf-8")
    assert np.array(_data(page)["weight"]).shape == (2, 2, 3, 3)


def test_pages_need_no_network_and_repeat(tmp_path):
    first = cnnx.viz.conv_demo(tmp_path / "a.html").read_text("utf-8")
    assert not re.search(r"(src|href)=|https?:|url\(|@import|fetch\(", first)
    assert "@" not in re.sub(r"<style>.*?</style>", "", first, flags=re.DOTALL)
    assert cnnx.viz.conv_demo(tmp_path / "b.html").read_text("utf-8") == first
    assert cnnx.viz.conv_demo(tmp_path / "c.html", seed=1).read_text("utf-8") != first


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if find_chromium() is None:
        pytest.skip("Chromium is not installed")
    folder = tmp_path_factory.mktemp("browser")
    path = cnnx.viz.conv_demo(folder / "demo.html")
    with Page(path, folder / "profile") as opened:
        opened.demo = _data(path.read_text("utf-8"))
        yield opened


@pytest.fixture
def at_first(page):
    page.run("pause(), hovered = null, document.activeElement.blur(), go(0)")
    return page


def _output(page, k, i, j):
    return page.demo["output"][k][i][j]


def _lit(page):
    """The values of the input cells in the window, and the step."""
    cells = page.run("[...document.querySelectorAll('.input .cell.on')].map(e => Number(e.textContent))")
    return np.array(cells, np.float64), page.text("#step")


def test_page_shows_the_numbers(at_first):
    for selector, name in ((".input", "padded"), (".output", "output")):
        shown = at_first.run(f"[...document.querySelectorAll('{selector} .cell')].map(e => Number(e.textContent))")
        assert shown == np.array(at_first.demo[name]).ravel().tolist()
    assert at_first.run("document.querySelectorAll('.input .cell.pad').length") == 3 * (49 - 25)
    assert at_first.run("document.documentElement.scrollWidth <= innerWidth")
    requests = [
        e["params"]["request"]["url"] for e in at_first.events if e.get("method") == "Network.requestWillBeSent"
    ]
    assert [url for url in requests if not url.startswith("file:")] == []
    assert [e for e in at_first.events if e.get("method") == "Runtime.exceptionThrown"] == []


def test_steps_move_the_window_and_show_the_sum(at_first):
    padded, w, b = (np.array(at_first.demo[name], np.float64) for name in ("padded", "weight", "bias"))
    for step in range(18):
        k, i, j = step // 9, step // 3 % 3, step % 3
        window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        cells, text = _lit(at_first)
        assert text == f"step {step + 1} of 18"
        np.testing.assert_array_equal(cells, window.ravel())
        assert float(at_first.text("#total")) == (window * w[k]).sum() + b[k] == _output(at_first, k, i, j)
        at_first.point("#next", click=True)
    assert at_first.text("#step") == "step 1 of 18"
    at_first.point("#back", click=True)
    assert at_first.text("#step") == "step 18 of 18"


def test_play_and_pause(at_first):
    assert at_first.text("#play") == "Play"
    at_first.run("document.getElementById('speed').value = 10")
    at_first.point("#play", click=True)
    assert at_first.text("#play") == "Pause"
    deadline = time.monotonic() + 10
    while at_first.text("#step") in ("step 1 of 18", "step 2 of 18"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    at_first.point("#play", click=True)
    stopped = at_first.text("#step")
    time.sleep(0.7)  # two steps at this speed
    assert at_first.text("#step") == stopped
    assert at_first.text("#play") == "Play"


def test_pointing_shows_an_output_and_leaving_returns(at_first):
    at_first.point('[data-step="14"]')
    assert at_first.text("#step") == "step 15 of 18"
    assert float(at_first.text("#total")) == _output(at_first, 1, 1, 2)
    at_first.point("h1")
    assert at_first.text("#step") == "step 1 of 18"
    at_first.point(".input .cell:nth-child(17)")  # row 2, column 2 of the padded input, which four windows read
    readers = at_first.run("[...document.querySelectorAll('.output .cell.reads')].map(e => Number(e.dataset.step))")
    assert readers == [0, 1, 3, 4, 9, 10, 12, 13]
    at_first.point('[data-step="5"]', click=True)
    at_first.point("h1")
    assert at_first.text("#step") == "step 6 of 18"


def test_keyboard(at_first):
    for key, step in (
        ("ArrowRight", 2),
        ("ArrowRight", 3),
        ("ArrowLeft", 2),
        ("End", 18),
        ("ArrowRight", 1),
        ("End", 18),
        ("Home", 1),
    ):
        at_first.press(key)
        assert at_first.text("#step") == f"step {step} of 18"
    at_first.press(" ")
    assert at_first.text("#play") == "Pause"
    at_first.press(" ")
    assert at_first.text("#play") == "Play"
    at_first.run("document.querySelector('[data-step=\"0\"]').focus()")
    at_first.press("ArrowDown")
    assert at_first.text("#step") == "step 4 of 18"
    assert at_first.run("document.activeElement.dataset.step") == "3"
    assert at_first.run("[...document.querySelectorAll('.output .cell')].filter(e => e.tabIndex === 0).length") == 1


def test_screenshot(at_first, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    at_first.run("go(4)")
    at_first.screenshot(tmp_path / "demo.png")
    picture = np.asarray(Image.open(tmp_path / "demo.png").convert("RGB"))
    for color in ((0xD6, 0xE9, 0xF5), (0xFB, 0xE3, 0xD3), (0x00, 0x78, 0x5A)):  # input, active filter, current output
        assert (picture == color).all(axis=2).sum() > 500
