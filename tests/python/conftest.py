"""Fixtures of all tests: a fixed seed, restored global settings, and hypothesis without time limits."""

from __future__ import annotations

import os
from collections.abc import Iterator

import helpers
import pytest
from hypothesis import HealthCheck, settings

import cnnx

os.environ.setdefault("SKBUILD_EDITABLE_VERBOSE", "0")  # an editable install would write into what tests read

os.environ["CNNX_AUTOTUNE_CACHE"] = ""  # tests leave the user's file alone

settings.register_profile("default", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=400)
settings.register_profile("sanitizer", parent=settings.get_profile("default"), max_examples=8)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help='where comparisons with PyTorch run cnnx: "cpu" or "cuda"')


def pytest_configure(config: pytest.Config) -> None:
    helpers.device = config.getoption("--device")
    if helpers.device != "cpu":
        cnnx.zeros(1, device=helpers.device)  # says what is missing


@pytest.fixture(autouse=True)
def _clean_settings() -> Iterator[None]:
    cnnx.manual_seed(0)
    threads = cnnx.get_num_threads()
    yield
    cnnx.set_num_threads(threads)
    cnnx.set_conv_algorithm("auto")
    cnnx.fit_mode("floor")


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)
