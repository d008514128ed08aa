"""The streaming scenario: its input, its figures on a system of known latency, and real runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_deploy import Detections
from yolox_deploy.benchmarks.measure.opening import requests
from yolox_deploy.benchmarks.measure.systems import System, TimedDetector
from yolox_deploy.benchmarks.scenarios.base import Context
from yolox_deploy.benchmarks.scenarios.streaming import scenario as streaming
from yolox_deploy.benchmarks.scenarios.streaming.footage import open_video, read_video
from yolox_deploy.benchmarks.scenarios.streaming.streams import WallClock
from yolox_deploy.cli.parser import Parser
from yolox_deploy.errors import InputFileError, UsageError
from yolox_deploy.postprocess import Thresholds

pytest.importorskip("pycocotools")
jsonschema = pytest.importorskip("jsonschema")

NAMES = ("left", "right")
COUNT, STEP = 12, 4


def frame(number: int) -> Any:
    """A grey picture whose level tells its number."""
    return np.full((40, 100, 3), 10 * number, np.uint8)


def boxes(number: int) -> list[list[float]]:
    """An object of 20 pixels that moves STEP pixels a frame, and one that stands."""
    return [[STEP * number, 5, STEP * number + 20, 25], [70, 10, 90, 30]]


class FakeDetector:
    """Finds what :func:`boxes` says of the frame whose level it sees, after ``seconds``."""

    thresholds = Thresholds()
    spec = SimpleNamespace(output="raw")
    names = NAMES

    def __init__(self, seconds: float, finds: bool = True) -> None:
        self.seconds, self.finds = seconds, finds
        self.seen: list[int] = []
        self.scores: set[float] = set()

    def __call__(self, picture: Any, thresholds: Any = None) -> Detections:
        time.sleep(self.seconds)
        number = round(float(picture.mean()) / 10)
        self.seen.append(number)
        self.scores.add((thresholds or self.thresholds).score)
        if not self.finds:
            return Detections.empty(NAMES)
        return Detections(boxes(number), [0.9, 0.8], [0, 1], NAMES)  # type: ignore[arg-type]


class FakeSystem(TimedDetector):
    info: Any


def fake_system(detector: Any, label: str = "fake fp32") -> Any:
    system = FakeSystem(detector, [frame(0)])
    system.info = SimpleNamespace(label=label, precision="fp32")
    return system


def measure(given: Context) -> Any:
    """As the command does."""
    streaming.check(given.arguments)
    return streaming.measure(given)


def data_set(folder: Path, **changes: Any) -> list[str]:
    """Write frames and annotations; returns the arguments that name them."""
    images, annotations = [], []
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number}.png"), frame(number))
        images.append({"id": number + 5, "file_name": f"{number}.png", "height": 40, "width": 100})
        for category, (x0, y0, x1, y1) in zip((3, 8), boxes(number), strict=True):
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": 400, "iscrowd": 0}
            ids = {"id": len(annotations) + 1, "image_id": number + 5, "category_id": category}
            annotations.append({**ids, **box})
    categories = [{"id": 3, "name": "left"}, {"id": 8, "name": "right"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **changes}
    (folder / "data.json").write_text(json.dumps(content))
    return ["--data", str(folder / "data.json"), "--images", str(folder)]


def context(systems: Sequence[Any], *words: object) -> Context:
    parser = Parser()
    parser.add_argument("--fps", type=float)
    streaming.add_arguments(parser)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", nargs="+")
    parser.set_defaults(seed=0, max_pixels=None, forecast=False)
    return Context("streaming", systems, 1, 1, parser.parse_args([str(word) for word in words]))


def by_mode(runs: Any) -> dict[tuple[str, str, float], Any]:
    """The playings of the detector alone."""
    alone = (run for run in runs if run.boxes == "as detected")
    return {(run.mode, run.schedule, run.speed): run for run in alone}


def test_annotated_frames_in_real_time_and_simulated(tmp_path: Path) -> None:
    detector = FakeDetector(0.002)
    words = (*data_set(tmp_path), "--fps", 25, "--speed", "1,0.1,1000000")
    result = measure(context([fake_system(detector)], *words))
    assert (result.frames, result.fps, result.annotated) == (COUNT, 25, True)
    assert detector.scores == {0.001}
    runs = by_mode(result.systems[0].runs)
    offline, real = runs["zero latency", "", 1], runs["real time", "naive", 1]
    assert offline.ap["ap"] == pytest.approx(1)
    assert (offline.missed, offline.in_time, offline.mean_lag) == (0, COUNT, 0)
    # 2 ms of 40: every frame is seen and shown one frame late.
    fast = runs["simulated", "naive", 1]
    assert (fast.missed, fast.in_time, fast.mean_lag, fast.seen) == (1, COUNT - 1, 1, COUNT)
    assert real.seen > COUNT / 2
    assert real.ap["ap"] == pytest.approx(fast.ap["ap"], abs=0.1)
    assert runs["simulated", "naive", 1e6].ap == fast.ap
    assert runs["simulated", "naive", 0.1].ap["ap"] <= fast.ap["ap"] < 0.95
    assert "take fake fp32" in result.advice([])[0]


def test_without_annotations_the_penalty_is_told(tmp_path: Path) -> None:
    detector = FakeDetector(0)
    words = (*data_set(tmp_path, annotations=[]), "--fps", 400, "--simulate")
    result = measure(context([fake_system(detector)], *words))
    assert not result.annotated
    assert detector.scores == {0.25}
    runs = by_mode(result.systems[0].runs)
    assert runs["zero latency", "", 1].ap["ap"] == pytest.approx(1)
    assert not any(mode == "real time" for mode, _, _ in runs)
    table, playings = result.tables([])
    place = playings.headers.index("streaming penalty")
    assert float(playings.rows[0][place]) == 0
    assert playings.rows[1][place] == table.rows[0][table.headers.index("streaming penalty")]
    assert float(playings.rows[1][place]) == pytest.approx(
        1 - runs["simulated", "naive", 1].ap["ap"], abs=1e-4
    )
    assert "against the detections of the same detector" in table.note
    assert not any("take" in line for line in result.advice([]))


def test_forecasting_makes_up_for_lateness(tmp_path: Path) -> None:
    pytest.importorskip("trackers")
    words = (*data_set(tmp_path), "--fps", 25, "--simulate")
    result = measure(context([fake_system(FakeDetector(0.003))], *words, "--forecast"))
    shown = {boxes: run.ap["ap"] for boxes, run in result.systems[0].shown.items()}
    assert list(shown) == ["as detected", "tracked", "forecast"]
    assert shown["forecast"] > shown["as detected"] + 0.1
    table, playings = result.tables([])
    assert table.headers[3:6] == ["sAP", "tracked", "forecast"]
    assert [row[1] for row in playings.rows[1:4]] == ["as detected"] * 2 + ["tracked"]
    assert "Forecast: its boxes, moved" in table.note
    assert any("yolox-detect --forecast" in line for line in result.advice([]))


def test_a_slow_detector_is_told_to_be_slow_and_a_blind_one_refused(tmp_path: Path) -> None:
    words = (*data_set(tmp_path), "--fps", 500, "--simulate")
    result = measure(context([fake_system(FakeDetector(0.004))], *words))
    assert "does not keep up with 500 frames per second" in result.advice([])[1]
    slow = result.systems[0].simulated("naive", 1.0)
    assert slow is not None
    assert slow.mean_lag > 2
    assert slow.seen < COUNT
    words = (*data_set(tmp_path, annotations=[]), "--simulate")
    with pytest.raises(UsageError, match="finds nothing"):
        measure(context([fake_system(FakeDetector(0, finds=False))], *words))


def test_the_result_reads_back_and_draws(tmp_path: Path) -> None:
    systems = [fake_system(FakeDetector(s), f"model {s}") for s in (0.001, 0.03)]
    words = (*data_set(tmp_path), "--simulate", "--fps", 60)
    result = measure(context(systems, *words))
    stored = json.loads(json.dumps(result.to_json(), allow_nan=False))
    jsonschema.validate(stored, streaming.RESULT.schema())
    again = streaming.RESULT.from_json(stored)
    infos = [system.info for system in systems]
    assert again.tables(infos) == result.tables(infos)
    assert again.advice(infos) == result.advice(infos)
    assert again.best().label == "model 0.001"
    pytest.importorskip("matplotlib")
    again.plot(infos, tmp_path / "chart.png")
    image = cv2.imread(str(tmp_path / "chart.png"))
    assert image is not None
    assert image.std() > 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "needs frames: --video FILE"),
        (("--frames", 0), "--frames: must lie in 1.."),
        (("--speed", "fast"), "--speed: expected a number"),
        (("--speed", "1,0"), "--speed must be more than 0"),
        (("--speed", ","), "--speed: .* names nothing"),
        (("--images", "a", "b"), "one folder"),
        (("--video", "v.mp4", "--images", "a"), "leave --images out"),
    ],
    ids=str,
)
def test_wrong_use_is_said(words: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(context([], *words))


# --- input ---------------------------------------------------------------------------------------


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (100, 40))
    for number in range(COUNT):
        writer.write(frame(number))
    writer.release()
    return path


def test_a_video_gives_frames_and_rate(video: Path, tmp_path: Path) -> None:
    frames, fps = read_video(video)
    assert fps == 12.5
    assert [round(f.mean() / 10) for f in frames] == list(range(COUNT))
    assert len(read_video(video, 5)[0]) == 5
    source = open_video(video, None, None, 7)
    assert (source.fps, list(map(len, source.sequences)), source.truth) == (12.5, [7], None)
    assert len(source.frames(source.sequences[0])) == 7
    data_set(tmp_path)
    annotated = open_video(video, tmp_path / "data.json", 50, 7)
    assert annotated.fps == 50
    assert annotated.truth is not None
    assert len(annotated.truth["annotations"]) == 14
    assert list(annotated.sequences[0]) == list(range(5, 12))


def test_files_that_are_no_input_are_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such file"):
        read_video(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputFileError, match="no video that FFmpeg can read"):
        read_video(tmp_path / "text.mp4")
    data_set(tmp_path, images=[{"id": 5, "file_name": "0.png"}])
    with pytest.raises(InputFileError, match="each frame needs its image"):
        open_video(video, tmp_path / "data.json", None, None)
    for text in ("", "[]", '{"images": [{}]}', '{"images": [], "categories": []}'):
        (tmp_path / "data.json").write_text(text)
        with pytest.raises(InputFileError, match=r"data\.json: no COCO data set"):
            open_video(video, tmp_path / "data.json", None, None)


def test_frames_beyond_memory_are_refused(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolox_deploy.benchmarks.scenarios.streaming.footage.MOST_BYTES", 5 * 12000)
    with pytest.raises(UsageError, match="--frames 3"):
        read_video(video)
    assert len(read_video(video, 3)[0]) == 3


def test_each_sequence_begins_anew(tmp_path: Path) -> None:
    sequences = [
        {"id": n + 5, "file_name": f"{n}.png", "sid": n // 6, "fid": n % 6} for n in range(COUNT)
    ]
    detector = FakeDetector(0)
    words = (*data_set(tmp_path, images=sequences), "--fps", 50)
    result = measure(context([fake_system(detector)], *words))
    run = result.systems[0].streaming
    assert run.missed == 2
    assert run.seen == COUNT


# --- real detectors ------------------------------------------------------------------------------

torch = pytest.importorskip("torch", reason="the bundled model is a PyTorch checkpoint")


@pytest.fixture(scope="module")
def digits() -> Any:
    """The bundled model, on PyTorch so that no export is needed."""
    (request,) = requests([None], ["torch"], [None], threads=1)
    system = System(request, [frame(1)])
    yield system
    system.close()


@pytest.fixture(scope="module")
def moving_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    folder = str(Path(__file__).parents[2] / "examples" / "digits")
    sys.path.insert(0, folder)
    try:
        from video import write_video
    finally:
        sys.path.remove(folder)
    return Path(write_video(tmp_path_factory.mktemp("digits"), 1, 24, speed=4))


def agreement(result: Any) -> float:
    runs = by_mode(result.systems[0].runs)
    real, simulated = runs["real time", "naive", 1.0], runs["simulated", "naive", 1.0]
    return abs(float(real.ap["ap"] - simulated.ap["ap"]))


def test_moving_digits_with_exact_truth(digits: System, moving_digits: Path) -> None:
    words = ("--data", moving_digits, "--images", moving_digits.parent / "frames")
    # A rate at which even a busy machine keeps up: what is tested is not its speed.
    result = measure(context([digits], *words, "--fps", 2, "--frames", 10))
    runs = by_mode(result.systems[0].runs)
    offline, real = runs["zero latency", "", 1.0], runs["real time", "naive", 1.0]
    assert offline.ap["ap"] > 0.6
    assert 0 < real.ap["ap"] < offline.ap["ap"] - 0.1
    assert (real.missed, real.mean_lag) == (1, 1)
    assert agreement(result) < 0.01


def test_highway_against_own_detections(data_file: Any, nano_onnx: Path) -> None:
    (request,) = requests([str(nano_onnx)], ["onnxruntime"], [None], threads=1)
    with_system = System(request, [frame(1)])
    try:
        # A rate at which even a busy machine keeps up: what is tested is not its speed.
        words = ("--video", data_file("video/highway.mp4"), "--fps", 2, "--frames", 8)
        result = measure(context([with_system], *words))
    finally:
        with_system.close()
    runs = by_mode(result.systems[0].runs)
    assert runs["zero latency", "", 1.0].ap["ap"] == pytest.approx(1)
    assert 0 < runs["real time", "naive", 1.0].ap["ap"] < 0.9
    assert agreement(result) < 0.01


def test_the_wall_clock_runs_in_frames() -> None:
    before = time.perf_counter()
    clock = WallClock(1000)
    clock.wait_until(3)
    assert 3 <= clock.now() <= 1000 * (time.perf_counter() - before)
    clock.wait_until(1)
