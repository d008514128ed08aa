"""Run one damaged input in a process of its own, within bounds, and judge how it ended."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.fuzz.kinds import RESULT, Kind

# Beyond what the parent holds; the engines and the model take less than a tenth of it.
MEMORY = 3 << 30
SECONDS = 120
# What ``--help`` documents, but for 1, "an unexpected error".
DOCUMENTED = (0, *range(2, 12))
# In the line of an error that nobody foresaw.
UNEXPECTED = "YOLOX_DEPLOY_DEBUG"


@dataclass
class Run:
    """One input: its ``number`` repeats it.  ``problem`` is empty if it ended as it should."""

    kind: Kind
    number: int
    place: Path
    process: int = 0
    started: float = field(default_factory=time.monotonic)
    code: int = 0
    megabytes: float = 0
    problem: str = ""

    def start(self, seed: int) -> None:
        """Lay the input out and give it to the command, in a fork."""
        dice = random.Random(f"{seed} {self.kind.name} {self.number}")
        self.place.mkdir(parents=True)
        self.kind.lay_out(self.place, dice)
        self.begin()

    def begin(self) -> None:
        """Give what lies in the place to the command, in a fork."""
        arguments = self.kind.arguments(self.place)
        self.started = time.monotonic()
        self.process = os.fork()
        if not self.process:
            os._exit(self._command(arguments))

    def _command(self, arguments: list[str]) -> int:
        """Be the command; never returns to the caller's code."""
        try:
            os.chdir(self.place)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, name in enumerate(("stdout.txt", "stderr.txt"), 1):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_DATA, (held() + MEMORY,) * 2)
            code = self.kind.main(arguments)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return code

    def ended(self, status: int, usage: resource.struct_rusage, expected: Any) -> None:
        """Judge how the process ended."""
        self.megabytes = usage.ru_maxrss / 1024
        self.code = os.waitstatus_to_exitcode(status)
        said = self.said()
        lines = [line for line in said.splitlines() if line and not line.startswith("note:")]
        if self.code < 0:
            late = time.monotonic() - self.started > SECONDS
            self.problem = "took too long" if late else signal.Signals(-self.code).name
        elif self.code not in DOCUMENTED or "Traceback" in said or UNEXPECTED in said:
            self.problem = "\n".join(lines[-3:]) or f"exit code {self.code}"
        elif self.code and len(lines) != 1:
            self.problem = f"exit code {self.code} and {len(lines)} lines: " + "\n".join(lines[:4])
        elif not self.code and self.kind.proven and found(self.place) != expected:
            self.problem = "other detections than the sound file gives"

    def said(self) -> str:
        """Return what the command wrote to its standard error."""
        file = self.place / "stderr.txt"
        return file.read_text(errors="replace") if file.exists() else ""

    def clear(self, keep: Path | None) -> None:
        """Remove the place; what has a problem is kept in the folder ``keep``."""
        if self.problem and keep is not None:
            target = keep / f"{self.kind.name}_{self.number}"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(self.place, target, symlinks=True)
            (target / "problem.txt").write_text(self.problem + "\n")
        shutil.rmtree(self.place, ignore_errors=True)


def found(place: Path) -> Any:
    """Return the detections that a command wrote, ``None`` if it wrote none."""
    try:
        content = json.loads((place / RESULT).read_text())
        return [picture["detections"] for picture in content["pictures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def held() -> int:
    """Return the bytes of private memory that this process has asked for so far."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmData"))
    return int(line.split()[1]) * 1024
