"""``yolox-export`` from the arguments to the table, with real converters and engines."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy import Detector
from yolox_deploy.export import TARGETS
from yolox_deploy.runtimes import BACKENDS

# Engines, which want a GPU, have test_export_engines.py.
RUN = [name for name, row in TARGETS.items() if BACKENDS[row.backend].availability().ok]


def stages_of(text: str) -> list[str]:
    return [line.partition(": ")[2] for line in text.splitlines() if ".pth: " in line]


def test_one_command_exports_verifies_and_prints_a_table(
    command: Any, nano_pth: Path, dog_path: Path, tmp_path: Path
) -> None:
    found = command(
        "yolox-export", "--model", nano_pth, "--to", ",".join(RUN), "--output", tmp_path
    )
    assert found.code == 0, found.err
    header, rule, *rows = found.out.splitlines()
    assert header.split() == ["target", "artifact", "size", "time", "verification"]
    assert set(rule) == {"-", " "}
    assert [row.split()[0] for row in rows] == RUN
    for row, target in zip(rows, map(TARGETS.__getitem__, RUN), strict=True):
        path = tmp_path / f"yolox_nano{target.suffix}"
        assert str(path) in row
        size = sum(file.stat().st_size for file in target.files(path)) / 1e6
        assert f"{size:.2f} MB" in row
        assert re.search(r"passed: \d+ detections agree on \d+ pictures, scores within", row)
        with Detector(path, target.backend) as detector:
            assert detector(dog_path)[0].score == pytest.approx(0.855, abs=0.002)
    stages = stages_of(found.err)
    assert stages[:3] == [
        "reading the checkpoint",
        "running the checkpoint on the verification pictures",
        "tracing the network to ONNX",
    ]
    for name in RUN:
        assert stages.index(f"verifying {name}") == stages.index(f"converting to {name}") + 1


def test_a_failing_artifact_is_shown_named_and_ends_with_5(
    command: Any, data_file: Any, tmp_path: Path
) -> None:
    legacy = data_file("weights/yolox_nano_legacy.pth")
    (tmp_path / "yolox_nano_legacy.onnx").write_text("precious")
    export = ("yolox-export", "--model", legacy, "--no-legacy", "--overwrite")
    export += ("--output", tmp_path)
    found = command(*export)
    assert found.code == 5
    assert "failed: with plain 0..255 input" in found.out
    last = found.err.splitlines()[-1]
    assert last.startswith("yolox-export: onnx: ")
    assert "add --legacy" in last
    assert "yolox_nano_legacy.unverified.onnx" in last
    assert (tmp_path / "yolox_nano_legacy.onnx").read_text() == "precious"
    assert (tmp_path / "yolox_nano_legacy.unverified.onnx").is_file()

    found = command(*export, "--allow-unverified")
    assert found.code == 0
    assert "failed: with plain 0..255 input" in found.out
    assert (tmp_path / "yolox_nano_legacy.onnx").stat().st_size > 1e6


def test_the_options_reach_the_artifact_and_its_description(
    command: Any, tiny_pth: Path, mixed_pictures: list[Path], tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in mixed_pictures[:2]:
        shutil.copy(path, pictures)
    found = command(
        "yolox-export",
        *("--model", tiny_pth, "--output", tmp_path, "--names", "cow,horse"),
        *("--imgsz", 96, 64, "--dynamic", "--decode", "--opset", 13, "--no-simplify"),
        *("--verify", pictures),
    )
    assert found.code == 0, found.err
    assert "2 pictures" in found.out
    found = command("yolox-export", "--describe", tmp_path / "tiny.onnx")
    assert found.code == 0
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in found.out.splitlines())
    assert rows["name"] == "tiny"
    assert rows["architecture"] == "nano"
    assert rows["input"] == "96 high x 64 wide, batch dynamic"
    assert rows["output"].startswith("decoded boxes")
    assert rows["classes"] == "2: cow, horse"
    assert rows["precision"] == "fp32"
    assert rows["checkpoint"].startswith("sha256 ")
    assert rows["verification"].startswith("passed: ")


def test_without_verification_the_table_says_so(
    command: Any, tiny_pth: Path, tmp_path: Path
) -> None:
    found = command("yolox-export", "--model", tiny_pth, "--output", tmp_path, "--no-verify")
    assert found.code == 0
    assert "not run: turned off" in found.out
    assert "verification pictures" not in found.err


def test_a_file_without_a_spec_is_described_by_what_is_assumed(
    command: Any, nano_onnx: Path
) -> None:
    found = command("yolox-export", "--describe", nano_onnx)
    assert found.code == 0
    assert "416 high x 416 wide, batch 1" in found.out
    assert "(the file does not say)" in found.out
    assert "not verified" in found.out


@pytest.mark.parametrize("target", RUN)
def test_every_kind_of_artifact_describes_itself(target: str, command: Any, model_for: Any) -> None:
    path = model_for(TARGETS[target].backend).path
    found = command("yolox-export", "--describe", path)
    assert found.code == 0
    assert "80: person, bicycle, car, motorcycle, airplane, bus, ..." in found.out


def test_an_export_lets_threads_sleep_before_pytorch_is_loaded(process: Any) -> None:
    watching = """
import os, sys
class Watch:
    def find_spec(self, name, *rest):
        if name == "torch":
            print("looking for torch:", os.environ.get("OMP_WAIT_POLICY"))
            sys.meta_path.remove(self)
os.environ.pop("OMP_WAIT_POLICY", None)
sys.meta_path.insert(0, Watch())
"""
    found = process("yolox-export", "--model", __file__, before=watching)
    assert found.code == 3
    assert "looking for torch: PASSIVE" in found.out
