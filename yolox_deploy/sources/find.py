"""What a word means as a source: a file, a folder, a pattern, a list, a camera, an address."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from yolox_deploy.errors import ImageError, SourceError, UsageError
from yolox_deploy.files import read_input
from yolox_deploy.pictures.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    find_files,
    is_one_picture,
)
from yolox_deploy.sources.base import Source
from yolox_deploy.sources.live import Patience, address, camera
from yolox_deploy.sources.still import NUMBER, ArraySource, ImageSequence, PictureSource
from yolox_deploy.sources.video import SOUND_SUFFIXES, VIDEO_SUFFIXES, VideoFile

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# A text file of paths is read into memory.
LARGEST_LIST = 64 << 20


def find_sources(
    words: Iterable[str | os.PathLike[str]],
    *,
    fps: float | None = None,
    patience: Patience = Patience(),  # noqa: B008 (frozen)
    max_pixels: int | None = MAX_PIXELS,
) -> list[Source]:
    """Return what the words name, in order; a file that is reached by several is there once.

    A word is a picture, a video, a folder (searched through for both), a pattern (``*.jpg``),
    numbered pictures of a film (``frames/%06d.png``), a text file with a word per line, the number
    of a camera, or an address.  ``fps`` is for numbered pictures.

    Raises :class:`~yolox_deploy.errors.InputFileError` for a word that gives nothing.
    """
    found: dict[str, Source] = {}
    for word in words:
        text = os.fspath(word)
        given: Iterable[Source]
        if ADDRESS.match(text):
            given = [address(text, patience, max_pixels)]
        elif re.fullmatch("[0-9]{1,9}", text) and not os.path.exists(text):
            given = [camera(int(text), patience, max_pixels)]
        elif NUMBER.search(os.path.basename(text)) and not os.path.exists(text):
            given = [ImageSequence(text, fps, max_pixels)]
        elif text.lower().endswith(".txt") and os.path.isfile(text):
            rows = _listed(Path(text))
            given = find_sources(rows, fps=fps, patience=patience, max_pixels=max_pixels)
        else:
            suffixes = (IMAGE_SUFFIXES, VIDEO_SUFFIXES)
            files = find_files([text], frozenset().union(*suffixes))
            given = [_of_file(path, max_pixels) for path in files]
        for source in given:
            key = source.name if source.path is None else os.path.realpath(source.path)
            found.setdefault(key, source)
    return list(found.values())


def as_sources(thing: Any, *, fps: float | None = None, max_pixels: int | None) -> list[Source]:
    """Return the sources that an argument of ``Detector.stream`` means.

    Raises :class:`UsageError` for what can be none.
    """
    if isinstance(thing, Source):
        return [thing]
    if isinstance(thing, int) and not isinstance(thing, bool):
        return [camera(thing, Patience(), max_pixels)]
    if isinstance(thing, (str, os.PathLike)):
        return find_sources([thing], fps=fps, max_pixels=max_pixels)
    if is_one_picture(thing) or not isinstance(thing, Iterable):
        raise UsageError(
            "a source is a path, a pattern, an address, the number of a camera, or an iterable of "
            f"pictures, got {type(thing).__name__}; for one picture call the detector"
        )
    return [ArraySource(thing, fps, max_pixels)]


def _of_file(path: Path, max_pixels: int | None) -> Source:
    if path.suffix.lower() in VIDEO_SUFFIXES | SOUND_SUFFIXES:
        return VideoFile(path, max_pixels)
    return PictureSource(path, max_pixels)


def _listed(path: Path) -> Iterator[str]:
    """Yield the words of a text file: those of files as seen from its folder, else as they are."""
    try:
        data = read_input(path, LARGEST_LIST, "list of sources")
        lines = data.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: no text file with a path per line ({error})") from error
    rows = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not rows:
        raise ImageError(f"{path}: there is no path in it")
    for row in rows:
        if row.lower().endswith(".txt"):
            raise SourceError(f"{path}: {row}: a list cannot name another list")
        beside = path.parent / row
        yield str(beside) if os.path.exists(beside) else row
