"""Commands in processes of their own, which a signal ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PROGRAM = "import sys; from yolox_deploy.cli.{} import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def started(
    command: str, *words: object, number: signal.Signals = signal.SIGINT, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run the command of a module of ``yolox_deploy.cli``, which the signal ``number`` can end."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(command), *map(str, words)],
        # A suite that runs in the background hands down an ignored signal.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        yield process


def ended_at(
    words: str, process: subprocess.Popen[str], number: signal.Signals, later: float
) -> tuple[str, str]:
    """Send the signal ``later`` seconds after a note with these words; return what is printed."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            break
    time.sleep(later)
    process.send_signal(number)
    try:
        return process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail("it goes on, or hangs, after Ctrl-C")
