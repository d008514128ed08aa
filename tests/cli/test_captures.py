"""What every command shows on terminals of 80 and 120 columns, as it was looked at.

``captures/NAME.COLUMNS.txt`` hold the screens.  A test runs the command and compares words:
numbers, names of folders and widths of columns may differ.  ``YOLOX_DEPLOY_CAPTURES=write`` writes
the files anew; look at each of them before you commit it.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
from films import UNEVEN, write_film

from yolox_deploy.benchmarks.machine.environment import machine_doubts
from yolox_deploy.benchmarks.planning.plan import Plan
from yolox_deploy.cli import bench, convert, detect, doctor, evaluate, export, train
from yolox_deploy.cli.planning import plan
from yolox_deploy.cli.proof import compare, verify
from yolox_deploy.detector import Detector
from yolox_deploy.export import TARGETS
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import read_image
from yolox_deploy.runtimes.content import stored_spec
from yolox_deploy.runtimes.gpu import why_no_gpu
from yolox_deploy.spec import ModelSpec
from yolox_deploy.terminal import NO_BREAK, TOGETHER
from yolox_deploy.verification.evidence import Evidence
from yolox_deploy.weights import BUNDLED, BUNDLED_ONNX

CAPTURES = Path(__file__).parent / "captures"
ALL = (bench, compare, convert, detect, doctor, evaluate, export, plan, train, verify)
MODULES: dict[str, ModuleType] = {module.COMMAND: module for module in ALL}
STORED = Path(bench.__file__).parents[1] / "benchmarks" / "results"
widths = pytest.mark.parametrize("columns", [80, 120])
Shown = Callable[..., int]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    """What is shown: both streams in one, without colours and bars."""
    shown = Terminal()
    for name, value in (("COLUMNS", str(columns)), ("TTY_COMPATIBLE", "0")):
        monkeypatch.setenv(name, value)
    return shown


@pytest.fixture
def run(screen: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Run a command in an empty folder, as a person types it."""
    monkeypatch.chdir(tmp_path)

    def command(line: str, code: int = 0) -> None:
        screen.write(f"{chr(10) * bool(screen.tell())}$ {line}\n")
        name, *words = line.split()
        with redirect_stdout(screen), redirect_stderr(screen):
            assert MODULES[name].main(words) == code, screen.getvalue()

    return command


def check(screen: Terminal, name: str, columns: int) -> None:
    """Compare a screen with the stored one, and look for what is ugly."""
    text = screen.getvalue()
    assert_readable(text, columns)
    path = CAPTURES / f"{name}.{columns}.txt"
    if os.environ.get("YOLOX_DEPLOY_CAPTURES") == "write":
        path.write_text(text, "utf-8")
    assert words_of(text) == words_of(path.read_text("utf-8"))


def words_of(text: str) -> list[str]:
    """The words of a screen, with 0 for every number."""
    text = re.sub(r"/\S+/(?=\S)", "", text)
    return re.sub(r"\d+(\.\d+)*(e[-+]\d+)?", "0", re.sub("-{2,}", "--", text)).split()


def assert_readable(text: str, columns: int) -> None:
    """Nothing is shortened, and only what cannot be divided is longer than the terminal is wide."""
    for line in text.splitlines():
        assert "…" not in line
        assert "\x1b" not in line
        assert line == line.rstrip()
        whole = TOGETHER.sub(lambda match: match[0].replace(" ", NO_BREAK), line.lstrip("$ "))
        alone = line.startswith(("$ ", "wrote ")) or " " not in whole
        assert len(line) <= columns or alone, line


@pytest.fixture
def here(run: Shown, tmp_path: Path, onnx_nano: Path, mixed_pictures: list[Path]) -> Path:
    """The folder that commands are run in: a model, and pictures."""
    (tmp_path / "photos").mkdir()
    for name, file in (
        ("nano.onnx", onnx_nano),
        ("dog.jpg", mixed_pictures[0]),
        ("photos/street with a long name, at night.jpg", mixed_pictures[1]),
        ("photos/dog.jpg", mixed_pictures[0]),
    ):
        shutil.copy(file, tmp_path / name)
    return tmp_path


@widths
def test_detect(run: Shown, screen: Terminal, here: Path, columns: int) -> None:
    run("yolox-detect dog.jpg --model nano.onnx")
    (here / "photos/broken.jpg").write_text("no picture")
    run("yolox-detect photos --model nano.onnx --json found.json --no-draw", code=6)
    run("yolox-detect photos --model nano.onnx --quiet --classes bicycle --no-draw", code=6)
    run("yolox-detect dog.jpg --model nano.onnx --tile --no-draw")
    run("yolox-detect dog.jpg --model nano.onnx --tile 20", code=2)
    run("yolox-detect photos --modle nano.onnx", code=2)
    run("yolox-detect photos --model nano.onnx --classes hoarse dog --no-draw", code=2)
    check(screen, "detect", columns)


@widths
def test_detect_in_a_video(run: Shown, screen: Terminal, here: Path, columns: int) -> None:
    pytest.importorskip("av")
    dog = cv2.resize(cv2.imread(str(here / "dog.jpg")), (384, 288))
    write_film(here / "street.mp4", images=[dog] * len(UNEVEN))
    (here / "photos/broken.mp4").write_text("no video")
    run("yolox-detect street.mp4 --model nano.onnx --jsonl found.jsonl")
    run("yolox-detect street.mp4 photos/broken.mp4 --model nano.onnx --no-draw", code=6)
    run("yolox-detect 97 --model nano.onnx --no-draw", code=6)
    run("yolox-detect street.mp4 --model nano.onnx --no-draw --mot tracks", code=2)
    run("yolox-detect street.mp4 --model nano.onnx --no-draw --forecast", code=2)
    check(screen, "detect_video", columns)


@widths
def test_evaluate(run: Shown, screen: Terminal, here: Path, columns: int) -> None:
    pytest.importorskip("pycocotools")
    run("yolox-detect photos --model nano.onnx --no-draw --coco val.json")
    screen.seek(0)
    screen.truncate()
    base = "yolox-eval --data val.json --images photos --model nano.onnx"
    run(f"{base} --backend onnxruntime openvino")
    run(f"{base} --full")
    check(screen, "eval", columns)


@widths
def test_export(run: Shown, screen: Terminal, tiny_pth: Path, tmp_path: Path, columns: int) -> None:
    (tmp_path / "tiny.pth").symlink_to(tiny_pth)
    run("yolox-export --model tiny.pth --to onnx --output artifacts")
    run("yolox-export --describe artifacts/tiny.onnx")
    run("yolox-export --verify-artifact artifacts/tiny.onnx --model tiny.pth")
    run("yolox-export --model tiny.pth --to onxx", code=2)
    run("yolox-export --model tiny.pth --batch many", code=2)
    check(screen, "export", columns)


@pytest.fixture
def proven(tmp_path: Path) -> None:
    """A sound artifact, one of another pad value, one with one picture, one without evidence."""
    spec = ModelSpec.from_json(stored_spec(BUNDLED_ONNX) or "")
    wrong = replace(spec.input, pad_value=0)
    evidence = Evidence.of(spec)
    assert evidence
    fewest = min(evidence.witnesses, key=lambda witness: len(witness.found))
    few = replace(evidence, witnesses=(fewest,)).record(spec)
    changes: dict[str, dict[str, Any]] = {"digits": {}, "wrong": {"input": wrong}}
    changes["few"] = {"evidence": few}
    for name, change in {**changes, "old": {"evidence": None}}.items():
        shutil.copy(BUNDLED_ONNX, tmp_path / f"{name}.onnx")
        TARGETS["onnx"].embed(tmp_path / f"{name}.onnx", replace(spec, **change))


@widths
def test_verify(run: Shown, screen: Terminal, proven: None, columns: int) -> None:
    run("yolox-verify digits.onnx --threads 1")
    run("yolox-verify wrong.onnx --threads 1", code=5)
    run("yolox-verify old.onnx --threads 1", code=12)
    run("yolox-verify few.onnx")
    run("yolox-export --describe few.onnx")
    run("yolox-verify gone.onnx", code=3)
    check(screen, "verify", columns)


@widths
def test_compare_models(run: Shown, screen: Terminal, proven: None, columns: int) -> None:
    run("yolox-compare digits.onnx old.onnx --threads 1")
    run("yolox-compare digits.onnx wrong.onnx --threads 1 --draw worst.html", code=5)
    run("yolox-compare digits.onnx --threads 1", code=2)
    check(screen, "compare_models", columns)


@widths
@pytest.mark.skipif(not why_no_gpu(), reason="here is a GPU")
def test_doctor(run: Shown, screen: Terminal, columns: int, installed_from: Any) -> None:
    installed_from(None)
    run("yolox-doctor")
    run("yolox-doctor --full")
    check(screen, "doctor", columns)


@widths
def test_bench(run: Shown, screen: Terminal, tmp_path: Path, columns: int) -> None:
    """Of stored reports, which are shown as new ones are."""
    latency = stored("yolox_nano")
    reports = {"nano": latency, "sap": stored("streaming_nano"), "server": loadgen_report(latency)}
    for name, content in reports.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        run(f"yolox-bench show {name}.json")
        run(f"yolox-bench show {name}.json --full")
    latency["environment"] |= {"lost": 0.57, "doubts": machine_doubts(0.57, 0, 1.32)}
    latency["result"]["fps"] = 200
    (tmp_path / "busy.json").write_text(json.dumps(latency))
    run("yolox-bench show busy.json")
    run("yolox-bench compare nano.json server.json", code=2)
    run("yolox-bench --scenario sever", code=2)
    check(screen, "bench", columns)


@widths
def test_plan(run: Shown, screen: Terminal, columns: int) -> None:
    """Of a stored plan, which is shown as a new one is."""
    found = Plan.from_json(json.loads((STORED / "plan_nano.json").read_text()))
    arguments = argparse.Namespace(json=None, plot=None, full=True)
    with redirect_stdout(screen), redirect_stderr(screen):
        plan.deliver(found, arguments)
    run("yolox-plan --model gone.pth --data gone.json --images .", code=3)
    run("yolox-plan --model gone.pth --data gone.json --images . --p99 fast", code=2)
    check(screen, "plan", columns)


def stored(name: str) -> dict[str, Any]:
    """The first two systems of a report in this repository."""
    content: dict[str, Any] = json.loads((STORED / f"{name}.json").read_text())
    result = content["result"]
    content["systems"], content["notes"] = content["systems"][:2], content["notes"][:1]
    for key in result.keys() & {"systems", "series", "cold_starts", "costs"}:
        result[key] = result[key][:2]
    return content


def loadgen_report(latency: dict[str, Any]) -> dict[str, Any]:
    """A report of MLPerf's server, of the machine and two systems of a report of latency."""
    names = ("min", "mean", "50.0", "90.0", "95.0", "97.0", "99.0", "99.9", "max")
    tests = [
        {
            "label": system["label"],
            "valid": not number,
            "why_not": "the 99th percentile is above the bound" if number else "",
            "queries": 662,
            "pictures_per_query": 1,
            "percent": 99.0,
            "seconds": {name: 0.01 * (i + 1 + number) for i, name in enumerate(names)},
            "rate": 43.21,
            "estimate": 0.0712,
            "bound": 0.1,
            "logs": f"loadgen_logs/{number + 1}_{system['label'].replace(' ', '_')}",
            "search": [{"rate": 50.0, "seconds": 0.132, "held": False}],
            "ap": None,
        }
        for number, system in enumerate(latency["systems"][:2])
    ]
    result = {"scenario": "server", "version": "6.0.14", "tests": tests}
    result["thresholds"] = "score 0.25, IoU 0.45"
    changed = {"scenario": "server", "systems": latency["systems"][:2], "result": result}
    return {**latency, **changed, "command": "yolox-bench --scenario server --json server.json"}


@widths
def test_compare(run: Shown, screen: Terminal, tmp_path: Path, columns: int) -> None:
    before = stored("yolox_nano")
    before["environment"] |= {"lost": 0, "doubts": [], "exchange": []}
    after, noisy = copy.deepcopy(before), copy.deepcopy(before)
    for series in after["result"]["series"]:
        series["total"] = [round(1.2 * value) for value in series["total"]]
    noisy["environment"]["lost"] = 0.3
    for name, content in (("before", before), ("after", after), ("noisy", noisy)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    run("yolox-bench compare before.json after.json --fail-if-slower 1.1", code=10)
    run("yolox-bench compare before.json noisy.json --full", code=11)
    check(screen, "compare", columns)


@widths
def test_train(run: Shown, screen: Terminal, tmp_path: Path, columns: int) -> None:
    """Two short runs, on pictures whose boxes the first run's weights find, and some mistakes."""
    found = {"images": [], "annotations": [], "categories": []}
    detector = Detector(BUNDLED_ONNX)
    found["categories"] = [{"id": i, "name": n} for i, n in enumerate(detector.spec.class_names)]
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(("digits_1.jpg", "digits_2.jpg")):
        path = Path(shutil.copy(ASSETS / name, tmp_path / "photos"))
        height, width = read_image(path).shape[:2]
        found["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for row in detector(path):
            left, top, right, bottom = map(float, row.xyxy)
            box = [left, top, right - left, bottom - top]
            found["annotations"].append(
                {"image_id": number, "category_id": row.class_id, "bbox": box}
            )
    Path("photos.json").write_text(json.dumps(found))
    shutil.copy(BUNDLED, "digits.pth")
    small = "--data photos.json --val photos.json --epochs 1 --batch 2 --workers 0 --device cpu"
    run("yolox-data photos.json")
    run(f"yolox-train --weights digits.pth {small} --output runs/tuned", code=13)
    run(f"yolox-train --arch nano --imgsz 64 {small}")
    run(f"yolox-train --arch nano --imgsz 64 {small}", code=7)
    alone = small.replace("--val photos.json ", "")
    run(f"yolox-train --arch nano --imgsz 64 {alone} --output runs/alone")
    run("yolox-train --arch nano --data gone.json --val gone.json", code=3)
    run("yolox-train --arch nano --epohcs 3", code=2)
    check(screen, "train", columns)


@widths
@pytest.mark.parametrize("name", [*MODULES, "yolox-bench show", "yolox-bench compare"])
def test_help(name: str, screen: Terminal, columns: int) -> None:
    command, *words = name.split()
    with redirect_stdout(screen):
        assert MODULES[command].main([*words, "--help"]) == 0
    text = screen.getvalue()
    assert_readable(text.replace("  yolox-", "$ yolox-"), columns)
