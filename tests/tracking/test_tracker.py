"""Ids that stay with their objects, in results, in files and in pictures."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from films import write_film

from yolox_deploy import Detections, Detector, Tracker
from yolox_deploy.cli import detect
from yolox_deploy.errors import UsageError
from yolox_deploy.tracking import Tails

NAMES = ("cat", "dog")


def seen(*rows: tuple[float, float, int]) -> Detections:
    """Detections of (left edge, score, class id)."""
    boxes = [[x, 10, x + 20, 40] for x, _, _ in rows]
    return Detections(boxes, [s for _, s, _ in rows], [c for *_, c in rows], NAMES, (60, 400))  # type: ignore[arg-type]


def test_a_missing_package_is_named_with_the_line_that_installs_it() -> None:
    code = (
        "import sys\nsys.modules['trackers'] = None\nsys.path_importer_cache.clear()\n"
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'trackers' else find(name, *a)\n"
        "from yolox_deploy import Tracker\nfrom yolox_deploy.errors import MissingPackageError\n"
        "try: Tracker()\nexcept MissingPackageError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install " in out.stdout
    assert '[track]"' in out.stdout


def test_tails_follow_what_has_an_id() -> None:
    tails, image = Tails(), np.zeros((60, 100, 3), np.uint8)
    for step in range(10):
        boxes = np.array([[4 * step, 10, 4 * step + 20, 40], [70, 10, 90, 40]], np.float32)
        drawn = tails.draw(image, boxes, np.array([7, -1]), np.array([0, 1]))
    assert not image.any()
    assert drawn[24:27, 12:44].any(axis=(0, 2)).all()
    assert not drawn[:, 60:].any()
    for _ in range(40):
        drawn = tails.draw(image, boxes[:0], np.empty(0, np.int64), np.empty(0, np.int64))
    assert tails.points == {}


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("trackers")

    def test_objects_keep_their_ids_when_they_move_hide_and_become_faint(self) -> None:
        tracker = Tracker(score=0.5)
        ids = []
        for step in range(30):
            rows = [(4.0 * step, 0.9, 0), (300 - 2.0 * step, 0.8, 1)]
            if 10 <= step < 14:
                rows = rows[:1]
            if step == 20:
                rows[1] = (rows[1][0], 0.2, 1)
            found = tracker(seen(*rows), step / 30)
            assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
            assert found.track_ids is not None
            ids.append(dict(zip((d.name for d in found), found.track_ids.tolist(), strict=True)))
        assert ids[0] == {"cat": -1, "dog": -1}
        assert all(one["cat"] == ids[1]["cat"] > 0 for one in ids[1:])
        assert {one["dog"] for one in ids[1:] if "dog" in one} == {ids[1]["dog"]}
        assert sum("dog" in one for one in ids) == 26

    def test_boxes_go_on_at_their_velocity(self) -> None:
        tracker = Tracker(score=0.5)
        for step in range(4):
            # 180 pixels per second to the right, and as many to the left; one that trembles.
            right, left, still = 6.0 * step, 300 - 6.0 * step, 150 + 0.5 * (step % 2)
            rows = [(right, 0.9, 0), (left, 0.8, 1), (still, 0.7, 0)]
            found = tracker(seen(*rows), step / 30)
        later = tracker.forecast(found, 0.5)
        assert later.track_ids is not None
        assert (found.track_ids == later.track_ids).all()
        ways = (later.xyxy - found.xyxy)[:, 0]
        assert 80 < ways[0] <= 90
        assert -90 <= ways[1] < -80
        assert abs(ways[2]) < 1
        np.testing.assert_allclose(later.xyxy[:, 2:] - later.xyxy[:, :2], [[20, 30]] * 3, atol=1e-3)
        assert tracker.forecast(found, 0) == found
        # What has left the picture, 400 pixels wide, is left out.
        assert [d.score for d in tracker.forecast(found, 6)] == pytest.approx([0.7])
        # What the detector misses for a moment goes on, fainter.
        missing = tracker(seen((150, 0.7, 0)), 4 / 30)
        assert [d.score for d in missing] == pytest.approx([0.7])
        bridged = tracker.forecast(missing, 0)
        assert [d.score for d in bridged] == pytest.approx([0.7, 0.45, 0.4])
        assert 22 < bridged.xyxy[1, 0] <= 24
        assert len(tracker.forecast(tracker(seen((150, 0.7, 0)), 0.4), 0)) == 1
        # The first frame tells no velocity.
        tracker.reset()
        first = tracker(seen((50, 0.9, 0)), 0)
        assert tracker.forecast(first, 1) == first

    def test_an_edge_at_the_border_of_the_picture_stays(self) -> None:
        tracker = Tracker(score=0.5)
        for step in range(4):
            box = [[300 - 12 * step, 10, 400, 40]]
            found = tracker(Detections(box, [0.9], [0], NAMES, (60, 400)), step / 30)  # type: ignore[arg-type]
        later = tracker.forecast(found, 0.1).xyxy[0]
        assert later[2] == 400
        assert 264 - 36 < later[0] < 264 - 20

    def test_what_is_faint_begins_no_track(self) -> None:
        tracker = Tracker(score=0.5)
        assert [len(tracker(seen((50, 0.4, 0)), i / 30)) for i in range(5)] == [0] * 5

    def test_another_video_has_other_ids_and_other_classes_have_none(self) -> None:
        tracker = Tracker(classes="dog")
        rows = seen((50, 0.9, 0), (150, 0.8, 1))
        assert [tracker(rows).track_ids.tolist() for _ in range(3)] == [  # type: ignore[union-attr]
            [-1, -1],
            [-1, 1],
            [-1, 1],
        ]
        tracker.reset()
        assert [tracker(rows).track_ids.tolist() for _ in range(2)][1] == [-1, 2]  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="no class 'horse'"):
            Tracker(classes="horse")(rows)

    def test_hota_is_one_for_the_truth_and_high_for_the_model(self) -> None:
        from tools.checks import tracking

        frames = tracking.film(1, 24, 3, 6.0)
        truth = [frame.boxes for frame in frames]
        perfect = tracking.measure(truth, [(boxes, np.array([5, 9, 7])) for boxes in truth])
        assert (perfect["HOTA"], perfect["IDSW"]) == (pytest.approx(1), 0)
        swapped = [np.array([5, 9, 7]) if i < 12 else np.array([9, 5, 7]) for i in range(24)]
        wrong = tracking.measure(truth, list(zip(truth, swapped, strict=True)))
        assert wrong["HOTA"] < 0.9
        pytest.importorskip("onnxruntime")
        with Detector(backend="onnxruntime", threads=1) as detector:
            tracker = Tracker()
            lower = tracker.thresholds(detector.thresholds, detector.spec)
            stream = detector.stream((f.image for f in frames), thresholds=lower)
            found = [tracking.tracked(frame, tracker) for frame in stream]
        result = tracking.measure(truth, found)
        assert result["HOTA"] > 0.85
        assert result["IDSW"] == 0

    def test_ids_are_in_every_result(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("av")
        pytest.importorskip("onnxruntime")
        from tools.checks import tracking

        images = [frame.image for frame in tracking.film(2, 12, 3, 6.0)]
        film = write_film(tmp_path / "digits.mp4", [i / 30 for i in range(12)], images=images)
        out = tmp_path / "out"
        words = [film, "--track", "--threads", 1, "--output", out, "--mot", out / "mot"]
        words += ["--jsonl", out / "r.jsonl", "--csv", out / "r.csv", "--coco", out / "c.json"]
        words += ["--txt", out / "txt"]
        assert detect.main([str(word) for word in words]) == 0
        assert ": 3 objects followed, " in capsys.readouterr().out
        lines = [json.loads(line) for line in (out / "r.jsonl").read_text().splitlines()]
        ids: list[Any] = [[d["track_id"] for d in line["detections"]] for line in lines]
        assert set(ids[0]) == {-1}
        every = list(chain(*ids))
        assert set(chain(*ids[1:])) == {1, 2, 3}
        rows = list(csv.DictReader((out / "r.csv").open()))
        assert [int(row["track_id"]) for row in rows] == every
        notes = json.loads((out / "c.json").read_text())["annotations"]
        assert [note["track_id"] for note in notes] == every
        last = (out / "txt/digits/000012.txt").read_text().splitlines()
        assert [int(row.split()[-1]) for row in last] == ids[-1]
        mot = [row.split(",") for row in (out / "mot/digits.txt").read_text().splitlines()]
        assert [int(row[1]) for row in mot] == [i for i in every if i > 0]
        assert mot[0][0] == "2"
        assert mot[0][7:] == ["-1", "-1", "-1"]
        assert detect.main([str(film), "--mot", str(out / "more"), "--no-draw"]) == 2
        forecast = [str(film), "--forecast", "--no-draw", "--jsonl", str(out / "f.jsonl")]
        assert detect.main(forecast) == 2
        assert detect.main([*forecast, "--live"]) == 0
        assert ", moved by " in capsys.readouterr().out
        assert "track_id" in (out / "f.jsonl").read_text()

    def test_a_folder_of_pictures_is_a_film(self, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime")
        from tools.checks import tracking

        (tmp_path / "frames").mkdir()
        for i, frame in enumerate(tracking.film(2, 4, 3, 6.0)):
            cv2.imwrite(str(tmp_path / f"frames/{i}.png"), frame.image)
        words = [tmp_path / "frames", "--track", "--no-draw", "--mot", tmp_path / "mot"]
        assert detect.main([str(word) for word in words]) == 0
        rows = (tmp_path / "mot/frames.txt").read_text().splitlines()
        assert [row.split(",")[0] for row in rows] == ["2"] * 3 + ["3"] * 3 + ["4"] * 3
