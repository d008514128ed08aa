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
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tools.fuzz.kinds import Kind, kinds_of, write_inputs
from tools.fuzz.runner import Run, found
from tools.trials import PACKAGES, in_a_fork, run_all
from yolox_deploy.terminal import print_table


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
        inputs.mkdir()
        in_a_fork(write_inputs, inputs, names)
        kinds = {kind.name: kind for kind in kinds_of(inputs)}
        chosen = [kinds[name] for name in names]
        numbers = range(-(-arguments.count // len(chosen)))
        if arguments.only is not None:
            numbers = range(arguments.only, arguments.only + 1)
        place = Path(folder, "run")
        expected = {kind.name: found_in_sound(kind, place) for kind in chosen if kind.proven}
        todo = [
            Run(
                place=place / f"{kind.name}_{number}",
                kind=kind,
                seed=arguments.seed,
                number=number,
                expected=expected.get(kind.name),
            )
            for number in numbers
            for kind in chosen
        ]
        run_all(todo, arguments.jobs, arguments.keep)
    return report(todo, names)


def found_in_sound(kind: Kind, place: Path) -> Any:
    """Return what the command finds with the sound input."""
    run = Run(place=place / kind.name, kind=kind)
    shutil.copytree(kind.sets[0], run.place)
    run.begin()
    _, status, _ = os.wait4(run.process, 0)
    expected = found(run.place)
    if status or not any(expected or ()):
        raise SystemExit(f"{kind.name}: the sound input fails: {run.said()}")
    return expected


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
