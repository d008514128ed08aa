"""Files are whole or absent, and what stood there before survives a failure."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolox_deploy.errors import InputFileError, OutputError
from yolox_deploy.files import (
    STALE_AFTER_S,
    WORKPLACE,
    _sweep,
    cache_folder,
    is_whole,
    make_folder,
    read_input,
    seal,
    sha256_of,
    workplace,
    write_atomically,
)


def test_content_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.txt"
    write_atomically(path, "ä 1")
    assert path.read_text("utf-8") == "ä 1"
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.txt"]


def test_whoever_reads_the_old_file_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old content")
    with path.open("rb", buffering=0) as reader:
        assert reader.read(3) == b"old"
        write_atomically(path, b"new")
        assert reader.read() == b" content"
    assert path.read_bytes() == b"new"


def test_a_path_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.txt", tmp_path / "folder"):
        with pytest.raises(OutputError, match="cannot write"):
            write_atomically(path, "x")
    assert (tmp_path / "file").read_text() == "in the way"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    with pytest.raises(OutputError):
        make_folder(tmp_path / "file")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_folder_is_an_output_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match=str(tmp_path)):
            write_atomically(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    # The limit on a file's size makes write() fail like a full disk does, part of the way.
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from yolox_deploy.errors import OutputError\n"
        "from yolox_deploy.files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_atomically(Path(sys.argv[1]), b'x' * 5000)\n"
        "except OutputError as error:\n    print(error)\n"
    )
    pytest.importorskip("resource")
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert str(path) in run.stdout
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_workplace_disappears_whatever_happens(
    error: type[BaseException], tmp_path: Path
) -> None:
    with pytest.raises(error), workplace(tmp_path / "out") as place:  # noqa: PT012
        (place / "half").write_text("x")
        assert place.parent == tmp_path / "out"
        raise error
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_permissions_are_kept_and_a_link_stays_a_link(mode: int, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far/real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(mode)
    link.symlink_to("far/real.txt")
    write_atomically(link, "new")
    assert link.is_symlink()
    assert (real.read_text(), real.stat().st_mode & 0o777) == ("new", mode)
    assert sorted(os.listdir(tmp_path)) == ["far", "link.txt"]
    assert os.listdir(tmp_path / "far") == ["real.txt"]


def test_a_device_is_written_to_and_a_socket_is_left_alone(tmp_path: Path) -> None:
    write_atomically(Path(os.devnull), "x")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(Path("/dev/full"), "x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(OutputError, match="a socket"):
            write_atomically(tmp_path / "s", "x")
    assert (tmp_path / "s").is_socket()


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path: Path) -> None:
    """But neither what a living process works in, nor what is not a day old, nor a link."""
    (tmp_path / "precious").mkdir()
    dead, fresh, link = (tmp_path / f"{WORKPLACE}{name}" for name in ("dead", "fresh", "link"))
    for folder in (dead, fresh):
        folder.mkdir()
        (folder / "half").write_text("x")
    link.symlink_to("precious")
    long_ago = time.time() - STALE_AFTER_S - 60
    with workplace(tmp_path) as living:
        for place in (dead, living, link):
            os.utime(place, (long_ago, long_ago), follow_symlinks=False)
        _sweep.cache_clear()
        write_atomically(tmp_path / "a.txt", "x")
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"a.txt", "precious", fresh.name, link.name, living.name}


def test_a_sealed_file_is_whole_until_one_of_its_files_changes(tmp_path: Path) -> None:
    main, other = tmp_path / "m.xml", tmp_path / "m.bin"
    main.write_text("one")
    assert not is_whole(main)
    other.write_text("two")
    seal(main, [main, other])
    assert is_whole(main)
    other.write_text("tw")
    assert not is_whole(main)
    seal(main, [main, other])
    other.unlink()
    assert not is_whole(main)
    (tmp_path / "m.xml.sha256").write_bytes(b"\xff")
    assert not is_whole(main)


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_of(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [
        ("/own", "/xdg", Path("/own")),
        ("~/own", None, Path("~/own").expanduser()),
        (None, "/xdg", Path("/xdg/yolox_deploy")),
        (None, None, Path("~/.cache/yolox_deploy").expanduser()),
    ],
)
def test_the_cache_folder_follows_the_environment(
    own: str | None, xdg: str | None, expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name, value in (("YOLOX_DEPLOY_CACHE", own), ("XDG_CACHE_HOME", xdg)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert cache_folder() == expected


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_device_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="/dev/zero: larger than 1 MiB, so no report"):
        read_input(Path("/dev/zero"), 1 << 20, "report")
    (tmp_path / "small").write_bytes(b"abc")
    assert read_input(tmp_path / "small", 3, "report") == b"abc"
    with pytest.raises(InputFileError, match="larger than 0 MiB"):
        read_input(tmp_path / "small", 2, "report")
