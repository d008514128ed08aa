"""What lies below a folder, and what has changed there since."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path


def snapshot(folder: Path) -> dict[str, str]:
    """Describe everything below a folder: kind, permissions, and the content or the link."""
    return {
        os.path.join(place, name)[len(str(folder)) + 1 :]: _described(os.path.join(place, name))
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def _described(path: str) -> str:
    info = os.lstat(path)
    what = stat.filemode(info.st_mode)
    if stat.S_ISLNK(info.st_mode):
        return f"{what} {os.readlink(path)}"
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            return f"{what} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    return what


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return what happened to each path that is not as it was."""
    words = {
        path: "created" if path not in before else "removed" if path not in after else "changed"
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }
    return dict(sorted(words.items()))
