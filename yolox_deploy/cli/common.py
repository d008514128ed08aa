"""What the commands share: arguments, one line for an error, exit codes."""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yolox_deploy
from yolox_deploy.errors import ExtensionWarning, ModelWarning, UsageError, YoloxDeployError
from yolox_deploy.files import cache_folder
from yolox_deploy.progress import say
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES
from yolox_deploy.spec import SpecHints

EXIT_CODES = """\
exit codes:
  0  done
  1  an unexpected error (YOLOX_DEPLOY_DEBUG=1 shows where)
  2  wrong usage
  3  a file is missing, unreadable or not what it was taken for
  4  a package (the message has the pip line), a driver or a GPU is missing
  5  verification failed
  6  done, but some pictures could not be read
  7  a result could not be written
  8  weights could not be fetched
  9  a converter failed
  10  a benchmark became slower than --fail-if-slower allows
  130  interrupted
"""
SOME_UNREADABLE = 6
NOTES = (ModelWarning, ExtensionWarning)
INTERRUPTED = 130
# What the values of options are, by the words that stand for them in the help.
TYPES: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("N", "PIXELS"), int),
    **dict.fromkeys(("S", "T", "F", "RATE", "FACTOR"), float),
    **dict.fromkeys(("FILE", "DIR", "FOLDER", "PATH", "JSON"), Path),
}


def make_parser(command: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser with the examples and exit codes at the end of its help."""
    parser = argparse.ArgumentParser(
        command,
        description=textwrap.fill(description, 79),
        epilog=f"examples:\n{examples}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {yolox_deploy.__version__}"
    )
    return parser


def run_command(
    command: str,
    parser: Callable[[], argparse.ArgumentParser],
    work: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Read the arguments (``None``: those of the process), do the work, return the exit code."""
    with notes_printed():
        arguments = parser().parse_args(argv)
        return run(command, lambda: work(arguments))


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
                say(f"note: {message}")
            else:
                usual(message, category, *place)

        for category in NOTES:
            warnings.simplefilter("always", category)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def run(command: str, work: Callable[[], int]) -> int:
    """Do the work of a command; an error becomes one line and its exit code."""
    try:
        code = work()
        # Here, where a reader that has gone away can still be forgiven.
        sys.stdout.flush()
        return code
    except YoloxDeployError as error:
        say(f"{command}: {' '.join(str(error).split())}")
        return error.exit_code
    except KeyboardInterrupt:
        say(f"{command}: interrupted; nothing was left half-written")
        if any(not t.daemon and t is not threading.main_thread() for t in threading.enumerate()):
            # A library's worker that the interrupt left waiting would keep the process for ever.
            os._exit(INTERRUPTED)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("YOLOX_DEPLOY_DEBUG"):
            raise
        text = " ".join(str(error).split())
        say(
            f"{command}: unexpected {type(error).__name__}: {text} (YOLOX_DEPLOY_DEBUG=1 shows "
            "where; please report it)"
        )
        return 1


def add_options(
    place: argparse._ActionsContainer, table: str, required: Sequence[str] = (), **defaults: Any
) -> None:
    """Add the options of a table to a parser or a group.

    A row is ``--name VALUE: help``, or ``--name VALUE ...: help`` for one value or more; without
    VALUE the option is a flag, and ``--[no-]name`` is one that is on by default.  Further lines of
    a row are indented.  VALUE decides the type (see ``TYPES``).  ``required`` and ``defaults`` name
    the options as the parsed arguments do; a default that is a number or a word is added to a help
    that says nothing of it.
    """
    for row in re.split(r"\n(?=--)", textwrap.dedent(table).strip()):
        usage, text = row.split(": ", 1)
        name, *values = usage.split()
        dest = name[2:].replace("-", "_")
        default = defaults.get(dest, None if values else False)
        options: dict[str, Any] = {"default": default, "help": " ".join(text.split())}
        if values:
            options |= {"metavar": values[0], "type": TYPES.get(values[0], str)}
            options["required"] = dest in required
            if isinstance(default, int | float | str) and "(default" not in text:
                options["help"] += f" (default: {default})"
            if values[1:] == ["..."]:
                options["nargs"] = "+"
        elif "[no-]" in name:
            options |= {"action": argparse.BooleanOptionalAction, "default": True}
        else:
            options["action"] = "store_true"
        place.add_argument(name.replace("[no-]", ""), **options)


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of the named arguments that were given or have a default."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def add_model_hints(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for what a model's file may not state."""
    add_options(
        parser.add_argument_group("what the model's file may not state"),
        """
        --imgsz PIXELS ...: input size: one side, or height and width (default: the model's test
            size)
        --names FILE|A,B,C: class names: a text file with one per line, or a comma-separated list
        --legacy: weights of release 0.1.0: RGB, /255, mean and std
        --arch NAME: architecture of a .pth (default: inferred)
        """,
        legacy=None,
    )


def model_hints(arguments: argparse.Namespace) -> SpecHints:
    """Return what the arguments of :func:`add_model_hints` say of the model."""
    return SpecHints(
        imgsz=image_size(arguments.imgsz),
        names=class_names(arguments.names),
        legacy=arguments.legacy,
        architecture=arguments.arch,
    )


def image_size(values: Sequence[int] | None) -> tuple[int, int] | None:
    """Return ``--imgsz`` as (height, width); raises :class:`UsageError` for other counts."""
    if values is None:
        return None
    if len(values) > 2:
        raise UsageError(f"--imgsz takes one side, or height and width, got {len(values)} numbers")
    return values[0], values[-1]


def class_names(value: str | None) -> tuple[str, ...] | None:
    """Return the names of ``--names``; raises :class:`UsageError` for an empty list."""
    if value is None:
        return None
    path = Path(value)
    # os.path, because a long list of names is no possible file name.
    if os.path.isfile(value):
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: no text file with class names ({error})") from error
    elif path.suffix == ".txt":
        raise UsageError(f"--names {path}: no such file")
    else:
        lines = value.split(",")
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UsageError(f"--names {value}: no class name in it")
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
        --threads N: number of CPU threads (default: the engine's)
        --precision NAME: what the engine computes in: fp32, bf16 or fp16 (default: fp32)
        """,
        backend="auto",
    )
    group.add_argument(
        "--engine-setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting that only some backends have, such as cuda_binding=pycuda",
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


def add_thresholds(place: argparse._ActionsContainer, score: float, iou: float) -> None:
    """Add score and IoU threshold with their defaults."""
    add_options(
        place,
        """
        --score-threshold S: lowest score of a detection
        --iou-threshold T: IoU above which the worse of two boxes goes
        """,
        score_threshold=score,
        iou_threshold=iou,
    )


def model_help() -> str:
    """Return the help of ``--model``."""
    suffixes = dict.fromkeys(suffix for row in BACKENDS.values() for suffix in row.suffixes)
    artifacts = ", ".join(suffix for suffix in suffixes if suffix not in CHECKPOINT_SUFFIXES)
    text = (
        f"a checkpoint ({', '.join(CHECKPOINT_SUFFIXES)}), an artifact ({artifacts}), or the name "
        f"of published weights such as yolox_s, which are kept in {cache_folder()} (default: the "
        "small model of digits in this package)"
    )
    return text.replace("%", "%%")
