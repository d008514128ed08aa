"""Give damaged files to the commands, and count what should not happen.

``python -m tools.fuzz --count 10000`` damages artifacts, foreign files, checkpoints, pictures, COCO
files and reports at random.  Each one goes to the command that reads it, in a process of its own
with bounded memory and time.  A problem is a signal, a hang, a traceback, an "unexpected" error, an
exit code that is not documented, more than one line for an error, and, for the package's own
artifacts, other detections than those of the sound file.  A seed and a number repeat an input:
``--seed 0 --kind ncnn --only 417``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.fuzz.kinds import Kind, kinds_of, write_inputs
from tools.fuzz.runner import SECONDS, Run, found
from yolox_deploy.terminal import print_table

# Imported once, before the forks.
PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "ncnn", "pycocotools.cocoeval")


def main() -> int:
    """Return 1 if there was a problem."""
    parser = argparse.ArgumentParser("python -m tools.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="inputs in all (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only these kinds, comma-separated (default: all)")
    parser.add_argument("--only", type=int, help="only the input with this number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that had a problem")
    arguments = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    for package in PACKAGES:
        importlib.import_module(package)
    with tempfile.TemporaryDirectory(prefix="yolox_fuzz_") as folder:
        os.environ["YOLOX_DEPLOY_CACHE"] = f"{folder}/cache"
        inputs = Path(folder, "inputs")
        every = [kind.name for kind in kinds_of(inputs)]
        names = arguments.kind.split(",") if arguments.kind else every
        if unknown := set(names) - set(every):
            parser.error(f"no kind {', '.join(sorted(unknown))}: expected {', '.join(every)}")
        write_in_fork(inputs, names)
        kinds = {kind.name: kind for kind in kinds_of(inputs)}
        chosen = [kinds[name] for name in names]
        numbers = range(-(-arguments.count // len(chosen)))
        if arguments.only is not None:
            numbers = range(arguments.only, arguments.only + 1)
        place = Path(folder, "run")
        todo = [Run(kind, n, place / f"{kind.name}_{n}") for n in numbers for kind in chosen]
        expected = {kind.name: found_in_sound(kind, place) for kind in chosen if kind.proven}
        run_all(todo, arguments, expected)
    return report(todo, names)


def write_in_fork(folder: Path, names: Sequence[str]) -> None:
    """Write the sound inputs in another process: no engine may have run in the parent of forks."""
    folder.mkdir()
    child = os.fork()
    if not child:
        try:
            write_inputs(folder, names)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit("the sound inputs could not be written")


def found_in_sound(kind: Kind, place: Path) -> Any:
    """Return what the command finds with the sound input."""
    run = Run(kind, -1, place / kind.name)
    shutil.copytree(kind.sets[0], run.place)
    run.begin()
    _, status, _ = os.wait4(run.process, 0)
    expected = found(run.place)
    if status or not any(expected or ()):
        raise SystemExit(f"{kind.name}: the sound input fails: {run.said()}")
    return expected


def run_all(todo: list[Run], arguments: argparse.Namespace, expected: dict[str, Any]) -> None:
    """Run every input, ``jobs`` at a time; a line a minute says how far it is."""
    waiting, running = iter(todo), dict[int, Run]()
    done, told, start = 0, time.monotonic(), time.monotonic()
    while done < len(todo):
        while len(running) < arguments.jobs and (run := next(waiting, None)):
            run.start(arguments.seed)
            running[run.process] = run
        process, status, usage = os.wait4(-1, os.WNOHANG)
        if process:
            run = running.pop(process)
            run.ended(status, usage, expected.get(run.kind.name))
            run.clear(arguments.keep)
            done += 1
            if run.problem:
                print(f"{run.kind.name} {run.number}: {run.problem}", flush=True)
        else:
            time.sleep(0.005)
        for run in running.values():
            if time.monotonic() - run.started > SECONDS:
                os.kill(run.process, signal.SIGKILL)
        if time.monotonic() - told > 60:
            told = time.monotonic()
            left = (told - start) / max(done, 1) * (len(todo) - done)
            print(f"{done} of {len(todo)}, about {left / 60:.0f} minutes left", file=sys.stderr)


def report(runs: list[Run], names: list[str]) -> int:
    """Print a table of the kinds; return 1 if there was a problem."""
    rows = []
    for name in names:
        mine = [run for run in runs if run.kind.name == name]
        codes = Counter(run.code for run in mine)
        ended = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        most = max(run.megabytes for run in mine)
        problems = sum(bool(run.problem) for run in mine)
        rows.append((name, str(len(mine)), ended, f"{most:.0f}", str(problems)))
    print_table(("kind", "inputs", "exit codes", "most MB", "problems"), rows)
    return int(any(run.problem for run in runs))


if __name__ == "__main__":
    sys.exit(main())
