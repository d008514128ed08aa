"""The one family of errors, and the exit code that each kind gives the command line.

An application catches :class:`YoloxDeployError`; a command prints its text as one line and exits
with its ``exit_code``.  Every message names what was given, what was expected and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class YoloxDeployError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(YoloxDeployError, ValueError):
    """An argument, or a combination of arguments, that cannot be served."""

    exit_code = 2


class InputFileError(YoloxDeployError):
    """A file that is missing, unreadable, broken or not what it was taken for."""

    exit_code = 3


class CheckpointError(InputFileError):
    """A checkpoint that cannot be read safely or fits no YOLOX network."""


class ArtifactError(InputFileError):
    """An exported artifact that its engine cannot open or that is no YOLOX detector."""


class ImageError(InputFileError):
    """A picture that cannot be read or an array that is no picture."""


class SourceError(InputFileError):
    """A video, a camera or a stream that cannot be opened or read."""


class MissingPackageError(YoloxDeployError, ImportError):
    """An optional package that the request needs and this environment lacks."""

    exit_code = 4


class DeviceError(YoloxDeployError):
    """A GPU, or its driver, that the request needs and this machine lacks.

    ``reason`` says what is missing, ``advice`` what the one who wants to run a model can do.
    """

    exit_code = 4

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}: {advice}" if advice else reason)
        self.reason = reason
        self.advice = advice


class VerificationError(YoloxDeployError):
    """An artifact that does not detect what its checkpoint detects."""

    exit_code = 5


class OutputError(YoloxDeployError):
    """A result that could not be written; whatever stood there before is untouched."""

    exit_code = 7


class DownloadError(YoloxDeployError):
    """Weights that could not be fetched, or that are not what they were fetched as."""

    exit_code = 8


class ConversionError(YoloxDeployError):
    """A converter that refused the model or wrote something unusable."""

    exit_code = 9


class SlowerError(YoloxDeployError):
    """A benchmark that became slower than the caller allows."""

    exit_code = 10


class NoVerdictError(YoloxDeployError):
    """Two benchmarks whose difference is smaller than what they scatter by."""

    exit_code = 11


class NotMetError(YoloxDeployError):
    """A demand on time, accuracy or memory that nothing which was measured here meets."""

    exit_code = 14


class ExtensionError(YoloxDeployError):
    """An extension, for example a scenario, that lacks what every one must have."""


class ModelWarning(UserWarning):
    """Something about an opened model that its user should know; detections go on."""


class ExtensionWarning(UserWarning):
    """A row of another package, or its option, that had to be left out."""


def in_short(names: Sequence[str]) -> str:
    """Return the first few of many names.

    >>> in_short("abcdefgh")
    'a, b, c, d, e, f, ...'
    """
    return ", ".join((*names[:6], *["..."] * (len(names) > 6)))


def number_of(count: float, noun: str, nouns: str = "") -> str:
    """Return a number with its noun; ``nouns`` is the plural, where it has more than an s.

    >>> number_of(1, "class", "classes"), number_of(0, "class", "classes"), number_of(2, "epoch")
    ('1 class', '0 classes', '2 epochs')
    """
    return f"{count} {noun if count == 1 else nouns or f'{noun}s'}"


def suggest(given: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of the known words, else an empty string."""
    near = difflib.get_close_matches(given.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
