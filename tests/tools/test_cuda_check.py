"""The check for a machine with a GPU, as far as it goes without one.

Its part on the CUDA layer runs in test_real_bindings.py, over a driver on the host.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tools.checks import cuda as cuda_check
from yolox_deploy.architectures import ARCHITECTURES
from yolox_deploy.runtimes import gpu


def test_the_models_are_measured_and_written_as_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results" / "check.md"
    arguments = ["--device", "cpu", "--models", "nano", "yolox-tiny", "--runs", "2"]
    assert cuda_check.main([*arguments, "--imgsz", "32", "--output", str(path)]) == 0
    text = path.read_text()
    rows = re.findall(
        r"^\| (nano|tiny) \| [\d.]+ \| [\d.]+ \| [\d.]+ \| - \| - \| 2 \|$", text, re.M
    )
    assert rows == ["nano", "tiny"]
    assert "PyTorch" in text
    assert "nano" in capsys.readouterr().out


def test_a_row_tells_medians_and_the_published_time_beside_them() -> None:
    times = cuda_check.Times(np.array([1e-3] * 98 + [5e-3, 9e-3]), np.full(100, 2e-3))
    assert cuda_check.row_of("s", times) == ["s", "1.00", "5.04", "2.00", "9.8", "9.8x", "100"]
    assert set(cuda_check.V100_MS) == set(ARCHITECTURES) - {"nano", "tiny"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 4, "no NVIDIA driver here"),
        (["--models", "huge"], 2, "unknown architecture 'huge'"),
        (["--runs", "0", "--device", "cpu"], 2, "--runs must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", "libno_such_driver.so.1")
    assert cuda_check.main(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
