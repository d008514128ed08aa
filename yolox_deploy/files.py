"""Files out: written beside, then renamed, so that nothing is ever half there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolox_deploy.errors import OutputError
from yolox_deploy.terminal import write_output

# Pictures and the small model that ship with the package.
ASSETS = Path(__file__).parent / "assets"
# What the user writes for a file of results that shall go to the standard output.
STANDARD_OUTPUT = Path("-")
# Rises when a reader of an older version would misunderstand a file.
DOCUMENT_VERSION = 1


def cache_folder() -> Path:
    """Return the folder for fetched weights and exports of ``Detector("x.pth")``.

    ``YOLOX_DEPLOY_CACHE`` where it is set, else ``yolox_deploy`` in the user's cache folder.
    Raises :class:`OutputError` for a user without a home folder.
    """
    chosen = os.environ.get("YOLOX_DEPLOY_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "yolox_deploy"
    except RuntimeError as error:  # for example a container that runs as a user with no name
        raise OutputError(
            "there is no home folder for the cache: set the environment variable "
            "YOLOX_DEPLOY_CACHE to a folder that you can write"
        ) from error


@contextmanager
def reported_as_output_error(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` while writing ``path`` into an :class:`OutputError` that names it."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def make_folder(path: Path) -> Path:
    """Create ``path`` with its parents and return it; raises :class:`OutputError`."""
    with reported_as_output_error(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """Give a new hidden folder inside ``folder`` (created), removed with what is left in it.

    On the same file system as the results, so that they can be renamed into place.  Raises
    :class:`OutputError` where ``folder`` cannot be written.
    """
    make_folder(folder)
    with reported_as_output_error(folder):
        place = Path(tempfile.mkdtemp(prefix=".yolox_deploy-", dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_atomically(path: Path, content: bytes | str) -> None:
    r"""Write ``content`` to ``path`` (its folder is created); raises :class:`OutputError`.

    Whatever stood at ``path`` is replaced in one step or not at all.  Text is written as UTF-8.  A
    byte of a file name that is not UTF-8, for example 0xe9, becomes ``\udce9``; from JSON Python
    reads the same name back.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with workplace(path.parent) as place, reported_as_output_error(path):
        draft = place / path.name
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def write_result(path: Path, text: str) -> None:
    """Write a file of results, to the standard output for ``-``; raises :class:`OutputError`."""
    if path == STANDARD_OUTPUT:
        write_output(text)
    else:
        write_atomically(path, text)


def write_document(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write results as JSON that says what it is: ``{"format": kind, "version": 1, ...}``.

    Raises :class:`OutputError`.
    """
    document = {"format": kind, "version": DOCUMENT_VERSION, **content}
    write_result(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
