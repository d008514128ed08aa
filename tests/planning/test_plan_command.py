"""``yolox-plan`` on real engines: what it prints and writes, what it refuses."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from yolox_deploy import Detector
from yolox_deploy.benchmarks.planning import policy, promise, race
from yolox_deploy.benchmarks.planning.plan import Plan
from yolox_deploy.cli.planning.plan import main, parser, plan
from yolox_deploy.errors import MissingPackageError
from yolox_deploy.files import ASSETS
from yolox_deploy.pictures.images import read_image
from yolox_deploy.tasks.proof import proofs
from yolox_deploy.weights import BUNDLED, BUNDLED_ONNX

for needed in ("scipy", "pycocotools", "psutil", "cpuinfo"):
    pytest.importorskip(needed)
jsonschema = pytest.importorskip("jsonschema")

BASE = "--model digits.pth --data digits.json --images photos --imgsz 96 --threads 1,2"
BASE += " --backend onnxruntime"


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def run(line: str) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(line.split())
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of digits, their boxes, and the model, beside a cache of exports."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "photos").mkdir()
    shutil.copy(BUNDLED, folder / "digits.pth")
    images, annotations = [], []
    with Detector(BUNDLED_ONNX, threads=1) as detector:
        names = [{"id": i, "name": name} for i, name in enumerate(detector.names)]
        for number, name in enumerate(("digits_1.jpg", "digits_2.jpg")):
            path = Path(shutil.copy(ASSETS / name, folder / "photos"))
            height, width = read_image(path).shape[:2]
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations += detector(path).to_coco(number, list(range(len(names))))
    content = {"images": images, "annotations": annotations, "categories": names}
    (folder / "digits.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work there, with short turns."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("YOLOX_DEPLOY_CACHE", str(place / "cache"))
    for module, name, value in (
        (policy, "ALL_ROUNDS", 6),
        (policy, "FEWEST_CALLS", 10),
        (race, "TURN_SECONDS", 0.02),
        (promise, "SECONDS", 0.1),
    ):
        monkeypatch.setattr(module, name, value)
    return place


@pytest.fixture
def free(place: Path) -> Iterator[Path]:
    """A folder that is not there yet, nor afterwards."""
    yield place / "chosen"
    shutil.rmtree(place / "chosen", ignore_errors=True)


def test_the_choice_is_written_and_opens(here: Path, free: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    found = run(f"{BASE} --p99 30s --output chosen --json p.json --plot p.svg --full")
    assert found.code == 0, found
    assert max(map(len, found.out.splitlines()[:5])) <= 80
    assert "recommended: digits " in found.out
    assert "LoadGen: VALID" in found.out
    assert "verification of the choice as it runs here: passed" in found.out
    written = json.loads((free / "plan.json").read_text())
    everything = json.loads(Path("p.json").read_text())
    for content in (written, everything):
        jsonschema.validate(content, Plan.schema())
    assert everything["artifact"] is None
    assert written["rows"] == everything["rows"]
    assert {row["pictures"] for row in written["rows"] if not row["dropped"]} == {2}
    assert "AP" in Path("p.svg").read_text()
    chosen = written["rows"][written["recommended"]]["candidate"]
    shutil.move(free, here / "moved")
    with Detector("moved/plan.json") as detector:
        assert detector.spec.height == chosen["height"]
        assert detector.backend == "onnxruntime"
        assert detector.runtime.threads == chosen["threads"]
        assert [proof.verdict for proof in proofs(detector.spec)] == ["passed"]
        assert len(detector("photos/digits_1.jpg")) > 0
    shutil.rmtree(here / "moved")
    # Read back, it shows the same.
    again = Plan.from_json(written)
    assert again.front().rows == Plan.from_json(everything).front().rows
    assert str(again.sentences()[0]) in found.out


def test_a_demand_that_nothing_meets_ends_with_its_exit_code(here: Path, free: Path) -> None:
    found = run(f"{BASE} --p99 0.001ms --max-memory 1 --output chosen")
    assert found.code == 14
    (line,) = [line for line in found.err.splitlines() if line.startswith("yolox-plan: nothing")]
    assert "nothing meets the demand (p99 of at most 0.0 ms, memory of at most 1 MB)" in line
    assert "the nearest is digits " in line
    assert "MB, 1 demanded" in line
    assert "chosen" not in found.out
    assert not free.exists()


def test_without_loadgen_it_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise MissingPackageError("mlperf_loadgen is not installed")

    monkeypatch.setattr(promise, "require_loadgen", missing)
    found = run(f"{BASE} --quiet")
    assert (found.code, found.err) == (0, "")
    assert "LoadGen: not run: mlperf_loadgen is not installed" in found.out


def test_an_interrupt_leaves_nothing(
    here: Path, free: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = sorted(os.listdir("."))
    monkeypatch.setattr(race.Race, "_detect", interrupted)
    # Not main(), which may end the process: the line it prints is tested with every command.
    with pytest.raises(KeyboardInterrupt):
        plan(parser().parse_args(f"{BASE} --output chosen --json left.json".split()), "yolox-plan")
    assert sorted(os.listdir(".")) == before


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (f"{BASE} --p99 fast", 2, "--p99 fast: expected a time such as 30ms"),
        (f"{BASE} --p99 0", 2, "--p99 0: expected"),
        (f"{BASE} --p99 {'9' * 400}", 2, "expected a time"),
        (f"{BASE} --fps 1e-320", 2, "--fps takes more than 0"),
        (f"{BASE} --fps -1", 2, "--fps takes more than 0"),
        (f"{BASE} --min-ap 25", 2, "--min-ap must lie in 0..1"),
        (f"{BASE} --max-memory nan", 2, "--max-memory takes megabytes"),
        (f"{BASE} --streams 0", 2, "--streams must lie in 1..1000"),
        (BASE.replace("onnxruntime", "torch"), 2, "nothing to measure: torch was left out"),
        (f"{BASE} --precision fp64", 2, "has no precision 'fp64'"),
        (f"{BASE} --threads 0", 2, "--threads takes 1 to "),
        (f"{BASE} --output photos", 7, "something is in it"),
        (f"{BASE} --json digits.json", 2, "one of the files to read"),
        (f"{BASE} --plot p.bmp", 2, "a chart is a png"),
        (f"{BASE} --calib empty", 3, "empty"),
        ("--model d.onnx --data digits.json --images photos", 3, "d.onnx: no such file"),
        ("--model digits.json --data digits.json --images photos", 2, "expected a checkpoint"),
        ("--model digits.pth --data digits.json --images .", 3, "lacks 2 of the 2 pictures"),
    ],
    ids=lambda value: str(value).removeprefix(BASE)[:40],
)
def test_mistakes_are_one_line(here: Path, line: str, code: int, words: str) -> None:
    found = run(line)
    assert found.code == code, found
    assert words in found.err.splitlines()[-1]
