"""Drawn pictures in files, notebooks and windows."""

from __future__ import annotations

import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_deploy import Detections
from yolox_deploy.errors import ImageError, OutputError, UsageError
from yolox_deploy.pictures import output
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.output import WRITABLE_SUFFIXES, write_picture

FOUND = Detections([[20, 30, 60, 70]], [0.9], [0], ("dog",), (100, 120))
IMAGE = np.full((100, 120, 3), 90, np.uint8)


@pytest.mark.parametrize("suffix", [*WRITABLE_SUFFIXES, ".PNG"])
def test_the_suffix_decides_the_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / f"fünf{suffix}"
    assert FOUND.save(path, IMAGE) == path
    exact = suffix.lower() in (".png", ".bmp", ".tif", ".tiff")
    stored, drawn = read_image(path).astype(int), FOUND.draw(IMAGE).astype(int)
    assert np.abs(stored - drawn).mean() <= (0 if exact else 5)
    if suffix == ".webp":
        assert path.read_bytes()[8:12] == b"WEBP"


def test_the_options_of_drawing_are_those_of_saving(tmp_path: Path) -> None:
    path = FOUND.save(str(tmp_path / "a.png"), IMAGE, labels=False, thickness=3)
    np.testing.assert_array_equal(read_image(path), FOUND.draw(IMAGE, labels=False, thickness=3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.gfi", r"'\.gfi' is not one of \.jpg"),
        ("a", r"none, instead of one of \.jpg"),
        ("a.pgm", "pgm"),
        ("a.mp4", "mp4"),
        ("folder.png", "folder"),
        ("file.png/a.png", "cannot write"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.png").write_bytes(b"x")
    with pytest.raises(OutputError, match=message) as caught:
        FOUND.save(tmp_path / name, IMAGE)
    assert str(tmp_path / name.split("/", maxsplit=1)[0]) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.png", "folder.png"]


def test_the_picture_itself_is_never_written_over(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "dog.png", IMAGE)
    before = path.read_bytes()
    link = tmp_path / "link.png"
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(OutputError, match="choose another name"):
            FOUND.save(target, path)
    assert path.read_bytes() == before
    assert FOUND.save(tmp_path / "other.png", path).exists()


def test_what_stood_there_stays_where_drawing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    with pytest.raises(ImageError):
        FOUND.save(path, tmp_path / "missing.png")
    with pytest.raises(UsageError):
        FOUND.save(path, IMAGE, thickness=0)
    assert path.read_bytes() == b"before"


def test_a_path_in_the_second_place_is_explained(tmp_path: Path) -> None:
    swapped: Any = IMAGE
    with pytest.raises(UsageError, match="the path comes first, then the picture; got ndarray"):
        FOUND.save(swapped, tmp_path / "a.png")


def test_a_picture_too_large_for_its_format_is_refused(tmp_path: Path) -> None:
    wide = np.zeros((1, 20_000, 3), np.uint8)
    with pytest.raises(OutputError, match=r"a\.webp") as caught:
        write_picture(tmp_path / "a.webp", wide)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.webp").exists()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give the pictures that OpenCV's window was asked to show."""
    shown: list[Any] = []
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(output, "_can_open_windows", lambda: True)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda delay: 27)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, name: 1.0)
    monkeypatch.setattr(cv2, "destroyWindow", lambda title: None)
    return shown


def test_a_window_shows_the_drawing(screen: list[Any]) -> None:
    FOUND.show(IMAGE, labels=False)
    (shown,) = screen
    np.testing.assert_array_equal(shown, FOUND.draw(IMAGE, labels=False))


def test_large_pictures_are_shown_smaller(screen: list[Any]) -> None:
    Detections.empty().show(np.zeros((400, 3200, 3), np.uint8))
    assert screen[0].shape == (200, 1600, 3)


def test_a_window_that_is_closed_with_the_mouse_ends_the_call(
    screen: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(title: str) -> None:
        raise cv2.error("no such window")

    monkeypatch.setattr(cv2, "waitKey", lambda delay: -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, name: -1.0)
    monkeypatch.setattr(cv2, "destroyWindow", gone)
    FOUND.show(IMAGE)
    assert len(screen) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays of Linux")
def test_without_windows_the_viewer_of_the_system_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The display cannot be reached, with which OpenCV's Qt ends its process."""
    monkeypatch.setenv("DISPLAY", ":77")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=r"save\(path, image\)"):
        FOUND.show(IMAGE)
    assert list(tmp_path.iterdir()) == []
    viewer = tmp_path / "xdg-open"
    viewer.write_text(f"#!{sys.executable}\nimport shutil, sys\nshutil.copy(sys.argv[1], 'seen')\n")
    viewer.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    FOUND.show(IMAGE)
    seen = cv2.imdecode(np.fromfile("seen", np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(seen, FOUND.draw(IMAGE))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays of Linux")
def test_without_a_display_the_error_names_save(
    screen: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(OutputError, match=r"no display.*save\(path, image\)"):
        FOUND.show(IMAGE)
    assert screen == []


@pytest.mark.parametrize("kernel", [object(), None], ids=["notebook", "terminal"])
def test_a_notebook_shows_the_drawing_in_the_page(
    kernel: object, screen: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ipython, module, page = types.ModuleType("IPython"), types.ModuleType("IPython.display"), []
    shell = types.SimpleNamespace(kernel=kernel)
    ipython.__dict__["get_ipython"] = lambda: shell
    module.__dict__.update(Image=lambda data, format: (data, format), display=page.append)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    FOUND.show(IMAGE)
    assert (len(page), len(screen)) == ((1, 0) if kernel else (0, 1))
    if kernel:
        data, kind = page[0]
        assert kind == "png"
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(stored, FOUND.draw(IMAGE))


def test_an_ipython_that_is_half_imported_is_no_notebook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    assert not output._in_notebook()
