"""A command line in a folder of its own: what it returns, prints, and changes there.

A case says what must come out; :func:`check` compares.  What a command writes on purpose is named
in the case, and everything else in the folder must be as it was: content, permissions, links.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tools.snapshots import changed, snapshot

MODULES = {
    "yolox-bench": "bench",
    "yolox-data": "convert",
    "yolox-detect": "detect",
    "yolox-doctor": "doctor",
    "yolox-eval": "evaluate",
    "yolox-export": "export",
    "yolox-train": "train",
    "yolox-verify": "proof.verify",
    "yolox-compare": "proof.compare",
    "yolox-plan": "planning.plan",
}


class Ran(NamedTuple):
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Runner = Callable[[str, Sequence[str]], Ran]


@dataclass(frozen=True)
class Case:
    """A command line, and what must come of it.

    ``words`` must be in the last line that the command prints to the standard error (``code`` is
    not 0), or anywhere in what it prints.  ``changes`` are the paths that it must create or
    replace, and all that it may.
    """

    line: str
    code: int = 0
    words: str = ""
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.line.removeprefix("yolox-")


def check(case: Case, run: Runner, folder: Path) -> Ran:
    """Run a case in ``folder`` and compare; ``run`` must work there.  Returns what it printed."""
    before = snapshot(folder)
    command, *arguments = shlex.split(case.line)
    ran = run(command, arguments)
    assert ran.code == case.code, ran
    for sign in ("Traceback", "unexpected", "\x1b"):
        assert sign not in ran.err, ran.err
    lines = ran.err.splitlines()
    if case.code:
        # Progress and notes may stand before it.
        assert [line for line in lines if line.startswith("yolox-")] == lines[-1:], ran.err
        assert lines[-1].startswith(f"{command}"), ran.err
        assert case.words in lines[-1], ran.err
    assert case.words in ran.out + ran.err
    left = changed(before, snapshot(folder))
    assert "removed" not in left.values(), left
    wrong = [p for p in left if not any(p == c or p.startswith(f"{c}/") for c in case.changes)]
    assert wrong == [], left
    missing = [path for path in case.changes if path not in left]
    assert missing == [], left
    return ran


def in_a_process(
    folder: Path, environment: Mapping[str, str] | None = None, timeout: float = 600
) -> Runner:
    """Return a runner that starts each command in a process of its own, in ``folder``."""

    def run(command: str, arguments: Sequence[str]) -> Ran:
        ended = subprocess.run(
            [*program(command), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    return run


def program(command: str) -> list[str]:
    """Return the words that start a command with this Python."""
    name = f"yolox_deploy.cli.{MODULES[command]}"
    return [sys.executable, "-c", f"import sys, {name} as m; sys.exit(m.main(sys.argv[1:]))"]
