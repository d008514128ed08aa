"""The help and the ends of the commands, which scripts build on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import yolox_deploy
from yolox_deploy.cli import bench, common, convert, detect, doctor, evaluate, export
from yolox_deploy.cli.parser import Parser, add_options
from yolox_deploy.cli.planning import plan
from yolox_deploy.cli.proof import compare, verify
from yolox_deploy.errors import UsageError, YoloxDeployError

ALL = (export, detect, doctor, evaluate, bench, convert, verify, compare, plan)
COMMANDS = [module.COMMAND for module in ALL]
OWN_CODES: dict[str, tuple[int, ...]] = {
    "yolox-export": (5, 8, 9, 10, 12),
    "yolox-detect": (5, 6, 8, 9),
    "yolox-doctor": (),
    "yolox-eval": (5, 8, 9),
    "yolox-bench": (5, 8, 9),
    "yolox-data": (),
    "yolox-verify": (5, 12),
    "yolox-compare": (5, 8, 9),
    "yolox-plan": (5, 8, 9, 14),
}
every_command = pytest.mark.parametrize("name", COMMANDS)


def kinds(base: type[YoloxDeployError]) -> Iterator[type[YoloxDeployError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


def documented() -> set[int]:
    return set(common.EXIT_CODES)


def test_every_exit_code_is_documented() -> None:
    used = {kind.exit_code for kind in kinds(YoloxDeployError)}
    signals = {common.HUNG_UP, common.INTERRUPTED, common.TERMINATED}
    done = {0, common.SOME_UNREADABLE, common.WITHOUT_PROOF, common.NO_BETTER}
    assert used | signals | done == documented()


@every_command
def test_the_help_names_the_exit_codes_of_the_command_and_shows_examples(
    name: str, command: Any
) -> None:
    found = command(name, "--help")
    assert found.code == 0
    own = {int(code) for code in re.findall(r"^  (\d+)  \w", found.out, re.M)}
    assert own == {*common.COMMON_CODES, *OWN_CODES[name]}
    assert f"examples:\n  {name}" in found.out
    assert max(map(len, found.out.splitlines())) < 200


@every_command
def test_the_version_is_the_packages(name: str, command: Any) -> None:
    found = command(name, "--version")
    assert (found.code, found.out) == (0, f"{name} {yolox_deploy.__version__}\n")


@every_command
def test_an_unknown_argument_is_wrong_usage(name: str, command: Any) -> None:
    found = command(name, "--zzzz")
    assert found == (2, "", f"{name}: unknown option --zzzz\n")


@pytest.mark.parametrize(
    ("values", "expected"),
    [(None, None), ([416], (416, 416)), ([384, 640], (384, 640))],
    ids=str,
)
def test_one_side_is_a_square_and_two_are_height_and_width(values: Any, expected: Any) -> None:
    assert common.image_size(values) == expected


def test_a_table_declares_options() -> None:
    parser = Parser()
    table = """
        --image-size PIXELS ...: one side, or
            --height and width
        --rate RATE: frames: per second
        --[no-]fold: fold
        --fast: hurry
        --folder DIR: where to
    """
    add_options(parser, table, required=("folder",), rate=30)
    words = ["--image-size", "3,4", "--no-fold", "--folder", "x"]
    expected = {"image_size": [3, 4], "rate": 30, "fold": False, "fast": False}
    assert vars(parser.parse_args(words)) == {**expected, "folder": Path("x")}
    assert "one side, or --height and width" in parser.format_help()
    assert "frames: per second (default: 30)" in parser.format_help()
    with pytest.raises(UsageError, match="--folder: missing"):
        parser.parse_args([])
    with pytest.raises(ValueError, match="unpack"):
        add_options(parser, "--without-help")


def test_names_come_from_a_list_or_a_file(tmp_path: Any) -> None:
    assert common.class_names(None) is None
    assert common.class_names(["cat", "big horse"]) == ("cat", "big horse")
    file = tmp_path / "names.txt"
    file.write_text("cat\n\n dog, small \nbig horse\n", "utf-8")
    assert common.class_names([str(file)]) == ("cat", "dog, small", "big horse")
    file.write_text("cat\r\ndog\r\n", "utf-8-sig")
    assert common.class_names([str(file)]) == ("cat", "dog")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"no text file with class names .*: save it as UTF-8"):
        common.class_names([str(file)])


def test_a_reader_that_has_enough_is_no_error(environment: dict[str, str]) -> None:
    """As in ``yolox-doctor | head -1``."""
    code = "import sys; from yolox_deploy.cli.doctor import main; sys.exit(main(['--json']))"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
