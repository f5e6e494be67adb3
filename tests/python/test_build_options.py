"""The switches of the build, in the spellings that CMake takes for its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "cpp" / "cmake" / "cnnxCUDASwitch.cmake"
CMAKE = shutil.which("cmake")


def configure(value: str, folder: Path) -> subprocess.CompletedProcess[str]:
    assert CMAKE is not None
    script = folder / "show.cmake"
    script.write_text(f'include("{FILE.as_posix()}")\nmessage("CNNX_CUDA is ${{CNNX_CUDA}}")\n')
    return subprocess.run([CMAKE, f"-DCNNX_CUDA={value}", "-P", script], capture_output=True, text=True, check=False)


@pytest.mark.skipif(CMAKE is None, reason="needs CMake")
@pytest.mark.parametrize(
    ("value", "meant"),
    [(v, "ON") for v in ("ON", "on", "1", "True", "YES", "y")]
    + [(v, "OFF") for v in ("OFF", "off", "0", "False", "NO", "n")]
    + [("AUTO", "AUTO"), ("auto", "AUTO")],
)
def test_cuda_switch(value: str, meant: str, tmp_path: Path) -> None:
    result = configure(value, tmp_path)
    assert result.returncode == 0
    assert result.stderr.strip() == f"CNNX_CUDA is {meant}"


@pytest.mark.skipif(CMAKE is None, reason="needs CMake")
@pytest.mark.parametrize("value", ["", "maybe", "2", "ONN"])
def test_cuda_switch_is_checked(value: str, tmp_path: Path) -> None:
    result = configure(value, tmp_path)
    assert result.returncode != 0
    assert f'CNNX_CUDA must be AUTO, ON or OFF; got "{value}".' in result.stderr
