"""The tool that gives odd command lines and odd files to the commands."""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from tools.cases.__main__ import make_cases
from tools.cases.files import CHANGES
from tools.cases.judge import Run, wrong_detections
from tools.cases.lines import CHANGED, PARSERS, Case
from tools.snapshots import snapshot
from tools.trials import STREAMS

ROOT = Path(__file__).parents[2]


def test_a_seed_repeats_its_cases_and_they_are_of_every_kind() -> None:
    # Hypothesis draws constants of the modules that are loaded, which the first call still does.
    other = make_cases(56, 8)
    made = make_cases(56, 7)
    assert len(set(made)) == len(made) == 56
    assert made == make_cases(56, 7)
    assert set(made) != set(other)
    assert {case.command for case in made} == set(PARSERS)
    assert len({case.change for case in made}) > 2
    files = {file for group in CHANGED.values() for file in group}
    assert {case.file for case in made} <= files | {""}


def test_odd_command_lines_end_well() -> None:
    command = [sys.executable, "-m", "tools.cases", "--count", "14", "--seed", "5", "--onnx-only"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(yolox-\w+(?: \w+)?) +(\d+)  .*\b(\d+)$", done.stdout, re.M)
    assert {name for name, _, _ in rows} == set(PARSERS)
    assert sum(int(count) for _, count, _ in rows) == 14


@pytest.fixture
def ended(tmp_path: Path) -> Any:
    """Judge a command line that ended with a code, and left files and lines."""

    def judge(words: str, code: int, said: str = "", left: Any = lambda: None) -> str:
        case = Case("yolox-detect", tuple(words.split()))
        run = Run(place=tmp_path / "run", case=case, number=0, sound=tmp_path / "sound")
        (tmp_path / "sound").mkdir()
        (tmp_path / "sound/old.json").write_text("precious")
        run.place.mkdir()
        run.lay_out()
        left()
        (run.place / STREAMS[1]).write_text(said)
        run.code = code
        return run.judge()

    return judge


@pytest.mark.parametrize(
    ("words", "code", "said", "left", "problem"),
    [
        ("p.jpg", 0, "", lambda: None, ""),
        ("p.jpg -q --batch 0", 2, "yolox-detect: --batch\n", lambda: None, ""),
        ("p.jpg -q --batch 0", 2, "", lambda: None, "without a line of its own"),
        ("p.jpg --quiet", 2, "yolox-detect: a\nyolox-detect: b\n", lambda: None, "and 2 lines"),
        ("p.jpg --quiet", 0, "libpng\n", lambda: None, "and 1 lines"),
        ("p.jpg", 0, "[W:onnxruntime] x\n", lambda: None, "of a library"),
        ("p.jpg", 0, "\x1b[31m", lambda: None, "an escape"),
        ("p.jpg", 0, "", lambda: Path("old.json").unlink(), "'old.json' was removed"),
        ("p.jpg", 0, "", lambda: Path("old.json").write_text("{}"), "'old.json' was changed"),
        ("p.jpg --json old.json", 0, "", lambda: Path("old.json").write_text("x"), "is no JSON"),
        ("p.jpg --json new.json", 0, "", lambda: None, "was not written"),
        ("p.jpg", 0, "", lambda: Path(".yolox_deploy-1").mkdir(), "'.yolox_deploy-1' was created"),
        ("p.jpg", 2, "yolox-detect: x\n", lambda: Path("new").touch(), "'new' was created"),
        ("p.jpg --nope", 3, "yolox-detect: x\n", lambda: None, "cannot be parsed"),
        ("p.jpg", 0, "", lambda: Path("../tmp/x").touch(), "left behind: tmp/x"),
    ],
)
def test_what_should_not_happen_is_noticed(
    words: str, code: int, said: str, left: Any, problem: str, ended: Any, monkeypatch: Any
) -> None:
    # It changes the folder.
    monkeypatch.chdir(ROOT)
    found = ended(words, code, said, left)
    assert problem in found
    assert bool(problem) == bool(found)


def test_detections_that_were_not_asked_for_are_noticed() -> None:
    one = {"score": 0.5, "class_id": 3, "name": "3"}
    content = {"pictures": [{"detections": [one, one]}]}
    asked = {"max_detections": 300, "score_threshold": 0.25, "classes": None}
    assert list(wrong_detections(content, Namespace(**asked))) == []
    for change in ({"max_detections": 1}, {"score_threshold": 0.6}, {"classes": ["4"]}):
        assert list(wrong_detections(content, Namespace(**{**asked, **change})))


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_a_file_is_one(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("p.png", "d.onnx", "x"):
        Path(file).write_bytes(file.encode() * 9)
    before = snapshot(tmp_path)
    CHANGES[name](Path("x"))
    assert snapshot(tmp_path) != before
