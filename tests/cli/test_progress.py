"""What a person watches: plain lines in a pipe, rich on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolox_deploy import progress, terminal

OnTerminal = Callable[..., tuple[int, str]]


@pytest.fixture
def on_terminal(environment: dict[str, str]) -> OnTerminal:
    """Run Python code with a terminal as its output; gives exit code and all that was shown.

    ``out`` is a file that gets the standard output in the terminal's place.
    As soon as the text ``until`` was shown, the code's ``input()`` returns.
    """

    def run(
        code: str, *arguments: object, until: str = "", columns: int = 160, out: Any = None
    ) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        shown: list[bytes] = []

        def read() -> None:
            waiting = bool(until)
            # Linux ends a closed terminal with an error.
            try:
                while data := os.read(ours, 65536):
                    shown.append(data)
                    if waiting and until.encode() in b"".join(shown):
                        waiting = False
                        os.write(ours, b"\n")
            except OSError:
                pass

        reader = threading.Thread(target=read)
        variables = {**environment, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
        with subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=variables,
            stdin=theirs,
            stdout=out or theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            reader.start()
            try:
                code_of_process = process.wait(timeout=600)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail(f"it hangs after {b''.join(shown).decode()!r}")
        reader.join()
        os.close(ours)
        return code_of_process, b"".join(shown).decode()

    return run


def test_stages_in_a_pipe_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.stages("nano.pth") as begin:
        begin("first")
        begin("second")
        begin.advance("tactics", 3, 7)
    assert capsys.readouterr() == ("", "nano.pth: first\nnano.pth: second\n")


def test_a_tracked_iteration_in_a_pipe_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([1, 2, 3], 3)) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_a_table_in_a_pipe_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(["a", "long header"], [["[red]1", ""], ["22", "x"]])
    assert capsys.readouterr().out == (
        "a       long header\n------  -----------\n[red]1\n22      x\n"
    )


def test_a_download_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.download_progress("yolox_s") as report:
        report(10, None)
        report(20, 20)
    assert capsys.readouterr() == ("", "fetching yolox_s\n")


TERMINAL = """
from yolox_deploy import progress, terminal
with progress.stages("nano.pth") as begin:
    begin("first stage")
    begin("second stage")
    begin.advance("tactics", 3, 7)
    input()
assert list(progress.track(range(3), 3)) == [0, 1, 2]
with progress.download_progress("yolox_s") as report:
    report(10, None)
    report(20, 20)
terminal.print_table(["a", "b"], [["[red]markup[/]", "2"]])
"""
STILL = """
import threading
from yolox_deploy import progress
with progress.stages("bench", refresh=False) as begin:
    begin("the first part")
    begin("the second part")
    begin.advance("", 1, 2)
    assert threading.active_count() == 1, threading.enumerate()
"""


def test_a_still_display_has_no_thread_that_disturbs_what_is_measured(
    on_terminal: OnTerminal, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.stages("bench", refresh=False) as begin:
        begin("measuring")
        begin.advance("", 1, 2)
    assert capsys.readouterr() == ("", "bench: measuring\n")
    code, shown = on_terminal(STILL)
    assert code == 0, shown
    assert "the first part" in shown
    assert "the second part" in shown


def test_a_terminal_shows_stages_bars_and_a_table(on_terminal: OnTerminal) -> None:
    code, shown = on_terminal(TERMINAL, until="second stage: tactics 3/7")
    assert code == 0, shown
    for text in (
        "first stage",
        "second stage: tactics 3/7",
        "3/3",
        "fetching yolox_s",
        "[red]markup[/]",
    ):
        assert text in shown
    assert "Traceback" not in shown


LONGEST = """
import sys, time
from yolox_deploy import progress
from yolox_deploy.training.console import ConsoleReporter
from yolox_deploy.training.report.results import SHOWN, StepResult
with progress.stages("bench") as begin:
    begin("measuring yolox_darknet53 tensorrt-rtx fp16 and yolox_darknet53 openvino fp32 in turn")
    begin.advance("", 12345, 67890)
    begin("measuring, about 40 s")
    begin.estimate(0, 40, "yolox_nano openvino fp32")
    time.sleep(0.3)
    begin.estimate(0.01, 40, "yolox_nano onnxruntime fp32")
items = progress.track(range(118287), 118287)
for number, _ in enumerate(items):
    if number == 3000:
        time.sleep(0.3)
    if number == 6000:
        break
items.close()
with progress.download_progress("yolox_darknet53") as report:
    report(10**8, 2 * 10**8)
    time.sleep(0.3)
    report(123 * 10**6, 2 * 10**8)
with ConsoleReporter() as reporter:
    reporter.step(StepResult(
        299, 300, 1234, 7393, dict.fromkeys(SHOWN, 123.456), 0.01, 1234.5, 86399
    ))
"""


def test_counts_and_times_survive_at_80_columns(on_terminal: OnTerminal) -> None:
    code, shown = on_terminal(LONGEST, columns=80)
    assert code == 0, shown
    assert "…" not in shown
    for text in ("12345/67890", "118287", "/s", "epoch 299/300", "1234/7393", "23:59:59 left"):
        assert text in shown, text
    assert re.search(r"123\.0/200\.0 MB", shown)
    assert re.search(r"measuring, about 40 s: 0:\d\d:\d\d left, yolox_nano onnxruntime", shown)
    assert re.search(r"/118287.{0,40}\d:\d\d:\d\d", re.sub(r"\x1b\[[\d;]*m", "", shown))


def test_results_in_a_pipe_stay_there_beside_a_bar(
    on_terminal: OnTerminal, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    """The bar is drawn on the terminal; what is printed meanwhile must not follow it."""
    with (tmp_path / "out.txt").open("w") as out:
        code, shown = on_terminal(
            "import sys; from yolox_deploy.cli.detect import main; sys.exit(main(sys.argv[1:]))",
            *(dog_path, "--model", onnx_nano, "--no-draw"),
            out=out,
        )
    assert code == 0, shown
    assert "1/1" in shown
    assert "dog 0.8" not in shown
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["dog", "bicycle", "car", "truck", "cat"]


def test_detect_on_a_terminal_shows_its_bar_and_its_errors(
    on_terminal: OnTerminal, onnx_nano: Path, dog_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    code, shown = on_terminal(
        "import sys; from yolox_deploy.cli.detect import main; sys.exit(main(sys.argv[1:]))",
        *(dog_path, tmp_path / "broken.jpg", "--model", onnx_nano, "--output", tmp_path / "out"),
    )
    assert code == 6, shown
    assert "2/2" in shown
    assert "1 picture in" in shown
    assert "broken.jpg: not a picture" in shown.replace("\r\n", "")


def test_an_error_on_a_terminal_ends_the_display_and_is_told(
    on_terminal: OnTerminal, data_file: Any, tmp_path: Path
) -> None:
    code, shown = on_terminal(
        "import sys; from yolox_deploy.cli.export import main; sys.exit(main(sys.argv[1:]))",
        *("--model", data_file("images/dog.jpg"), "--output", tmp_path / "out"),
    )
    assert code == 3, shown
    assert "reading the checkpoint" in shown
    assert "not a PyTorch checkpoint" in shown
    assert "Traceback" not in shown
