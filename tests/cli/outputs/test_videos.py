"""``yolox-detect`` on videos: every kind of result, what is refused, what an interrupt leaves."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest
from films import UNEVEN, grey, read_film, write_film
from interrupting import started

pytest.importorskip("av")
pytest.importorskip("onnxruntime")

DIGITS = Path(__file__).parents[3] / "yolox_deploy/assets/digits_1.jpg"
MODEL = Path(__file__).parents[3] / "yolox_deploy/assets/digits_nano.onnx"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same picture of digits, which has an odd side, again and again."""
    picture = cv2.imread(str(DIGITS))[:405, :405]
    path = tmp_path_factory.mktemp("film") / "digits.mkv"
    # H.264 with the usual pixels has no odd sides.
    return write_film(path, UNEVEN, images=[picture] * len(UNEVEN), codec="ffv1")


def test_every_kind_of_result_of_a_video(command: Any, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = command(
        *("yolox-detect", film, DIGITS, "--model", MODEL, "--threads", 1, "--output", out),
        *("--json", out / "r.json", "--jsonl", out / "r.jsonl", "--csv", out / "r.csv"),
        *("--txt", out / "txt", "--coco", out / "coco.json"),
    )
    assert (found.code, found.err) == (0, "")
    assert "1 picture and 8 frames in" in found.out
    drawn = list(read_film(out / "digits.mp4"))
    assert [time for _, time in drawn] == pytest.approx(UNEVEN, abs=0.001)
    capture = cv2.VideoCapture(str(out / "digits.mp4"))
    assert (capture.get(3), capture.get(4)) == (406, 406)
    capture.release()

    entries = [json.loads(line) for line in (out / "r.jsonl").read_text().splitlines()]
    assert entries == json.loads((out / "r.json").read_text())["pictures"]
    assert [entry.get("frame") for entry in entries] == [*range(8), None]
    assert [e["time"] for e in entries[:8]] == pytest.approx(UNEVEN, abs=0.001)
    count = len(entries[0]["detections"])
    assert count > 2
    rows = list(csv.DictReader((out / "r.csv").open()))
    assert [row["frame"] for row in rows[: 8 * count]] == [
        str(i) for i in range(8) for _ in range(count)
    ]
    assert {row["frame"] for row in rows[8 * count :]} == {""}
    assert sorted(p.name for p in (out / "txt/digits").iterdir()) == [
        f"{i:06d}.txt" for i in range(1, 9)
    ]
    names = [image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]]
    assert names[0].endswith("digits/000001.jpg")
    assert names[8].endswith(DIGITS.name)


def test_a_video_is_never_written_over(command: Any, film: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_film(path)
    before = path.read_bytes()
    found = command("yolox-detect", path, "--model", MODEL, "--output", tmp_path)
    assert (found.code, "one of the files to read" in found.err) == (2, True)
    found = command("yolox-detect", film, "--model", MODEL, "--no-draw", "--jsonl", path)
    assert (found.code, "no text is there already" in found.err) == (7, True)
    (tmp_path / "digits.mp4").write_text("precious")
    found = command("yolox-detect", film, "--model", MODEL, "--output", tmp_path)
    assert (found.code, "it is there already" in found.err) == (7, True)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"a.mp4", "digits.mp4"}


def test_a_video_that_cannot_be_read_is_named_and_the_others_are_done(
    command: Any, film: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.mp4").write_bytes(b"no video")
    shutil.copy(film, tmp_path / "in/good.mkv")
    found = command(
        *("yolox-detect", tmp_path / "in", tmp_path / "missing.mp4", "--model", MODEL),
        *("--no-draw",),
    )
    assert (found.code, found.err.count("\n")) == (3, 1)
    lines = tmp_path / "r.jsonl"
    found = command(
        "yolox-detect", tmp_path / "in", "--model", MODEL, "--no-draw", "--jsonl", lines
    )
    assert found.code == 6
    assert found.err.splitlines() == [
        f"yolox-detect: {tmp_path}/in/bad.mp4: no video that FFmpeg can read, or it is damaged or "
        "cut off"
    ]
    assert len(lines.read_text().splitlines()) == 8


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_film(path, [i / 25 for i in range(2000)], images=[grey(3)] * 2000)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_valid_files_of_what_was_done(
    number: signal.Signals,
    code: int,
    long_film: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    out = tmp_path / "out"
    words = [long_film, "--model", MODEL, "--threads", "1", "--output", out, "--csv", out / "r.csv"]
    words += ["--json", out / "r.json", "--jsonl", "-"]
    with started("detect", *words, number=number, env=environment) as process:
        assert process.stdout is not None
        first = [json.loads(process.stdout.readline())["frame"] for _ in range(20)]
        process.send_signal(number)
        rest, told = process.communicate(timeout=300)
    assert process.returncode == code
    assert first == list(range(20))
    done = 20 + len(rest.splitlines())
    assert done < 2000
    kept, interrupted = told.splitlines()[-2:]
    assert kept.startswith("yolox-detect: kept the results of ")
    assert interrupted == "yolox-detect: interrupted; nothing was left half-written"
    assert sorted(p.name for p in out.iterdir()) == ["long.mp4", "r.csv", "r.json"]
    assert abs(len(json.loads((out / "r.json").read_text())["pictures"]) - done) <= 1
    drawn = list(read_film(out / "long.mp4"))
    assert abs(len(drawn) - done) <= 1
    assert (out / "r.csv").read_text().endswith("\n")
