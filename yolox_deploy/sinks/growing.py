"""A text file that is written as results come, and is whole whenever the work ends."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from yolox_deploy.files import (
    is_stdout,
    is_stream,
    put,
    reported_as_output_error,
    workplace,
    write_all,
)
from yolox_deploy.terminal import write_output


class GrowingText:
    """Writes beside ``path`` until :meth:`finish` renames; to a pipe or ``-`` at once.

    After an error, for example of a full disk, the file ends with the last text that was written
    whole.  Raises :class:`OutputError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._stack = ExitStack()
        self._to_stdout = is_stdout(path)
        if self._to_stdout:
            return
        target = Path(os.path.realpath(path))
        self.draft = None
        if not is_stream(path):
            self.draft = self._stack.enter_context(workplace(target.parent)) / target.name
        with reported_as_output_error(path):
            place = self.draft or path
            self._file = self._stack.enter_context(place.open("wb", buffering=0))

    def write(self, text: str) -> None:
        """Append text."""
        if self._to_stdout:
            write_output(text)
            return
        data = text.encode("utf-8", "backslashreplace")
        with reported_as_output_error(self.path):
            try:
                write_all(self._file, data)
            except OSError:
                if self.draft:
                    self._file.truncate(self.size)
                raise
            self.size += len(data)

    def finish(self) -> None:
        """Give the file its name."""
        if not self._to_stdout and self.draft:
            with reported_as_output_error(self.path):
                os.fsync(self._file.fileno())
            put(self.draft, self.path)

    def close(self) -> None:
        """Close, and remove what was not finished; calling it twice is fine."""
        self._stack.close()
