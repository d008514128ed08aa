"""Give odd command lines and odd files to the commands, and count what should not happen.

``python -m tools.cases --count 1000`` lets Hypothesis make command lines of every command: options
of every kind with good, odd and hostile values, together with files that are sound, damaged,
missing, unreadable, or no files at all.  Each one runs in a process of its own, in a folder of its
own.  A problem is a signal, a hang, a traceback, an "unexpected" error, an exit code that is not
documented, more than one line for an error, a file that was there and is not as it was, a
temporary file that was left, or a wrong result.  A seed repeats all cases, a number one of them, as
long as the code is the same: ``--seed 7 --count 1000 --only 417``.  Hypothesis also draws constants
of the code.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tools.cases.files import write_files
from tools.cases.judge import Run
from tools.cases.lines import SHARES, Case, cases
from tools.trials import PACKAGES, in_a_fork, run_all
from yolox_deploy.terminal import print_table

FEW = settings(
    max_examples=12,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def make_cases(count: int, start: int) -> list[Case]:
    """Return ``count`` different cases in the proportions of ``SHARES``; ``start`` repeats them."""
    turn = [command for command, share in SHARES.items() for _ in range(share)]
    made: dict[str, dict[Case, None]] = {command: {} for command in SHARES}
    wanted = Counter(itertools.islice(itertools.cycle(turn), count))
    for command, found in made.items():
        for number in itertools.count():
            if len(found) >= wanted[command]:
                break
            found |= dict.fromkeys(a_few(command, f"{start} {number} {command}"))
    waiting = {command: iter(found) for command, found in made.items()}
    return [next(waiting[command]) for command in itertools.islice(itertools.cycle(turn), count)]


def a_few(command: str, start: str) -> list[Case]:
    """Return some cases of a command; Hypothesis varies what it has drawn, so more are alike."""
    made = []

    @seed(start)
    @FEW
    @given(cases(command))
    def keep(case: Case) -> None:
        made.append(case)

    keep()
    return made


def main() -> int:
    """Return 1 if there was a problem."""
    parser = argparse.ArgumentParser("python -m tools.cases", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="cases in all (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="only the case with this number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a folder for the cases that had a problem")
    parser.add_argument("--list", action="store_true", help="print the cases, and run none")
    parser.add_argument("--onnx-only", action="store_true", help="no OpenVINO, no NCNN: quicker")
    arguments = parser.parse_args()
    made = list(enumerate(make_cases(arguments.count, arguments.seed)))
    if arguments.only is not None:
        made = [made[arguments.only]]
    if arguments.list:
        for number, case in made:
            print(number, ascii(str(case)))
        return 0
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    for package in PACKAGES:
        importlib.import_module(package)
    start = os.getcwd()
    keep = arguments.keep and arguments.keep.absolute()
    with tempfile.TemporaryDirectory(prefix="yolox_cases_", ignore_cleanup_errors=True) as folder:
        os.environ["YOLOX_DEPLOY_CACHE"] = f"{folder}/cache"
        sound = Path(folder, "sound")
        sound.mkdir()
        in_a_fork(write_files, sound, not arguments.onnx_only)
        runs = [
            Run(place=Path(folder, str(number)), case=case, number=number, sound=sound)
            for number, case in made
        ]
        run_all(runs, arguments.jobs, keep)
        os.chdir(start)
    return report(runs)


def report(runs: list[Run]) -> int:
    """Print a table of the commands; return 1 if there was a problem."""
    rows = []
    for command in SHARES:
        mine = [run for run in runs if run.case.command == command]
        codes = Counter(run.code for run in mine)
        ended = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        rows.append((command, str(len(mine)), ended, str(sum(bool(r.problem) for r in mine))))
    print_table(("command", "cases", "exit codes", "problems"), rows)
    for run in runs:
        if run.problem:
            print(f"case {run.number}: {str(run.case)!a}")
    return int(any(run.problem for run in runs))


if __name__ == "__main__":
    sys.exit(main())
