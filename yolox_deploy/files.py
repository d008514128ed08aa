"""Files out: written beside, then renamed, so that nothing is ever half there."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from yolox_deploy.errors import InputFileError, OutputError, suggest
from yolox_deploy.terminal import write_output

# Pictures and the small model that ship with the package.
ASSETS = Path(__file__).parent / "assets"
# What the user writes for a file of results that shall go to the standard output.
STANDARD_OUTPUT = Path("-")
# Rises when a reader of an older version would misunderstand a file.
DOCUMENT_VERSION = 1
# Folders in which files are written before they are renamed; those of dead processes are removed
# when they are a day old.
WORKPLACE = ".yolox_deploy-"
STALE_AFTER_S = 86_400
BLOCK = 1 << 20


def cache_folder() -> Path:
    """Return the folder for fetched weights and exports of ``Detector("x.pth")``.

    ``YOLOX_DEPLOY_CACHE`` where it is set, else ``yolox_deploy`` in the user's cache folder.
    Raises :class:`OutputError` for a user without a home folder.
    """
    chosen = os.environ.get("YOLOX_DEPLOY_CACHE")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(chosen or f"{base}/yolox_deploy").expanduser()
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

    On the same file system as the results, so that they can be renamed into place.  What processes
    that were killed have left in ``folder`` is removed as well.  Raises :class:`OutputError` where
    ``folder`` cannot be written.
    """
    make_folder(folder)
    _sweep(folder.absolute())
    place = folder / f"{WORKPLACE}{secrets.token_hex(8)}"
    lock = None
    try:
        with reported_as_output_error(folder):
            place.mkdir(0o700)
        lock = _locked(place)
        yield place
    finally:
        try:
            shutil.rmtree(place, ignore_errors=True)
        except KeyboardInterrupt:
            shutil.rmtree(place, ignore_errors=True)
            raise
        finally:
            if lock is not None:
                os.close(lock)


@contextmanager
def one_at_a_time(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let no other process, and no other thread, do the same in ``folder`` (created) meanwhile.

    ``waiting`` is called before waiting for another.  Where folders cannot be locked, nobody waits.
    Raises :class:`OutputError` where the folder cannot be made.
    """
    lock = _locked(make_folder(folder))
    if lock is None and sys.platform != "win32":
        waiting()
        lock = _locked(folder, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _locked(folder: Path, *, wait: bool = False) -> int | None:
    """Lock a folder until the handle is closed or this process ends, however it ends.

    ``None`` if another process holds the lock, unless it shall ``wait`` for it; and where folders
    cannot be locked: on Windows, and on some network file systems.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


@functools.cache
def _sweep(folder: Path) -> None:
    """Remove the workplaces of dead processes, once per folder and process.

    Their lock tells that the process is dead.  Their age is for file systems on which another
    computer's lock cannot be seen.
    """
    for place in folder.glob(f"{WORKPLACE}*"):
        with suppress(OSError):
            if time.time() - place.lstat().st_mtime < STALE_AFTER_S:
                continue
            lock = _locked(place)
            if lock is not None:
                shutil.rmtree(place, ignore_errors=True)
                os.close(lock)


def write_atomically(path: Path, content: bytes | str) -> None:
    r"""Write ``content`` to ``path`` (its folder is created); raises :class:`OutputError`.

    A file at ``path`` is replaced in one step or not at all, and keeps its permissions; a link
    stays a link.  ``-``, devices and pipes are written to.  Text is written as UTF-8.  A byte of a
    file name that is not UTF-8, for example 0xe9, becomes ``\udce9``; from JSON Python reads the
    same name back.
    """
    if isinstance(content, str) and is_stdout(path):
        write_output(content)
        return
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if is_stream(path):
        with reported_as_output_error(path), path.open("wb", buffering=0) as stream:
            write_all(stream, data)
        return
    with draft_of(path) as draft, reported_as_output_error(path), draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; when the block ends well, it becomes ``path``.

    Raises :class:`OutputError` where the file cannot be written.
    """
    # The folder that a link at `path` leads to: what is renamed must be on its file system.
    target = Path(os.path.realpath(path))
    with workplace(target.parent) as place:
        draft = place / target.name
        yield draft
        put(draft, path)


def put(draft: Path, path: Path) -> None:
    """Rename ``draft`` to ``path`` in one step; raises :class:`OutputError`.

    A file that is there is replaced, and its permissions and owner are kept; a link stays a link.
    """
    target = Path(os.path.realpath(path))
    with reported_as_output_error(path):
        with suppress(FileNotFoundError):
            old = target.stat()
            if not stat.S_ISREG(old.st_mode):
                raise OSError("it is a folder, a disk or a socket; name a file")
            if hasattr(os, "chown") and (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
                with suppress(PermissionError):
                    os.chown(draft, old.st_uid, old.st_gid)
            draft.chmod(stat.S_IMODE(old.st_mode))
        try:
            draft.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # A link that leads to another file system.
            with draft_of(target) as beside:
                shutil.copyfile(draft, beside)
            draft.unlink()


def is_stdout(path: Path) -> bool:
    """Whether ``path`` is ``-``, or the very file or pipe that the standard output goes to."""
    if path == STANDARD_OUTPUT:
        return True
    try:
        return os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):
        return False


def is_stream(path: Path) -> bool:
    """Whether ``path`` is a device such as the null device, or a pipe: written to, not replaced."""
    try:
        kind = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(kind) or stat.S_ISFIFO(kind)


def write_all(stream: Any, data: bytes) -> None:
    """Write everything to an unbuffered stream, which may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


@contextmanager
def full_disk_reported(folder: Path, size: int) -> Iterator[None]:
    """Turn any error of a library that writes ``size`` bytes to ``folder`` into an OutputError.

    But only if the disk is full, which libraries tell in many ways, or not at all.
    """
    try:
        yield
    except Exception:
        check_space(folder, size)
        raise


def check_space(folder: Path, size: int) -> None:
    """Raise :class:`OutputError` unless ``folder`` can take a file of ``size`` bytes.

    For libraries that fail, or write half a file, without a word on why.
    """
    with (
        workplace(folder) as place,
        reported_as_output_error(folder),
        (place / "space").open("wb") as file,
    ):
        for _ in range(0, size, BLOCK):
            file.write(bytes(BLOCK))
        file.flush()
        os.fsync(file.fileno())


def seal(main: Path, files: Iterable[Path]) -> None:
    """Record the content of ``files``, which lie beside ``main``, for :func:`is_whole`."""
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    write_atomically(main.with_name(f"{main.name}.sha256"), "".join(lines))


def is_whole(main: Path) -> bool:
    """Whether the files that :func:`seal` recorded are there and as they were."""
    try:
        lines = main.with_name(f"{main.name}.sha256").read_text("utf-8").splitlines()
        pairs = [line.split("  ", 1) for line in lines]
        return all(sha256_of(main.with_name(name)) == digest for digest, name in pairs)
    except (OSError, ValueError):
        return False


def write_document(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write results as JSON that says what it is: ``{"format": kind, "version": 1, ...}``.

    Raises :class:`OutputError`.
    """
    document = {"format": kind, "version": DOCUMENT_VERSION, **content}
    write_atomically(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def near_file(path: Path) -> str:
    """Return a question that names the file most like ``path``, which is not there; else ""."""
    for place in (path, path.parent):
        with suppress(OSError), os.scandir(place.parent) as entries:
            return suggest(place.name, [entry.name for entry in islice(entries, 10_000)])
    return ""


def read_input(path: Path, largest: int, kind: str) -> bytes:
    """Return the content of a file that a user named.

    It is measured while it is read: a device has no size, and may have no end.

    Raises :class:`OSError`, and :class:`InputFileError` for more than ``largest`` bytes: such a
    file is not of that ``kind``, for example "report of yolox-bench".
    """
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise InputFileError(f"{path}: larger than {largest >> 20} MiB, so no {kind}")
    return data


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
