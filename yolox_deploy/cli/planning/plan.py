"""``yolox-plan``: which model, input size, engine, precision and threads for this machine."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from yolox_deploy.benchmarks.machine.environment import Watch
from yolox_deploy.benchmarks.measure.statistics import require_scipy_stats
from yolox_deploy.benchmarks.planning.candidates import (
    Demand,
    candidates,
    usual_threads,
    with_int8,
)
from yolox_deploy.benchmarks.planning.plan import Plan, rows_of
from yolox_deploy.benchmarks.planning.promise import Choice, written
from yolox_deploy.benchmarks.planning.race import Race
from yolox_deploy.cli.bench_files import check_outputs
from yolox_deploy.cli.common import (
    MODEL_CODES,
    add_max_pixels,
    class_names,
    given,
    make_parser,
    run_command,
)
from yolox_deploy.cli.outputs import files_read
from yolox_deploy.cli.parser import add_options
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.errors import NotMetError, OutputError, UsageError
from yolox_deploy.pictures.images import read_image
from yolox_deploy.processors import MOST_THREADS, wait_passively
from yolox_deploy.progress import stages
from yolox_deploy.sinks.outputs import check_apart, check_folder
from yolox_deploy.spec import SpecHints
from yolox_deploy.terminal import note, print_line, print_table

COMMAND = "yolox-plan"
NAME = "plan.json"
# Pictures of the data set that times are measured with.
TIMED = 8
# No demand is for longer, in milliseconds or seconds.
LONGEST = 1e6
UNITS = {"": 1.0, "ms": 1.0, "s": 1e3}
EXAMPLES = """\
  yolox-plan --model yolox_nano.pth --data val.json --images val2017/ --imgsz 320,416 --fps 30
  yolox-plan --model yolox_s,yolox_m --data val.json --images val/ --p99 50ms --output chosen/
  yolox-plan --model my.pth --data val.json --images val/ --min-ap 0.25 --calib train/
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Find out which model, input size, engine, precision and number of threads to take on this "
        "machine. Candidates take turns; what is surely slower at no better AP is dropped early.",
        EXAMPLES,
        (*MODEL_CODES, NotMetError.exit_code),
    )
    add_options(
        result,
        """
        --model MODEL ...: checkpoints (.pth), or names of published weights such as yolox_s
        --data JSON: annotations in COCO's format
        --images DIR: folder with the pictures that the annotations name
        --calib FOLDER: pictures for INT8; without them INT8 is not tried (the search takes minutes
            for each input size and engine)
        --imgsz PIXELS ...: input sizes to try, each the side of a square, for example 320,416,512
            (default: the model's test size)
        --backend NAME ...: backends to try (default: all that can run here, except torch)
        --precision NAME ...: precisions to try, for example fp32 bf16 (default: all that make sense
            on this machine)
        --threads N ...: numbers of CPU threads to try, for example 1,2 (default: 1, half of the
            processors, and all of them)
        """,
        required=("model", "data", "images"),
    )
    add_options(
        result.add_argument_group("what is demanded"),
        """
        --fps F: frames per second: p99 must be within the time of a frame (default: no demand)
        --p99 TIME: the longest time for 99 %% of the pictures, for example 30ms (default: no
            demand)
        --min-ap AP: the least AP, for example 0.25 (default: no demand)
        --max-memory MB: the most memory that a process may take (default: no demand)
        --streams N: number of cameras that share the machine: N pictures, one after the other,
            must be done in the time that is demanded
        """,
        streams=1,
    )
    add_options(
        result.add_argument_group("output"),
        f"""
        --full: print all candidates, too, and why each was dropped
        --output DIR: write the chosen artifact and {NAME} to this folder; Detector("DIR/{NAME}")
            opens them
        --overwrite: write to --output even if files are in it, and replace those of the same names
        --json FILE: write everything as JSON, to the standard output for -
        --plot FILE: draw AP against p99 (.png, .svg or .pdf)
        """,
    )
    add_options(
        result.add_argument_group("what the model's file may not state"),
        """
        --names NAME ...: class names, or a text file with one per line (default: those in the
            model's file; for 80 classes those of COCO)
        --[no-]legacy: whether the input is that of release 0.1.0 (default: what the weights tell)
        --arch NAME: architecture of a .pth (default: inferred)
        """,
        legacy=None,
    )
    add_max_pixels(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join([COMMAND, *words])
    return run_command(COMMAND, parser, lambda arguments: plan(arguments, command), words)


def demand_of(arguments: argparse.Namespace) -> Demand:
    """Return what is demanded; raises :class:`UsageError` for what nothing can meet."""
    limits = []
    if arguments.p99 is not None:
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|s|)", arguments.p99.strip())
        if not found or not 0 < float(found[1]) < LONGEST:
            raise UsageError(f"--p99 {arguments.p99}: expected a time such as 30ms or 0.5s")
        limits.append(float(found[1]) * UNITS[found[2]])
    if arguments.fps is not None:
        if not 1 / LONGEST < arguments.fps <= 10_000:
            raise UsageError(f"--fps takes more than 0 and at most 10000, got {arguments.fps:g}")
        limits.append(1e3 / arguments.fps)
    if arguments.min_ap is not None and not 0 <= arguments.min_ap <= 1:
        raise UsageError(f"--min-ap must lie in 0..1, got {arguments.min_ap:g}")
    memory = arguments.max_memory
    if memory is not None and not (math.isfinite(memory) and memory > 0):
        raise UsageError(f"--max-memory takes megabytes, more than 0, got {memory:g}")
    if not 1 <= arguments.streams <= 1000:
        raise UsageError(f"--streams must lie in 1..1000, got {arguments.streams}")
    for count in arguments.threads or ():
        if not 1 <= count <= MOST_THREADS:
            raise UsageError(f"--threads takes 1 to {MOST_THREADS} here, got {count}")
    return Demand(min(limits, default=None), arguments.min_ap, memory, arguments.streams)


def check_folder_option(arguments: argparse.Namespace, inputs: Sequence[str | Path]) -> None:
    """Refuse a folder that cannot be written or has files in it, before hours of measuring."""
    folder = arguments.output
    if folder is None:
        return
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not arguments.overwrite:
        raise OutputError(
            f"cannot write {folder}: something is in it; name another folder, or add --overwrite"
        )
    named = {f"--{name}": [path] for name, path in given(arguments, "json", "plot").items()}
    check_apart({**named, "--output": [folder / NAME]}, inputs)


def plan(arguments: argparse.Namespace, command: str) -> int:
    """Race the candidates, print the plan and write the files; returns the exit code."""
    demand = demand_of(arguments)
    require_scipy_stats()
    # Before a library with threads of OpenMP is loaded.
    wait_passively()
    dataset = CocoDataset(arguments.data, arguments.images)
    for text in dataset.notes:
        note(f"note: {text}")
    read = files_read(arguments, arguments.model, arguments.data)
    inputs = [*dataset.pictures.values(), *map(Path, read)]
    check_outputs(arguments, inputs)
    check_folder_option(arguments, inputs)
    hints = SpecHints(None, class_names(arguments.names), arguments.legacy, None, arguments.arch)
    wanted, notes = candidates(
        arguments.model,
        [(side, side) for side in arguments.imgsz or ()] or [None],
        arguments.backend or ["all"],
        arguments.precision or ["all"],
        arguments.threads or usual_threads(),
        hints,
    )
    paths = list(dataset.pictures.values())[:TIMED]
    pictures = [read_image(path, arguments.max_pixels) for path in paths]
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with stages(COMMAND, refresh=False) as begin:
            if arguments.calib:
                wanted = [*wanted, *with_int8(wanted, arguments.calib, begin)]
            race = Race(dataset, pictures, demand, begin)
            stack.callback(race.close)
            race.open(wanted)
            watch = Watch()
            race.run()
            choice = Choice(race, logs)
            environment = watch.finish()
        scheduler, number = race.scheduler, choice.number
        reason = (
            failure(race, demand, busy=bool(environment.doubts))
            if number is None
            else f"recommended: {scheduler.candidates[number]}: {choice.reason}"
        )
        found = Plan(
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            demand=demand,
            data=f"{arguments.data}, {len(dataset.pictures)} pictures",
            environment=environment,
            rows=rows_of(scheduler),
            recommended=number,
            equal=[] if number is None else scheduler.equals(number),
            reason=reason,
            proof=choice.proof.status if choice.proof else "",
            promise=choice.promise,
            artifact=None,
            notes=[*notes, *race.notes],
        )
        deliver(found, arguments)
        if number is None:
            raise NotMetError(reason)
        if arguments.output:
            artifact = written(race.systems[number], choice.proof, arguments.output)
            replace(found, artifact=artifact).write(arguments.output / NAME)
            print_line(f"wrote {arguments.output / NAME}", whole=True)
    return 0


def failure(race: Race, demand: Demand, *, busy: bool) -> str:
    """Return that nothing meets the demand, and what comes nearest."""
    near = race.scheduler.nearest()
    missed = "; ".join(race.scheduler.misses(near))
    name = race.scheduler.candidates[near]
    again = "; the machine was not quiet, so measure again when it is" if busy else ""
    return f"nothing meets the demand ({demand}); the nearest is {name}: {missed}{again}"


def deliver(found: Plan, arguments: argparse.Namespace) -> None:
    """Write the files that were asked for, and print the plan."""
    if arguments.json:
        found.write(arguments.json)
    if arguments.plot:
        found.plot(arguments.plot)
    for text in found.notes:
        note(f"note: {text}")
    tables = [found.front(), *([found.everything()] if arguments.full else [])]
    for table in tables:
        print_line(table.title)
        print_table(table.headers, table.rows)
        print_line()
    for line in found.sentences():
        print_line(line)
