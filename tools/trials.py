"""Many runs of commands, each in a fork within bounds, and a judgement of how each one ended."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from yolox_deploy.cli.common import EXIT_CODES

# Beyond what the parent holds; the engines and the model take less than a tenth of it.
MEMORY = 3 << 30
SECONDS = 120.0
# What ``--help`` documents, but for "an unexpected error" and signals.
DOCUMENTED = set(EXIT_CODES) - {1}
# In the line of an error that nobody foresaw.
UNEXPECTED = "YOLOX_DEPLOY_DEBUG"
STREAMS = ("stdout.txt", "stderr.txt")
# Imported once, before the forks.
PACKAGES = (
    *("torch", "onnx", "onnxruntime", "openvino", "ncnn", "pycocotools.cocoeval", "rich.progress"),
    *("scipy.stats", "matplotlib.pyplot", "onnxsim", "psutil", "yolox_deploy.export.pipeline"),
    "yolox_deploy.training",
)

Main = Callable[[list[str]], int]


@dataclass(kw_only=True)
class Trial(ABC):
    """One run of a command in the folder ``place``.

    ``problem`` is empty if it ended as it should.
    """

    place: Path
    process: int = 0
    started: float = field(default_factory=time.monotonic)
    code: int = 0
    megabytes: float = 0
    problem: str = ""
    seconds: float = SECONDS

    @property
    @abstractmethod
    def name(self) -> str:
        """What repeats this run; a file name."""

    @property
    @abstractmethod
    def main(self) -> Main:
        """The command."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """Return the arguments of the command."""

    @abstractmethod
    def lay_out(self) -> None:
        """Write the files into the place."""

    @abstractmethod
    def judge(self) -> str:
        """Return what is wrong with a run that ended with a documented code and no traceback."""

    @property
    def streams(self) -> Path:
        """The folder for what the command prints."""
        return self.place

    def start(self) -> None:
        """Lay the files out and give them to the command, in a fork."""
        self.lay_out()
        self.begin()

    def begin(self) -> None:
        """Give what lies in the place to the command, in a fork."""
        arguments = self.arguments()
        self.started = time.monotonic()
        self.process = os.fork()
        if not self.process:
            os._exit(self._command(arguments))

    def prepare(self) -> None:  # noqa: B027  # most have nothing to prepare
        """Change the forked process before the command runs in it."""

    def _command(self, arguments: list[str]) -> int:
        """Be the command; never returns to the caller's code."""
        try:
            os.chdir(self.place)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, name in enumerate(STREAMS, 1):
                os.dup2(os.open(self.streams / name, os.O_WRONLY | os.O_CREAT), number)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_DATA, (held() + MEMORY,) * 2)
            self.prepare()
            code = self.main(arguments)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return code

    def ended(self, status: int, usage: resource.struct_rusage) -> None:
        """Judge how the process ended."""
        self.megabytes = usage.ru_maxrss / 1024
        self.code = os.waitstatus_to_exitcode(status)
        said = self.said()
        if self.code < 0:
            late = time.monotonic() - self.started > self.seconds
            self.problem = "took too long" if late else signal.Signals(-self.code).name
        elif self.code not in DOCUMENTED or "Traceback" in said or UNEXPECTED in said:
            self.problem = "\n".join(said.splitlines()[-3:]) or f"exit code {self.code}"
        else:
            self.problem = self.judge()

    def said(self) -> str:
        """Return what the command wrote to its standard error."""
        return self.printed(STREAMS[1])

    def printed(self, stream: str) -> str:
        """Return what the command wrote to one of the streams."""
        file = self.streams / stream
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def clear(self, keep: Path | None) -> None:
        """Remove the place; what has a problem is kept in the folder ``keep``."""
        if self.problem and keep is not None:
            target = keep / self.name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(self.place, target, symlinks=True, ignore=_no_files)
            (target / "problem.txt").write_text(self.problem + "\n")
        shutil.rmtree(self.place, ignore_errors=True)


def _no_files(folder: str, names: list[str]) -> list[str]:
    """Return the pipes in a folder, which cannot be copied."""
    return [name for name in names if stat.S_ISFIFO(os.lstat(os.path.join(folder, name)).st_mode)]


AnyTrial = TypeVar("AnyTrial", bound=Trial)


def run_all(trials: Sequence[AnyTrial], jobs: int, keep: Path | None) -> None:
    """Run every trial, ``jobs`` at a time; a line a minute says how far it is."""
    waiting, running = iter(trials), dict[int, AnyTrial]()
    done, told, start = 0, time.monotonic(), time.monotonic()
    while done < len(trials):
        while len(running) < jobs and (trial := next(waiting, None)):
            trial.start()
            running[trial.process] = trial
        process, status, usage = os.wait4(-1, os.WNOHANG)
        if process:
            trial = running.pop(process)
            trial.ended(status, usage)
            trial.clear(keep)
            done += 1
            if trial.problem:
                print(f"{trial.name}: {trial.problem}", flush=True)
        else:
            time.sleep(0.005)
        for trial in running.values():
            if time.monotonic() - trial.started > trial.seconds:
                os.kill(trial.process, signal.SIGKILL)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            left = (told - start) / max(done, 1) * (len(trials) - done)
            print(f"{done} of {len(trials)}, about {left / 60:.0f} minutes left", file=sys.stderr)


def in_a_fork(work: Callable[..., Any], *arguments: Any) -> None:
    """Do something in another process: no engine may have run in the parent of forks."""
    child = os.fork()
    if not child:
        try:
            work(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit("the sound inputs could not be written")


def held() -> int:
    """Return the bytes of private memory that this process has asked for so far."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmData"))
    return int(line.split()[1]) * 1024
