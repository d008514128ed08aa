"""Plans, which ``Detector`` opens as they were chosen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy import Detector
from yolox_deploy.errors import ArtifactError
from yolox_deploy.files import ASSETS, sha256_of
from yolox_deploy.weights import BUNDLED_ONNX


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan as yolox-plan writes it, without what only people read."""
    path = Path(shutil.copy(BUNDLED_ONNX, tmp_path / "digits.onnx"))
    artifact = {"path": path.name, "sha256": {path.name: sha256_of(path)}}
    artifact |= {"backend": "openvino", "device": "cpu", "precision": "fp32", "threads": 1}
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"format": "yolox-plan", "version": 1, "artifact": artifact}))
    return plan


def test_a_plan_is_opened_as_it_was_chosen(plan: Path) -> None:
    with Detector(plan) as detector, Detector(BUNDLED_ONNX, "openvino", threads=1) as usual:
        assert (detector.backend, detector.runtime.threads) == ("openvino", 1)
        picture = ASSETS / "digits_1.jpg"
        assert detector(picture).xyxy.tolist() == usual(picture).xyxy.tolist() != []
    with Detector(plan, "onnxruntime", threads=2) as detector:
        assert (detector.backend, detector.runtime.threads) == ("onnxruntime", 2)
    moved = plan.parent / "moved"
    moved.mkdir()
    for file in (plan, plan.with_name("digits.onnx")):
        shutil.move(file, moved)
    Detector(moved / "plan.json").close()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (["format"], "x", "its format is 'x'"),
        (["version"], 2, "its format is"),
        (["artifact"], None, "run yolox-plan with --output DIR"),
        (["artifact", "path"], "other.onnx", "do not lie beside it"),
        (["artifact", "sha256"], {"../digits.onnx": "0"}, "do not lie beside it"),
        (["artifact", "sha256", ""], "0", "do not lie beside it"),
        (["artifact", "sha256", ".."], "0", "do not lie beside it"),
        (["artifact", "sha256", "digits.onnx"], "0", r"digits.onnx is not the file that"),
        (["artifact", "sha256", "gone.onnx"], "0", r"gone.onnx: no such file"),
        (["artifact", "threads"], "1", "TypeError"),
        (["artifact", "backend"], 3, "TypeError"),
        (["artifact", "device"], {}, "TypeError"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_damaged_plan_is_refused(plan: Path, place: Any, value: Any, words: str) -> None:
    content = inner = json.loads(plan.read_text())
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    plan.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=words):
        Detector(plan)
    for text in ("", "[]", "5", "{", "[" * 100_000):
        plan.write_text(text)
        with pytest.raises(ArtifactError, match="not a plan that can be opened"):
            Detector(plan)
