"""One command line: lists, defaults, mistakes and ``--json -`` are alike in every command."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import pytest

from yolox_deploy.cli import (
    bench,
    bench_files,
    convert,
    detect,
    doctor,
    evaluate,
    export,
    other_tools,
    train,
)
from yolox_deploy.cli.parser import Listing, Parser
from yolox_deploy.errors import UsageError

PARSERS = {
    module.COMMAND: module.parser
    for module in (export, detect, doctor, evaluate, bench, train, convert)
} | {"compare": bench_files.compare_parser, "show": bench_files.show_parser}
every_parser = pytest.mark.parametrize("name", PARSERS)


def options(name: str) -> list[argparse.Action]:
    return [action for action in PARSERS[name]()._actions if action.option_strings]


def real_defaults() -> dict[str, object]:
    """Defaults that the library decides, by option of ``yolox-train``."""
    from yolox_deploy.training import Settings

    settings = Settings.__dataclass_fields__
    return {f"--{name}": settings[name].default for name in ("batch", "seed", "workers")}


@every_parser
def test_every_default_in_the_help_is_the_real_one(name: str) -> None:
    real = real_defaults() if name == train.COMMAND else {}
    for action in options(name):
        option = action.option_strings[-1]
        if action.nargs == 0 or action.required or isinstance(action, argparse._VersionAction):
            continue
        text = PARSERS[name]()._get_formatter()._get_help_string(action)
        promised = re.search(r"\(default: ((?:[^()]|\([^()]*\))*)\)", text or "")
        assert promised, f"{option}: {text}"
        default = real.get(option, action.default)
        if isinstance(default, tuple | list):
            default = ", ".join(map(_shown, default)) or None
        if default in (None, Path(), "") or isinstance(default, bool):
            # A number would be a promise that nothing keeps.
            assert not re.match(r"-?[\d.]+$", promised[1]), f"{option}: {promised[1]}"
        else:
            assert promised[1].startswith(_shown(default)), f"{option}: {promised[1]} is {default}"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@every_parser
def test_every_list_takes_spaces_and_commas(name: str) -> None:
    for action in options(name):
        if type(action) is Listing and action.metavar != "NAME=VALUE":
            alone = Parser()
            alone.add_argument("--list", action=type(action), type=action.read)
            words = ["3", "4"] if action.read in (int, float) else ["a", "b"]
            expected = [action.read(word) for word in words]
            for line in (["--list", *words], ["--list", ",".join(words)], [f"--list={words[0]}",
                         "--list", words[1]], ["--list", f"{words[0]}, {words[1]}"]):  # fmt: skip
                assert alone.parse_args(line).list == expected, action.option_strings


def test_options_that_take_lists_take_them_everywhere() -> None:
    lists = {
        name: {a.option_strings[-1] for a in options(name) if isinstance(a, Listing)}
        for name in PARSERS
    }
    assert {"--to", "--imgsz", "--names", "--targets", "--batch"} <= lists["yolox-export"]
    assert {"--classes", "--imgsz", "--names", "--engine-setting"} <= lists["yolox-detect"]
    assert {"--model", "--backend", "--imgsz", "--names"} <= lists["yolox-eval"]
    assert {"--model", "--backend", "--precision", "--images", "--speed"} <= lists["yolox-bench"]
    assert {"--data", "--images", "--val", "--val-images", "--set"} <= lists["yolox-train"]


def test_a_comma_in_the_name_of_a_file_divides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b.onnx").touch()
    words = ["--data", "x", "--images", "y", "--model", "a,b.onnx,c.onnx", "d,a,b.onnx"]
    assert evaluate.parser().parse_args(words).model == ["a,b.onnx", "c.onnx", "d", "a,b.onnx"]


@pytest.mark.parametrize(
    ("line", "classes", "sources"),
    [
        ("--classes cat,dog a.jpg", ["cat", "dog"], ["a.jpg"]),
        ("--classes cat dog a.jpg *.jpg", ["cat", "dog"], ["a.jpg", "*.jpg"]),
        ("a.jpg --classes cat dog", ["cat", "dog"], ["a.jpg"]),
        ("--no-draw a.jpg --classes cat dog", ["cat", "dog"], ["a.jpg"]),
        ("--classes cat a.jpg --no-draw a.jpg", ["cat", "a.jpg"], ["a.jpg"]),
        ("--classes cat dog -- a.jpg", ["cat", "dog"], ["a.jpg"]),
    ],
)
def test_pictures_may_follow_a_list(
    line: str,
    classes: list[str],
    sources: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").touch()
    Path("dog").mkdir()
    found = detect.parser().parse_args(line.split())
    assert (found.classes, found.sources) == (classes, sources)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("yolox-export", "--modle x.pth", "unknown option --modle; did you mean '--model'?"),
        ("yolox-export", "-model x.pth", "unknown option -model; did you mean '--model'?"),
        ("yolox-detect", "a.jpg --threshold 0.5",
         "unknown option --threshold; did you mean '--score-threshold'?"),
        ("yolox-export", "--opset x", "--opset: expected a whole number, got 'x'"),
        ("yolox-export", "--opset", "--opset needs a value"),
        ("yolox-export", "x.pth", "'x.pth' belongs to no option; write --model x.pth"),
        ("yolox-export", "x", "'x' belongs to no option (--help shows examples)"),
        ("yolox-export", "--out x", "unknown option --out; did you mean '--output'?"),
        ("yolox-detect", "a.jpg --engine openvino", "unknown option --engine; write --backend"),
        ("yolox-export", "--engine x", "unknown option --engine; write --to trt"),
        ("yolox-detect", "a.jpg --conf=0.5", "unknown option --conf; write --score-threshold"),
        ("yolox-detect", "a.jpg --nms 0.5", "unknown option --nms; write --iou-threshold"),
        ("yolox-detect", "--path a.jpg", "unknown option --path; write SOURCE without an option"),
        ("yolox-detect", "a.jpg -n yolox-s", "unknown option -n; write --model yolox_s"),
        ("yolox-train", "-c x.pth", "unknown option -c; write --weights"),
        ("yolox-train", "--nms 0.5", "unknown option --nms"),
        ("yolox-detect", "a.jpg --save_result", "unknown option --save_result; write --output"),
        ("yolox-bench", "--compare", "unknown option --compare; write yolox-bench compare A.json "
         "B.json"),
        ("yolox-export", "--to ,", "--to: ',' names nothing"),
        ("yolox-export", "--dynamic=yes", "--dynamic takes no value, got 'yes'"),
        ("yolox-detect", "", "SOURCE: missing (--help shows examples)"),
        ("yolox-detect", "a.jpg --score-threshold high",
         "--score-threshold: expected a number, got 'high'"),
        ("yolox-eval", "--data x", "--model, --images: missing (--help shows examples)"),
        ("yolox-bench", "--imgsz 4x4", "--imgsz: expected a whole number, got '4x4'"),
        ("yolox-train", "--precision bf61",
         "--precision bf61: expected fp32, bf16, fp16; did you mean 'bf16'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(name: str, line: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        PARSERS[name]().parse_args(line.split())
    assert str(raised.value) == message


def test_the_names_of_other_tools_are_documented_and_lead_to_options_that_exist() -> None:
    known = {option for name in PARSERS for action in options(name)
             for option in action.option_strings} | {"SOURCE", bench.COMMAND}  # fmt: skip
    page = Path(__file__).parents[2].joinpath("docs/troubleshooting.md").read_text()
    for theirs, ours in other_tools.NAMES:
        assert {answer.split()[0] for answer in ours} <= known
        dashed = [f"-{word}" if len(word) == 1 else f"--{word}" for word in theirs.split()]
        cells = (", ".join(f"`{word}`" for word in words) for words in (dashed, ours))
        assert f"| {' | '.join(cells)} |" in page


@pytest.mark.parametrize("name", ["doctor", "detect", "eval", "export"])
def test_json_on_the_standard_output_is_alone_there(
    name: str,
    command: Any,
    process: Any,
    tiny_pth: Path,
    dog_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    shutil.copy(dog_path, tmp_path / "pictures")
    truth: dict[str, Any] = {"images": [{"id": 1, "file_name": "dog.jpg", "height": 576,
                                         "width": 768}]}  # fmt: skip
    truth["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    truth["annotations"] = [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [9, 9, 50, 50],
                             "area": 2500, "iscrowd": 0}]  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    line: list[object] = {
        "doctor": [],
        "detect": [dog_path, "--model", tiny_pth, "--backend", "torch", "--no-draw"],
        "eval": ["--model", tiny_pth, "--data", "truth.json", "--images", "pictures"],
        "export": ["--model", tiny_pth, "--output", "artifacts"],
    }[name]
    # The converters print from C, which only a process of its own shows.
    run = process if name == "export" else command
    found = run(f"yolox-{name}", *line, "--json", "-", "--quiet")
    assert (found.code, found.err) == (0, "")
    content = json.loads(found.out)
    assert (content["format"], content["version"]) == (f"yolox-{name}", 1)
    if name == "export":
        (artifact,) = content["artifacts"]
        assert artifact["path"] == "artifacts/tiny.onnx"
        assert artifact["bytes"] == (tmp_path / "artifacts/tiny.onnx").stat().st_size
        assert artifact["verification"]["status"] == "passed"


def test_only_one_result_can_have_the_standard_output(command: Any, dog_path: Path) -> None:
    found = command("yolox-detect", dog_path, "--json", "-", "--csv", "-", "--no-draw")
    assert found.code == 2
    assert "--json and --csv: only one" in found.err


def test_what_libraries_print_stays_off_the_standard_output(process: Any) -> None:
    code = """
import os, sys
from yolox_deploy import terminal
with terminal.reserved_output():
    os.write(1, b"a library prints this\\n")
    print("and this")
    terminal.write_output("{}")
print("later")
"""
    done = process("yolox-doctor", "--version", before=code)
    assert done.out.startswith("{}later\nyolox-doctor ")
    assert done.err == "a library prints this\nand this\n"


def test_lines_of_c_libraries_stay_off_the_terminal(
    process: Any, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    """A profile that libpng warns of, a PNG that is cut off, and a JPEG with a hole."""
    png = cv2.imencode(".png", cv2.imread(str(dog_path)))[1].tobytes()
    profile = b"iCCP" + b"x\0\0" + zlib.compress(b"nonsense")
    chunk = struct.pack(">I", len(profile) - 4) + profile + struct.pack(">I", zlib.crc32(profile))
    (tmp_path / "a.png").write_bytes(png[:33] + chunk + png[33:])
    (tmp_path / "b.png").write_bytes(png[: len(png) // 2])
    jpeg = dog_path.read_bytes()
    half = len(jpeg) // 2
    (tmp_path / "c.jpg").write_bytes(jpeg[:half] + b"\x55\xff" * 20 + jpeg[half + 40 :])
    found = process("yolox-detect", tmp_path, "--model", onnx_nano, "--no-draw")
    assert found.code == 6
    damaged, unreadable = found.err.splitlines()
    assert re.match("note: .*c.jpg was read, but is damaged: Corrupt JPEG data", damaged)
    assert re.search(r"b.png: not a picture that OpenCV can decode \(.*incomplete\)", unreadable)
    assert "2 pictures in" in found.out
    assert cv2.imread(str(tmp_path / "a.png")) is not None


CRASH = """
import os
from yolox_deploy import terminal
with terminal.errors_apart(), terminal.native_lines() as said:
    os.write(2, b"first\\nsecond\\n" + b"x" * 100_000)
    terminal.say("ours")
assert said[:2] == ["first", "second"], said
os.write(2, b"a crash says why\\n")
os.abort()
"""


def test_only_short_calls_are_silenced(process: Any) -> None:
    ended = process("yolox-doctor", before=CRASH)
    assert ended.code == -signal.SIGABRT
    assert ended.err.startswith("ours\na crash says why\n")
