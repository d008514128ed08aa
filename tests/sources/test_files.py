"""Videos, numbered pictures and lists as sources: which frames, when, and what is no source."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from films import HEIGHT, UNEVEN, WIDTH, grey, number_of, rotated, write_film, write_sound

from yolox_deploy.errors import (
    ImageError,
    InputFileError,
    ModelWarning,
    SourceError,
    UsageError,
)
from yolox_deploy.sources import Frame, Source, find_sources
from yolox_deploy.sources.still import ArraySource

pytest.importorskip("av")


def frames_of(*words: object, **options: object) -> list[Frame]:
    sources: list[Source] = find_sources(map(str, words), **options)  # type: ignore[arg-type]
    return [frame for source in sources for frame in source.frames()]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "uneven.mp4")


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9")],
)
def test_frames_come_in_order_with_their_times(name: str, codec: str, tmp_path: Path) -> None:
    path = write_film(tmp_path / name, codec=codec)
    found = frames_of(path)
    assert [frame.index for frame in found] == list(range(len(UNEVEN)))
    assert [number_of(frame.image) for frame in found] == list(range(len(UNEVEN)))
    assert [frame.time for frame in found] == pytest.approx(UNEVEN, abs=0.002)
    assert found[0].image.shape == (HEIGHT, WIDTH, 3)


def test_a_video_is_turned_as_it_says(film: Path, tmp_path: Path) -> None:
    """As OpenCV's reader turns it, which has a way of its own."""
    path = rotated(film, tmp_path / "turned.mp4")
    (first, *_) = frames_of(path)
    capture = cv2.VideoCapture(str(path))
    good, expected = capture.read()
    capture.release()
    assert good
    assert first.image.shape == expected.shape == (WIDTH, HEIGHT, 3)
    assert np.abs(first.image.astype(int) - expected).mean() < 3
    assert first.image[-8:].mean() > 240


def test_what_is_damaged_is_read_as_far_as_it_goes_and_said(film: Path, tmp_path: Path) -> None:
    whole = write_film(tmp_path / "whole.ts", [i / 25 for i in range(20)]).read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert 0 < len(frames_of(tmp_path / "cut.ts")) < 20
    start = write_film(tmp_path / "start.mp4", options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(start[: len(start) - 30])
    with pytest.warns(ModelWarning, match=r"cut off: [1-7] of 8 frames could be read"):
        assert 0 < len(frames_of(tmp_path / "cut.mp4")) < 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.mp4", "the file is empty"),
        ("text.mp4", "no video that FFmpeg can read"),
        ("truncated.mp4", "damaged or cut off"),
        ("sound.wav", "there is no video in it"),
        ("none.mp4", "no such file"),
        ("nothing/", "without pictures or videos"),
        ("%03d.png", "no file has such a name"),
        ("ftp://here/a.mp4", "expected an address that begins with rtsp"),
        ("file:///etc/passwd", "expected an address that begins with rtsp"),
        ("empty.txt", "there is no path in it"),
        ("nested.txt", "a list cannot name another list"),
        ("binary.txt", "no text file with a path per line"),
    ],
)
def test_what_is_no_source_is_one_line(
    name: str, message: str, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    for file, content in {
        "empty.mp4": b"",
        "text.mp4": b"no video" * 1000,
        "truncated.mp4": film.read_bytes()[:1500],
        "empty.txt": b"# nothing\n\n",
        "nested.txt": b"empty.txt\n",
        "binary.txt": b"\xff\xfe\xff",
    }.items():
        (tmp_path / file).write_bytes(content)
    write_sound(tmp_path / "sound.wav")
    with pytest.raises((InputFileError, UsageError), match=message) as caught:
        frames_of(name)
    assert "\n" not in str(caught.value)


def test_large_frames_are_refused_before_they_are_decoded(film: Path) -> None:
    with pytest.raises(SourceError, match=r"frames of 6,144 pixels, more than the 6,000"):
        frames_of(film, max_pixels=6000)


def test_numbered_pictures_are_a_film(tmp_path: Path) -> None:
    for number in (10, 11, 9, 13):
        cv2.imwrite(str(tmp_path / f"f_{number:04d}.png"), grey(number - 9))
    cv2.imwrite(str(tmp_path / "f_1.png"), grey(0))
    found = frames_of(tmp_path / "f_%04d.png", fps=10)
    assert [number_of(frame.image) for frame in found] == [0, 1, 2, 4]
    assert [frame.time for frame in found] == pytest.approx([0, 0.1, 0.2, 0.4])
    source = found[0].source
    assert (source.moving, source.stem, source.count) == (True, "f", 4)
    assert len(frames_of(tmp_path / "f_%d.png")) == 5
    with pytest.raises(UsageError, match="fps must lie above 0"):
        frames_of(tmp_path / "f_%d.png", fps=0)


def test_a_list_and_a_folder_name_both_kinds_once(film: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/a.png"), grey(1))
    (tmp_path / "in/b.mp4").write_bytes(film.read_bytes())
    (tmp_path / "list.txt").write_text("# both\nin/a.png\n\nin/b.mp4\nin\n")
    sources = find_sources([tmp_path / "list.txt", tmp_path / "in" / "*.mp4"])
    assert [(source.path and source.path.name, source.moving) for source in sources] == [
        ("a.png", False),
        ("b.mp4", True),
    ]


def test_arrays_are_a_film_and_a_wrong_one_is_named() -> None:
    images = [grey(0), grey(1)[..., 0]]
    found = list(ArraySource(images, 4).frames())
    assert [(frame.time, frame.image.shape) for frame in found] == [
        (0.0, (HEIGHT, WIDTH, 3)),
        (0.25, (HEIGHT, WIDTH, 3)),
    ]
    with pytest.raises(ImageError, match="picture 1 "):
        list(ArraySource([grey(0), None]).frames())  # type: ignore[list-item]
