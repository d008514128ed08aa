"""Files are whole or absent, and what stood there before survives a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_deploy.errors import OutputError
from yolox_deploy.files import cache_folder, make_folder, sha256_of, workplace, write_atomically


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
