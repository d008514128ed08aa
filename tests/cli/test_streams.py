"""Terminals and pipes of every kind, and names that no terminal should obey."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from yolox_deploy.export.onnx import embed_spec
from yolox_deploy.spec import ModelSpec
from yolox_deploy.terminal import plain

DETECT = "import sys\nfrom yolox_deploy.cli.detect import main\nsys.exit(main(sys.argv[1:]))\n"
# "café.jpg" in Latin-1, as old archives unpack it.
LATIN_1 = b"caf\xe9.jpg"
POSIX = pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX")


def with_names(source: Path, target: Path, **names: str) -> Path:
    """Copy an ONNX artifact under other class names; a hostile one may hold anything."""
    model = onnx.load(source)
    spec = ModelSpec.from_json(model.metadata_props[0].value)
    embed_spec(model, spec.with_names(tuple(names.get(n, n) for n in spec.class_names)))
    onnx.save(model, target)
    return target


@pytest.fixture
def detect(environment: dict[str, str], onnx_nano: Path, dog_path: Path, tmp_path: Path) -> Any:
    """Run yolox-detect on the dog in a shell: ``detect("> /dev/full", "--no-draw")``."""

    def run(
        redirection: str = "",
        *arguments: object,
        model: Path = onnx_nano,
        more: Sequence[Path] = (),
        **variables: str,
    ) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-c", DETECT, dog_path, *more, "--model", model, "--threads", "1"]
        script = f'"$@" {redirection}; echo "code ${{PIPESTATUS[0]}}" >&2'
        return subprocess.run(
            ["bash", "-c", script, "bash", *map(os.fspath, words), *map(os.fspath, arguments)],
            env={**environment, "PYTHONUNBUFFERED": "", **variables},
            capture_output=True,
            cwd=tmp_path,
            timeout=600,
        )

    return run


@POSIX
@pytest.mark.parametrize(
    ("redirection", "code", "error"),
    [
        ("> /dev/full", 7, b"cannot write to the standard output: No space left on device"),
        (">&-", 7, b"cannot write to the standard output: Bad file descriptor"),
        ("| head -c 0", 0, b""),
        ("2>&1 >&- | cat", 7, b""),
        ("< /dev/null 0<&- >&- 2>&-", 7, b""),
    ],
)
def test_whatever_the_output_is_the_files_are_written(
    redirection: str, code: int, error: bytes, detect: Any, tmp_path: Path
) -> None:
    found = detect(redirection, "--no-draw", "--json", "found.json")
    assert found.stderr.splitlines()[-1] == b"code %d" % code
    assert b"\n".join(found.stderr.splitlines()[:-1]).endswith(error)
    assert len(found.stderr.splitlines()) == 1 + bool(error)
    assert b"Traceback" not in found.stdout + found.stderr
    assert len(json.loads((tmp_path / "found.json").read_text())["pictures"][0]["detections"]) == 5


@POSIX
@pytest.mark.parametrize("output", [(), ("--jsonl", "-")], ids=str)
def test_a_run_ends_when_nobody_reads_its_only_results(
    output: tuple[str, ...], detect: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("read, it would be reported")
    assert detect("| head -c 0", "--no-draw", *output, more=[broken]).stderr == b"code 0\n"


@POSIX
def test_an_error_needs_no_place_to_be_printed(detect: Any) -> None:
    for redirection in ("2> /dev/full", "2>&-"):
        found = detect(f"--classes nothing {redirection}")
        assert found.stderr.splitlines()[-1] == b"code 2"
        assert found.stdout == b""


def test_any_class_name_is_printed_on_an_ascii_terminal(
    detect: Any, onnx_nano: Path, tmp_path: Path
) -> None:
    names = {"dog": "\u72ac \xe9", "bicycle": "\x1b]0;owned\x07\x1b[31mred\u202e", "car": "\ud800"}
    model = with_names(onnx_nano, tmp_path / "names.onnx", **names)
    found = detect("", "--csv", "found.csv", "--json", "found.json", model=model)
    assert found.stderr == b"code 0\n"
    assert "\u72ac \xe9 0.855".encode() in found.stdout
    found = detect("", "--no-draw", model=model, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert rb"\u72ac \xe9 0.855" in found.stdout
    assert rb"\x1b]0;owned\x07\x1b[31mred\u202e 0.803" in found.stdout
    assert rb"\ud800 0.798" in found.stdout
    assert b"\x1b" not in found.stdout + found.stderr
    stored = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert [d["name"] for d in stored["pictures"][0]["detections"][:3]] == [*names.values()]
    assert (tmp_path / "found.csv").read_text("utf-8")


@POSIX
def test_a_name_that_is_no_utf_8_loses_no_result(
    detect: Any, dog_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(dog_path, os.path.join(os.fsencode(folder), LATIN_1))
    outputs = ("--json", "found.json", "--csv", "found.csv", "--txt", "txt", "--coco", "coco.json")
    found = detect("", *outputs, more=[folder])
    assert found.stderr == b"code 0\n"
    name = os.fsdecode(LATIN_1)
    assert name in os.listdir(tmp_path / "detections")
    assert "caf\udce9.txt" in os.listdir(tmp_path / "txt")
    # Read back, the name leads to the file.
    path = Path(json.loads((tmp_path / "found.json").read_text("utf-8"))["pictures"][1]["image"])
    assert path.name == name
    assert path.is_file()
    images = json.loads((tmp_path / "coco.json").read_text("utf-8"))["images"]
    assert images[1]["file_name"].endswith(name)
    rows = list(csv.reader((tmp_path / "found.csv").read_text("utf-8").splitlines()))
    assert rows[-1][0].endswith("caf\\udce9.jpg")


def test_control_characters_become_visible() -> None:
    assert plain("street 1.jpg\n\xe9\u72ac") == "street 1.jpg\n\xe9\u72ac"
    assert plain("\x1b[2J\r\t\x00\x9b\udce9\u202e") == r"\x1b[2J\r\t\x00\x9b\udce9\u202e"
