"""What may be written where, decided before a command begins its work.

Nothing that exists is lost:

- A file that the user names is replaced, as a shell's ``>`` does it, but never if the command reads
  it, if another option writes it, or if it is no text and text would be written.
- Files whose names the command makes up, in a folder that the user names, replace nothing unless
  the user says so (``--overwrite``).
- A folder that the user does not name is a new one: ``detections``, then ``detections_2``.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from yolox_deploy.errors import OutputError, UsageError
from yolox_deploy.files import is_stdout, is_stream, reported_as_output_error, workplace

# How much of a file is looked at to tell whether it is text.
HEAD = 8192
# Bytes that texts do not have: control characters but tab, line feed, form feed, carriage return.
NO_TEXT = bytes(set(range(32)) - set(b"\t\n\f\r"))


def check_file(path: Path, *, text: bool = True) -> None:
    """Raise :class:`OutputError` unless a file that the user named can be written; writes nothing.

    ``text`` is whether text will be written, which replaces nothing but text.
    """
    if is_stdout(path) or is_stream(path):
        return
    check_folder(Path(os.path.realpath(path)).parent)
    with reported_as_output_error(path), suppress(FileNotFoundError):
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            raise OSError("it is a folder; name a file")
        if not stat.S_ISREG(kind):
            raise OSError("it is neither a file nor a pipe; name a file")
        if not (kind & 0o222 and os.access(path, os.W_OK)):
            raise OSError("the file is read-only")
        if text and _is_no_text(path):
            raise OSError("a file that is no text is there already; name another file")


def check_folder(folder: Path) -> None:
    """Raise :class:`OutputError` unless files can be written in ``folder``, or it can be made."""
    with reported_as_output_error(folder):
        place = folder.absolute()
        while not os.path.lexists(place):
            place = place.parent
        if not os.path.isdir(place):
            raise OSError("it is not a folder" if place == folder else f"{place} is not a folder")
        # Permissions do not tell of file systems that are read-only or full.
        try:
            with workplace(place) as probe:
                (probe / "probe").write_bytes(b"x")
        except OutputError as error:
            # It names the folder that is there, not the one that was asked for.
            raise error.__cause__ or error from None


def check_new(files: Collection[Path], advice: str = "") -> None:
    """Raise :class:`OutputError` if one of ``files`` is there; ``advice`` says what else to do."""
    there = [file for file in files if os.path.lexists(file)]
    if there:
        more = f" (and {len(there) - 1} more)" if there[1:] else ""
        advice = advice or "choose another folder, or add --overwrite"
        raise OutputError(f"cannot write {there[0]}{more}: it is there already; {advice}")


def check_apart(
    outputs: Mapping[str, Iterable[Path]], inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Raise :class:`UsageError` if a file is written that is read, or that is written twice.

    ``outputs`` are the files that each option writes; ``inputs`` those that the command reads (what
    is no file is left out).  Links and other spellings of a file are the same file.
    """
    read = {_identity(path) for path in inputs if os.path.isfile(path)}
    written: dict[Any, str] = {}
    for option, files in outputs.items():
        for file in files:
            if is_stream(file) and not is_stdout(file):
                continue
            key = _identity(file)
            if key in read:
                raise UsageError(
                    f"cannot write {file}: it is one of the files to read; choose another place"
                )
            if key in written:
                raise UsageError(f"cannot write {file}: {written[key]} and {option} both write it")
            written[key] = option


def free_folder(folder: Path) -> Path:
    """Return ``folder`` if it is not there or empty, else the first such of ``folder_2``, ..."""
    names = (folder.with_name(f"{folder.name}_{i}") if i > 1 else folder for i in count(1))
    return next(place for place in names if _is_free(place))


def _is_free(folder: Path) -> bool:
    return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))


def _identity(path: str | os.PathLike[str]) -> tuple[Any, ...]:
    """Return what is the same for all spellings of a path, whether a file is there or not."""
    if is_stdout(Path(path)):
        return ("stdout",)
    place, rest = Path(os.path.realpath(path)), []
    while True:
        try:
            found = os.stat(place)
        except OSError:
            # Some file systems take names for one that differ in case or in how accents are coded.
            rest.append(unicodedata.normalize("NFC", place.name).casefold())
            if place == place.parent:
                return tuple(rest)
            place = place.parent
        else:
            return (found.st_dev, found.st_ino, *rest)


def _is_no_text(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(HEAD)
    return any(byte in NO_TEXT for byte in head)
