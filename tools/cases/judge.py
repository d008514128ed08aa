"""A case, run in a folder of its own, and how it must have ended.

In the right result, or in one line and a documented exit code; and whatever was there before is as
it was, but for what the line names as a result.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.cases.files import CHANGES, PIPE
from tools.cases.lines import PARSERS, Case
from tools.snapshots import changed, snapshot
from tools.trials import STREAMS, Main, Trial
from yolox_deploy.cli import bench, convert, detect, doctor, evaluate, export, train
from yolox_deploy.cli.planning import plan
from yolox_deploy.cli.proof import compare, verify
from yolox_deploy.errors import UsageError
from yolox_deploy.files import WORKPLACE
from yolox_deploy.postprocess import SCORE_THRESHOLD

MODULES = (bench, convert, detect, doctor, evaluate, export, plan, train, verify, compare)
MAINS: dict[str, Main] = {module.COMMAND: module.main for module in MODULES}
# After these exit codes nothing may have been written: a mistake is found before any work.
NOTHING_DONE = (2, 4, 8)
SOME_UNREADABLE = 6
# Done, with or without what was hoped for; no line of an error.
DONE = (0, 12, 13)
# The options that name a file of results, and those that name a folder for them.
FILES = (
    *("json", "sink_json", "sink_jsonl", "sink_csv", "sink_coco", "markdown", "plot", "draw", "to"),
)
NO_JSON = ("to", "sink_csv", "sink_jsonl", "markdown", "plot", "draw")
FOLDERS = ("output", "sink_output", "sink_txt", "sink_mot", "results", "logs")
# Lines that are neither ours nor about pictures: a library's.
FOREIGN = re.compile(r"warn|\[W|\bat 0x|site-packages|^\[| WARN", re.I)
# What it keeps for its reports to its makers, from the first time that a process loads it.
OF_ONNX_RUNTIME = re.compile(r"/home/\.cache(/Microsoft|$)|/tmp/\.ses$")
SURROUNDINGS = ("home", "tmp", "cache")
Outputs = list[tuple[str, bool]]


@dataclass(kw_only=True)
class Run(Trial):
    """A case; ``sound`` is the folder whose copy it runs in, beside a home and a cache."""

    case: Case
    number: int
    sound: Path
    seconds: float = 300
    before: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The number of the case."""
        return f"case_{self.number}"

    @property
    def here(self) -> Path:
        """The folder in which the command runs."""
        return self.place / "here"

    @property
    def main(self) -> Main:
        """The command."""
        return MAINS[self.case.command.split()[0]]

    def arguments(self) -> list[str]:
        """Return the arguments of the command."""
        return [*self.case.command.split()[1:], *self.case.words]

    def lay_out(self) -> None:
        """Copy the sound files, and change one of them."""
        shutil.copytree(self.sound, self.here, symlinks=True)
        for name in SURROUNDINGS:
            (self.place / name).mkdir()
        os.chdir(self.here)
        with suppress(FileNotFoundError):
            if self.case.file:
                CHANGES[self.case.change](self.here / self.case.file)
        self.before = snapshot(self.here)

    def prepare(self) -> None:
        """Work in the folder, away from the user's, without a network and without root's rights."""
        os.chdir(self.here)
        os.environ |= {
            "HOME": str(self.place / "home"),
            "TMPDIR": str(self.place / "tmp"),
            # Its list of fonts takes seconds to make.
            "MPLCONFIGDIR": str(self.sound.with_name("matplotlib")),
            "YOLOX_DEPLOY_CACHE": str(self.place / "cache"),
            "https_proxy": "http://127.0.0.1:9",
        }
        if self.case.change == PIPE and Path(self.case.file).exists():
            threading.Thread(target=serve, args=[self.case.file], daemon=True).start()
        obey_permissions()

    def judge(self) -> str:
        """Return what is wrong."""
        return "\n".join(filter(None, (*self._said(), *self._left(), *self._result())))

    def _said(self) -> Iterator[str]:
        """Yield what is wrong with what was printed."""
        lines = [line for line in self.said().splitlines() if line.strip()]
        if "\x1b" in self.said() + self.printed(STREAMS[0]):
            yield "an escape of the terminal was printed"
        ours = [line for line in lines if line.startswith(f"{self.case.command}: ")]
        if self.code not in DONE and (not ours or ours[-1] != lines[-1]):
            yield f"exit code {self.code} without a line of its own: {lines[-2:]}"
        if self.code != SOME_UNREADABLE and "--quiet" in self.case.words:
            most = 0 if self.code in DONE else 1
            if len(lines) > most:
                yield f"exit code {self.code} and {len(lines)} lines: {lines[:4]}"
        for line in lines:
            if FOREIGN.search(line) and not line.startswith(("note:", *ours)):
                yield f"of a library: {line}"

    def _left(self) -> Iterator[str]:
        """Yield what is wrong with the files that were left."""
        arguments = self.namespace()
        outputs = [*self._outputs(arguments)] if arguments else []
        left = changed(self.before, snapshot(self.here))
        for path, what in left.items():
            if not self._allowed(path, what, arguments, outputs):
                yield f"exit code {self.code}, and {path!r} was {what}"
        for place in (self.place / name for name in SURROUNDINGS):
            for file in place.rglob("*"):
                ours = file.name.startswith(WORKPLACE) or place.name != "cache"
                if ours and not OF_ONNX_RUNTIME.search(str(file)):
                    yield f"left behind: {file.relative_to(self.place)}"

    def _allowed(self, path: str, what: str, arguments: Any, outputs: Outputs) -> bool:
        if arguments is None or self.code in NOTHING_DONE or Path(path).name.startswith(WORKPLACE):
            return False
        if what == "created":
            return True
        replaced = getattr(arguments, "overwrite", False)
        return what == "changed" and any(
            path == place
            or (folder and replaced and (place == "." or path.startswith(f"{place}/")))
            for place, folder in outputs
        )

    def _outputs(self, arguments: argparse.Namespace) -> Iterator[tuple[str, bool]]:
        """Yield what a line may replace, relative to the folder, and whether it is a folder."""
        for names, folder in ((FILES, False), (FOLDERS, True)):
            for name in names:
                if isinstance(path := getattr(arguments, name, None), str | Path):
                    yield os.path.relpath(os.path.realpath(path), os.path.realpath("")), folder
        # It keeps the result of the verification.
        artifact = getattr(arguments, "verify_artifact", None)
        if getattr(arguments, "record", False):
            artifact = arguments.artifact
        if artifact and artifact.name:
            for file in (artifact, artifact.with_suffix(".json")):
                yield os.path.relpath(os.path.realpath(file), os.path.realpath("")), False

    def _result(self) -> Iterator[str]:
        """Yield what is wrong with the results of a run that ended well."""
        arguments = self.namespace()
        if arguments is None:
            if self.code not in (0, 2) and "-h" not in self.case.words:
                yield f"exit code {self.code}, but the line cannot be parsed"
            return
        if self.code:
            return
        for name in FILES:
            path = getattr(arguments, name, None)
            if not isinstance(path, str | Path) or name in NO_JSON:
                continue
            file = self.place / STREAMS[0] if str(path) == "-" else Path(path)
            if not file.is_file():
                if not os.path.exists(path):
                    yield f"{path} was not written"
                continue
            try:
                content = json.loads(file.read_text("utf-8"))
            except ValueError as error:
                yield f"{path} is no JSON: {error}"
            else:
                if name == "sink_json":
                    yield from wrong_detections(content, arguments)

    def namespace(self) -> argparse.Namespace | None:
        """Return the parsed line, ``None`` for one that cannot be parsed."""
        os.chdir(self.here)
        try:
            return PARSERS[self.case.command]().parse_args(self.case.words)
        except (UsageError, SystemExit):
            return None


def wrong_detections(content: Any, arguments: argparse.Namespace) -> Iterator[str]:
    """Yield what ``yolox-detect`` should not have found."""
    lowest = arguments.score_threshold
    lowest = SCORE_THRESHOLD if lowest is None else lowest
    for picture in content["pictures"]:
        found = picture["detections"]
        if len(found) > arguments.max_detections:
            yield f"{len(found)} detections, at most {arguments.max_detections} were asked for"
        for one in found:
            if not lowest - 1e-4 <= one["score"] <= 1:
                yield f"a score of {one['score']}"
            wanted = arguments.classes
            if wanted and not {str(one["class_id"]), one["name"]} & set(wanted):
                yield f"class {one['name']}, which was not asked for"


def serve(pipe: str) -> None:
    """Let nobody wait for the other end of a pipe: a reader finds nothing in it."""
    os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    while True:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.01)


def obey_permissions() -> None:
    """Give up root's right to read and write what the permissions forbid (Linux only)."""
    with suppress(OSError, AttributeError):
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)())
