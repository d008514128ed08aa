"""What the commands share: arguments, one line for an error, exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import yolox_deploy
from yolox_deploy.cli.parser import Parser, add_options
from yolox_deploy.errors import ExtensionWarning, ModelWarning, UsageError, YoloxDeployError
from yolox_deploy.files import STANDARD_OUTPUT
from yolox_deploy.pictures.images import MAX_PIXELS
from yolox_deploy.postprocess import SCORE_THRESHOLD
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES
from yolox_deploy.sinks import SINKS
from yolox_deploy.spec import SpecHints
from yolox_deploy.terminal import (
    errors_apart,
    finish_output,
    note,
    prepare_streams,
    printing,
    reserved_output,
    say,
)

EXIT_CODES = {
    0: "done",
    1: "an unexpected error (YOLOX_DEPLOY_DEBUG=1 shows where)",
    2: "wrong usage",
    3: "a file is missing, unreadable or not what it was taken for",
    4: "a package, a driver or a GPU is missing or broken (the message says which)",
    5: "verification failed",
    6: "some pictures or videos, or all of them, could not be read",
    7: "a result could not be written, to a file or to the standard output",
    8: "weights could not be fetched",
    9: "a converter failed",
    10: "a benchmark became slower than --fail-if-slower allows, or INT8 is not\n"
    "      surely faster than other precisions",
    11: "two benchmarks cannot be compared: the times scatter too much",
    12: "done, but without proof: nothing was detected in the verification\n"
    "      pictures, or the artifact cannot run on this machine",
    13: "done, but training made nothing better: best.pth is the start",
    14: "nothing that was measured meets the demands",
    129: "ended by SIGHUP: the terminal was closed",
    130: "interrupted with Ctrl-C",
    143: "ended by SIGTERM",
}
# With these every command can end.
COMMON_CODES = (0, 1, 2, 3, 4, 7, 129, 130, 143)
# With these a command can end that opens any model: it may fetch and export it.
MODEL_CODES = (5, 8, 9)
SOME_UNREADABLE = 6
WITHOUT_PROOF = 12
NO_BETTER = 13
# A shell's exit code of a process that a signal ended: 128 and the number of the signal.
HUNG_UP, INTERRUPTED, TERMINATED = 129, 130, 143
NOTES = (ModelWarning, ExtensionWarning)
# Beside the sinks of one file, the options that take a file, or - for the standard output.
RESULT_FILES = ("json", "markdown")


def make_parser(command: str, description: str, examples: str, codes: Sequence[int] = ()) -> Parser:
    """Return a parser with the examples and exit codes at the end of its help.

    ``codes`` are those that not every command can end with.
    """
    lines = [f"  {code}  {EXIT_CODES[code]}\n" for code in sorted({*COMMON_CODES, *codes})]
    parser = Parser(
        command,
        description=textwrap.fill(description, 79),
        epilog=f"examples:\n{examples}\nexit codes:\n{''.join(lines)}",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {yolox_deploy.__version__}"
    )
    parser.add_argument(
        *("-q", "--quiet"),
        action="store_true",
        help="print results and errors only: no notes and no progress",
    )
    return parser


def run_command(
    command: str,
    parser: Callable[[], argparse.ArgumentParser],
    work: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Read the arguments (``None``: those of the process), do the work, return the exit code."""

    def parse_and_work() -> int:
        try:
            os.getcwd()
        except OSError as error:
            # PyTorch's libraries would end the process.
            problem = "the current folder was deleted: change to one that exists"
            raise UsageError(problem) from error
        arguments = parser().parse_args(argv)
        with printing(quiet=arguments.quiet), results_elsewhere(arguments):
            return work(arguments)

    prepare_streams()
    with errors_apart(), notes_printed(), signals_interrupt():
        return run(command, parse_and_work)


@contextmanager
def results_elsewhere(arguments: argparse.Namespace) -> Iterator[None]:
    """Keep the standard output for a file of results that was asked for as ``-``, if there is one.

    Raises :class:`UsageError` for two of them.
    """
    given = [key for key, value in vars(arguments).items() if value == STANDARD_OUTPUT]
    sinks = [key.removeprefix("sink_") for key in given if key.startswith("sink_")]
    names = [name for name in RESULT_FILES if name in given]
    names += [name for name in sinks if SINKS[name].metavar == "FILE"]
    if len(names) > 1:
        options = " and ".join(f"--{name}" for name in names)
        raise UsageError(f"{options}: only one file of results can be - (the standard output)")
    with reserved_output() if names else nullcontext():
        yield


class ExtensionOptions:
    """A group of options that another package may have declared; ``owner`` is whose they are.

    An option that the command has already is left out with an :class:`ExtensionWarning`.
    """

    def __init__(self, group: Any, owner: str) -> None:
        self.group = group
        self.owner = owner

    def add_argument(self, *names: str, **declared: Any) -> Any:
        """Add the option; returns ``None`` if it was left out."""
        try:
            return self.group.add_argument(*names, **declared)
        except argparse.ArgumentError as error:
            warnings.warn(f"{self.owner} has no option: {error}", ExtensionWarning, stacklevel=2)
            return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.group, name)


@contextmanager
def notes_printed() -> Iterator[None]:
    """Print what this package warns of as lines that begin with ``note:``."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, NOTES):
                note(f"note: {message}")
            else:
                usual(message, category, *place)

        for category in NOTES:
            warnings.simplefilter("always", category)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


class Terminated(KeyboardInterrupt):
    """A signal that ends the process, raised so that unfinished files are removed before."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the work as Ctrl-C does; a second one ends it at once.

    A signal that the process was started to ignore (``nohup``) stays ignored.
    """
    codes = {signal.SIGTERM: TERMINATED}
    if sys.platform != "win32":
        codes[signal.SIGHUP] = HUNG_UP
    if threading.current_thread() is not threading.main_thread():
        codes = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(codes[signal.Signals(number)])

    caught = [number for number in codes if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def run(command: str, work: Callable[[], int]) -> int:
    """Do the work of a command; an error becomes one line and its exit code."""
    code = _outcome(command, work)
    try:
        finish_output()
    except YoloxDeployError as error:
        say(f"{command}: {error}")
        return code or error.exit_code
    return code


def _outcome(command: str, work: Callable[[], int]) -> int:
    try:
        return work()
    except SystemExit as end:
        # After --help and --version.
        return int(end.code or 0)
    except YoloxDeployError as error:
        say(f"{command}: {' '.join(str(error).split())}")
        return error.exit_code
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Terminated) else INTERRUPTED
        say(f"{command}: interrupted; nothing was left half-written")
        if any(not t.daemon and t is not threading.main_thread() for t in threading.enumerate()):
            # A library's worker that the interrupt left waiting would keep the process for ever.
            os._exit(code)
        return code
    except Exception as error:
        if os.environ.get("YOLOX_DEPLOY_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            # Asking whether a file is there already fails, and nothing named so can be there.
            say(f"{command}: {error.filename}: {error.strerror}")
            return UsageError.exit_code
        text = " ".join(str(error).split())
        say(
            f"{command}: unexpected {type(error).__name__}: {text} (YOLOX_DEPLOY_DEBUG=1 shows "
            "where; please report it)"
        )
        return 1


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of the named arguments that were given or have a default."""
    return {n: value for n in names if (value := getattr(arguments, n, None)) is not None}


def add_model_hints(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for what a model's file may not state."""
    add_options(
        parser.add_argument_group("what the model's file may not state"),
        """
        --imgsz PIXELS ...: input size: one side, or height and width (default: the model's test
            size)
        --names NAME ...: class names, or a text file with one per line (default: those in the
            model's file; for 80 classes those of COCO)
        --[no-]legacy: whether the input is that of release 0.1.0: RGB, /255, mean and std
            (default: what the weights tell)
        --[no-]decoded: whether the output of an artifact without a spec has decoded boxes (default:
            what running it tells)
        --arch NAME: architecture of a .pth (default: inferred)
        """,
        legacy=None,
        decoded=None,
    )


def model_hints(arguments: argparse.Namespace) -> SpecHints:
    """Return what the arguments of :func:`add_model_hints` say of the model."""
    return SpecHints(
        imgsz=image_size(arguments.imgsz),
        names=class_names(arguments.names),
        legacy=arguments.legacy,
        decoded=arguments.decoded,
        architecture=arguments.arch,
    )


def image_size(values: Sequence[int] | None) -> tuple[int, int] | None:
    """Return ``--imgsz`` as (height, width); raises :class:`UsageError` for other counts."""
    if values is None:
        return None
    if len(values) > 2:
        raise UsageError(f"--imgsz takes one side, or height and width, got {len(values)} numbers")
    return values[0], values[-1]


def class_names(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names of ``--names``; raises :class:`UsageError` for a file without any."""
    if values is None:
        return None
    if len(values) > 1:
        return tuple(values)
    path = Path(values[0])
    # os.path, because a long name is no possible file name.
    if not os.path.isfile(path):
        if path.suffix == ".txt":
            raise UsageError(f"--names {path}: no such file")
        return tuple(values)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: no text file with class names ({error}): save it as UTF-8"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UsageError(f"--names {path}: no class name in it")
    return names


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add backend, device, threads and precision."""
    group = parser.add_argument_group("engine")
    add_options(
        group,
        f"""
        --backend NAME: what runs the model: auto, {", ".join(BACKENDS)}
        --device NAME: cpu, cuda, cuda:1, gpu, npu or auto, as far as the backend has it (default:
            the backend's first, mostly cpu)
        --threads N: number of CPU threads (default: the engine's choice)
        --precision NAME: what the engine computes in: fp32, bf16 or fp16, or fastest-proven: the
            fastest one in which the model was verified (default: the backend's first, mostly fp32)
        --engine-setting NAME=VALUE ...: settings that only some backends have, such as
            cuda_binding=pycuda (default: none)
        """,
        backend="auto",
        engine_setting=(),
    )


def engine_settings(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the values of ``--engine-setting`` by name; raises :class:`UsageError`."""
    found = {}
    for text in arguments.engine_setting:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--engine-setting {text}: expected NAME=VALUE")
        found[name] = value
    return found


def add_thresholds(place: argparse._ActionsContainer, score: float | None, iou: float) -> None:
    """Add score and IoU threshold; ``None``: the score threshold that the model's file suggests."""
    stated = f" (default: that which the model's file suggests, otherwise {SCORE_THRESHOLD})"
    add_options(
        place,
        f"""
        --score-threshold S: lowest score of a detection{stated if score is None else ""}
        --iou-threshold T: IoU above which the worse of two boxes goes
        """,
        score_threshold=score,
        iou_threshold=iou,
    )


def add_max_pixels(place: argparse._ActionsContainer) -> None:
    """Add the bound for the user's pictures."""
    add_options(
        place,
        "--max-pixels N: refuse larger pictures before they are decoded",
        max_pixels=MAX_PIXELS,
    )


def model_help() -> str:
    """Return the help of ``--model``."""
    suffixes = dict.fromkeys(suffix for row in BACKENDS.values() for suffix in row.suffixes)
    artifacts = ", ".join(suffix for suffix in suffixes if suffix not in CHECKPOINT_SUFFIXES)
    text = (
        f"a checkpoint ({', '.join(CHECKPOINT_SUFFIXES)}), an artifact ({artifacts}), or the name "
        "of published weights such as yolox_s, which are kept in the cache folder (default: the "
        "small model of digits in this package)"
    )
    return text.replace("%", "%%")
