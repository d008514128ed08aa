"""How every command reads its command line: lists, defaults in the help, mistakes in one line."""

from __future__ import annotations

import argparse
import difflib
import glob
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from yolox_deploy.cli.other_tools import written_here
from yolox_deploy.errors import UsageError, suggest
from yolox_deploy.pictures.images import IMAGE_SUFFIXES
from yolox_deploy.runtimes import BACKENDS

MODEL_SUFFIXES = frozenset(suffix for row in BACKENDS.values() for suffix in row.suffixes)
# What ends the name of a file: a folder of such a name would be a mistake.
FILE_SUFFIXES = (
    MODEL_SUFFIXES
    | IMAGE_SUFFIXES
    | {".bin", ".json", ".jsonl", ".csv", ".txt", ".html", ".md", ".mp4", ".avi", ".mkv", ".mov"}
)


def file_path(text: str) -> Path:
    """Return the path of a file; raises :class:`UsageError` for the name of a folder."""
    if text.endswith(("/", os.sep)):
        raise UsageError(f"expected a file, and {text} is the name of a folder")
    return Path(text)


def folder_path(text: str) -> Path:
    """Return the path of a folder; raises :class:`UsageError` for the name of a new file."""
    path = Path(text)
    if path.suffix.lower() in FILE_SUFFIXES and not path.exists():
        raise UsageError(f"expected a folder, and {text} is the name of a file")
    return path


# What the values of options are, by the words that stand for them in the help.
TYPES: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("N", "PIXELS"), int),
    **dict.fromkeys(("S", "T", "F", "AP", "RATE", "FACTOR", "POINTS", "MB"), float),
    **dict.fromkeys(("FOLDER", "PATH", "JSON"), Path),
    "FILE": file_path,
    "DIR": folder_path,
}
KINDS = {"int": "a whole number", "float": "a number"}
# Values of lists that are kept whole: they may have commas of their own.
WHOLE = ("NAME=VALUE",)
# Words of argparse, and how we say the same.
MISTAKES = (
    (r"the following arguments are required: (.+)", r"\1: missing (--help shows examples)"),
    (r"argument (\S+): expected (?:one|at least one) argument", r"\1 needs a value"),
    (r"argument (\S+): ignored explicit argument (.+)", r"\1 takes no value, got \2"),
    (r"argument (\S+): (.+)", r"\1: \2"),
)

# How alike an unknown option and the suggested one must be, in difflib's measure.
NEAR = 0.7

CHOICE = re.compile(r"argument (\S+): invalid choice: '?(.+?)'? \(choose from (.+)\)")


class Help(argparse.RawDescriptionHelpFormatter):
    """Shows an option that takes a list as ``--model MODEL ...``, and the default of each option.

    A default is added to a help that says nothing of it.
    """

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        flag = action.nargs == 0 or not action.option_strings
        if flag or action.required or "(default: " in text:
            return text
        values = action.default if isinstance(action.default, tuple) else (action.default,)
        given = [f"{v:g}" if isinstance(v, float) else str(v) for v in values if v is not None]
        words = (", ".join(given) or "none").replace("%", "%%")
        return f"{text} (default: {words})"

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs == "+":
            return f"{self._metavar_formatter(action, default_metavar)(1)[0]} ..."
        return super()._format_args(action, default_metavar)


class Parser(argparse.ArgumentParser):
    """Raises :class:`UsageError` with one line for every mistake.

    ``action="list"`` declares a :class:`Listing`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": Help, "allow_abbrev": False, **options})
        self.register("action", "list", Listing)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found, in our words."""
        if found := CHOICE.fullmatch(message):
            option, given, choices = found[1], found[2], re.findall(r"[^\s',]+", found[3])
            message = f"{option} {given}: expected {', '.join(choices)}{suggest(given, choices)}"
        for pattern, words in MISTAKES:
            message = re.sub(f"^{pattern}$", words, message)
        raise UsageError(message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an unknown option is told before anything that is missing."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words[: words.index("--")] if "--" in words else words:
            name = word.partition("=")[0]
            if re.match("--?[A-Za-z]", name) and name not in self._option_string_actions:
                raise UsageError(f"unknown option {name}{self._meant(name)}")
        found, extra = super().parse_known_args(self._pictures_first(words), namespace)
        if extra:
            known = self._option_string_actions
            is_model = "--model" in known and Path(extra[0]).suffix.lower() in MODEL_SUFFIXES
            advice = f"; write --model {extra[0]}" if is_model else " (--help shows examples)"
            raise UsageError(f"{extra[0]!r} belongs to no option{advice}")
        return found, extra

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # argparse takes the value of --option=-- for the end of all options, and gives a list.
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value
        return super()._get_values(action, arg_strings)

    def _meant(self, name: str) -> str:
        """Return what to write in place of an unknown option, or an empty string."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        others = [str(a.metavar) for a in self._actions if not a.option_strings]
        if words := written_here(name, [*known, *others, self.prog]):
            return words
        bare = name.lstrip("-").lower()
        # The first option that begins so, or has the word: --score-threshold for --threshold.
        having = [k for k in known if k[2:].startswith(bare) or bare in k[2:].split("-")]
        near = difflib.get_close_matches(bare, [k[2:] for k in known], n=1, cutoff=NEAR)
        meant = having or [f"--{word}" for word in near]
        return f"; did you mean {meant[0]!r}?" if meant else ""

    def _pictures_first(self, words: list[str]) -> list[str]:
        """Return the words with those files in front that follow a list: ``--classes cat a.jpg``.

        Only if the command needs files and has none elsewhere.
        """
        if not any(a.nargs == "+" and not a.option_strings for a in self._actions):
            return words
        starts = [i for i, word in enumerate(words) if re.match("--?[A-Za-z]", word)]
        if not starts or starts[0] or "--" in words:
            return words
        for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
            action = self._option_string_actions[words[start].partition("=")[0]]
            most = 0 if action.nargs == 0 or "=" in words[start] else 1
            if action.nargs not in ("+", "?") and end - start - 1 > most:
                return words
        first = len(words)
        while first - 1 > starts[-1] + 1 and _is_file(words[first - 1]):
            first -= 1
        return words[first:] + words[:first]


class Listing(argparse.Action):
    """An option that takes a list: values with spaces or commas between them, perhaps repeated.

    A comma in the name of a file that exists divides nothing.
    """

    def __init__(self, *args: Any, type: Callable[[str], Any] = str, **options: Any) -> None:
        super().__init__(*args, **{**options, "nargs": "+"})
        self.read = type

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any
    ) -> None:
        """Add the values to those that were given before."""
        words = [part for value in values for part in self._parts(value)]
        if not words:
            raise argparse.ArgumentError(self, f"{','.join(values)!r} names nothing")
        before = getattr(namespace, self.dest)
        before = [] if before is self.default else before
        setattr(namespace, self.dest, before + [self._value(word) for word in words])

    def _parts(self, value: str) -> Iterator[str]:
        if self.metavar in WHOLE:
            yield value
            return
        parts = value.split(",")
        while parts:
            taken = range(len(parts), 1, -1)
            count = next((n for n in taken if os.path.exists(",".join(parts[:n]))), 1)
            if part := ",".join(parts[:count]).strip():
                yield part
            del parts[:count]

    def _value(self, word: str) -> Any:
        try:
            return self.read(word)
        except ValueError as error:
            raise argparse.ArgumentError(self, expected(self.read, word, error)) from error


class Joined(Listing):
    """A list that is read as one text with commas."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any
    ) -> None:
        """Read the values, which replace those that were given before."""
        setattr(namespace, self.dest, self._value(",".join(values)))


def _is_file(word: str) -> bool:
    """Whether a word can be no other value: a folder needs its slash (``photos/``)."""
    if os.path.dirname(word):
        return os.path.exists(word) or bool(glob.glob(word, recursive=True))
    return os.path.isfile(word) or (glob.has_magic(word) and bool(glob.glob(word)))


def expected(read: Callable[[str], Any], text: str, error: ValueError) -> str:
    """Return what is wrong with a text that ``read`` cannot read."""
    if isinstance(error, UsageError):
        return str(error)
    return f"expected {KINDS.get(read.__name__, read.__name__)}, got {text!r}"


def one_value(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return ``read`` with an error that argparse shows in our words."""

    def value(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(expected(read, text, error)) from error

    return value


def add_options(
    place: argparse._ActionsContainer, table: str, required: Sequence[str] = (), **defaults: Any
) -> None:
    """Add the options of a table to a parser or a group.

    A row is ``--name VALUE: help``, or ``--name VALUE ...: help`` for a list (:class:`Listing`), or
    ``--name [VALUE]: help`` for a value that may be left out and is then ``True``; without VALUE
    the option is a flag, and ``--[no-]name`` is one that is on unless ``defaults`` says otherwise.
    Further lines of a row are indented.  VALUE decides the type (see ``TYPES``).
    ``required`` and ``defaults`` name the options as the parsed arguments do.
    """
    for row in re.split(r"\n(?=--)", textwrap.dedent(table).strip()):
        usage, text = row.split(": ", 1)
        name, *values = usage.split()
        dest = name.replace("[no-]", "")[2:].replace("-", "_")
        default = defaults.get(dest, None if values else False)
        options: dict[str, Any] = {"default": default, "help": " ".join(text.split())}
        if values:
            word = values[0].strip("[]")
            read = TYPES.get(word, str)
            several = values[1:] == ["..."]
            options |= {"metavar": word, "required": dest in required}
            options |= {"action": Listing, "type": read} if several else {"type": one_value(read)}
            if word != values[0]:
                options |= {"nargs": "?", "const": True}
        elif "[no-]" in name:
            switch = defaults.get(dest, True)
            options |= {"action": argparse.BooleanOptionalAction, "default": switch}
        else:
            options["action"] = "store_true"
        place.add_argument(name.replace("[no-]", ""), **options)
