"""``yolox-train`` from the outside: one line and an exit code for everything that is wrong."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from yolox_deploy.cli.train import main, parser
from yolox_deploy.training import CocoSource, train

Draw = Callable[..., CocoSource]


NANO = ["--data", "{data}", "--arch", "nano"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "what to train on?"),
        (["--data", "{data}"], 2, "which network?"),
        (["--data", "{data}", "--arch", "nanoo"], 2, "did you mean 'nano'?"),
        (["--data", "gone.json", "--arch", "nano"], 3, "gone.json: cannot be read"),
        (["--data", "gone.yaml", "--arch", "nano"], 3, "gone.yaml: cannot be read"),
        (["--data", "{data}", "--arch", "nano", "--images", "a", "b"], 2, "2 image folders"),
        (["--data", "{data}", "--arch", "nano", "--images", "."], 3, "48 missing pictures"),
        (["--data", "{data}", "--arch", "nano", "--imgsz", "100"], 2, "use 96 or 128"),
        (["--data", "{data}", "--arch", "nano", "--set", "flip_prob"], 2, "NAME=NUMBER"),
        (["--data", "{data}", "--arch", "nano", "--set", "flips=1"], 2, "no setting 'flips'"),
        (["--data", "{data}", "--arch", "nano", "--batch", "0"], 2, "batch must lie in 1.."),
        (
            [*NANO, "--batch", "1", "--imgsz", "32"],
            2,
            "one picture of 32 x 32 pixels is too little",
        ),
        ([*NANO, "--threads", "-2"], 2, "threads must lie in 1.."),
        ([*NANO, "--seed", str(2**70)], 2, "seed must lie in 0.."),
        ([*NANO, "--imgsz", "0"], 2, "height must lie in 32.."),
        ([*NANO, "--lr", "nan"], 2, "lr must lie in 1e-12..1e+38, got nan"),
        ([*NANO, "--set", "scale=[2,0.1]"], 2, "scale is a range from low to high, got (2, 0.1)"),
        ([*NANO, "--set", "flip_prob=1.5"], 2, "flip_prob must lie in 0..1"),
        ([*NANO, "--set", "hsv_prob=NaN"], 2, "hsv_prob must lie in 0..1, got nan"),
        (["--data", "{data}", "--arch", "nano", "--precision", "fp16"], 2, "needs CUDA"),
        (["--data", "{data}", "--weights", "gone.pth"], 3, "gone.pth"),
        (["--data", "{data}", "--arch", "nano", "--output", "{data}"], 7, "cannot write"),
        ([*NANO, "--freeze", "7"], 2, "freeze must lie in 0..6, got 7"),
        ([*NANO, "--patience", "-1"], 2, "patience must lie in 0.."),
        ([*NANO, "--time", "soon"], 2, "expected a time such as 90s, 30m or 1h30m"),
        ([*NANO, "--time", "0s"], 2, "the time must be 1 second to 1000 days"),
        (["--resume"], 2, "--resume needs --output"),
        (["--resume", "--output", "nowhere"], 3, "no run to resume"),
        (["--resume", "--output", ".", "--lr", "1"], 2, "leave out --lr"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    draw_digits: Draw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(draw_digits().annotations)
    with_cpu = [*arguments, "--device", "cpu"]
    assert main([data if word == "{data}" else word for word in with_cpu]) == code
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("yolox-train: ")] == told[-1:]
    assert words in told[-1]


def test_python_takes_the_arguments_of_the_command() -> None:
    known = {action.dest for action in parser()._actions} - {"help", "version", "quiet", "json"}
    assert set(inspect.signature(train).parameters) == known | {"reporter"}


def test_the_table_in_the_documentation_has_every_option() -> None:
    page = Path(__file__).parents[2] / "docs" / "training.md"
    rows = re.findall(r"^\| (`--.*?) \|", page.read_text("utf-8"), re.M)
    table = {name for row in rows for name in re.findall(r"--[a-z-]+", row)}
    known = {name for action in parser()._actions for name in action.option_strings}
    assert table == {name for name in known if name[1] == "-"} - {"--help", "--version"}
