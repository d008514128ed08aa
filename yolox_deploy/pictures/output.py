"""Pictures out: into a file, a notebook or a window."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import OutputError, UsageError
from yolox_deploy.files import write_atomically

WRITABLE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# The longest side in pixels of a picture that is shown: larger ones fit neither screen nor page.
LARGEST_SHOWN = 1600


def check_output(path: str | os.PathLike[str], source: Any = None) -> Path:
    """Return ``path`` if a picture can be written to a file of that name.

    ``source`` is what the picture was made from; a file among them is never written over.

    Raises :class:`OutputError` for a suffix of no known format, a folder, and the source itself,
    :class:`UsageError` for what is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"the path comes first, then the picture; got {type(path).__name__}")
    file = Path(path)
    if file.suffix.lower() not in WRITABLE_SUFFIXES:
        suffix = f"{file.suffix!r} is not" if file.suffix else "there is none, instead of"
        raise OutputError(
            f"cannot write {file}: the suffix decides the format, "
            f"and {suffix} one of {', '.join(WRITABLE_SUFFIXES)}"
        )
    if os.path.isdir(file):
        raise OutputError(f"cannot write {file}: it is a folder")
    known = isinstance(source, (str, os.PathLike)) and os.path.exists(source)
    if known and os.path.exists(file) and os.path.samefile(file, source):
        raise OutputError(
            f"cannot write {file}: it is the picture that is drawn on; choose another name"
        )
    return file


def write_picture(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> Path:
    """Write ``image``, (h, w, 3) uint8 BGR, in the format of the suffix, and return the path.

    What stood there is replaced in one step or not at all; folders are created.

    Raises :class:`OutputError` for an unknown suffix and where the file cannot be written.
    """
    file = check_output(path)
    write_atomically(file, _encoded(file.suffix.lower(), image, str(file)))
    return file


def show_picture(image: NDArray[np.uint8], title: str = "yolox_deploy") -> None:
    """Show ``image``, (h, w, 3) uint8 BGR, in the notebook, else in a window, else in a viewer.

    A picture with a side of more than 1600 pixels is shown smaller.  OpenCV opens a window if it
    was built with windows, which ``opencv-python-headless`` is not; it closes with any key, and
    until then the call does not return.  The viewer is the system's own for pictures; it is given a
    file in the folder for temporary files, and the call returns at once.

    Raises :class:`OutputError` where none of them can be had, for example without a display.
    """
    image = _shrunk(image)
    if _in_notebook():
        notebook: Any = importlib.import_module("IPython.display")
        notebook.display(notebook.Image(_encoded(".png", image, "the picture"), format="png"))
    elif _has_display() and _can_open_windows():
        cv2.imshow(title, image)
        # A window that is closed with the mouse gives no key.
        while cv2.waitKey(50) < 0 and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1:
            pass
        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(title)
    elif not (_has_display() and _opened_in_viewer(image)):
        raise OutputError(
            "cannot show the picture: there is no display, or neither a window of OpenCV nor a "
            "viewer of pictures can be opened: write the picture to a file with save(path, image)"
        )


def _has_display() -> bool:
    """Whether the system may have a screen."""
    variables = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(map(os.environ.get, variables))


def _can_open_windows() -> bool:
    """Whether OpenCV can open a window, which a process of its own tries.

    With a display that cannot be reached OpenCV's Qt ends the whole process.
    """
    if "NONE" in re.findall(r"GUI:\s+(\w+)", cv2.getBuildInformation()):
        return False
    code = "import cv2; cv2.namedWindow('yolox_deploy'); cv2.destroyAllWindows()"
    return _succeeds([sys.executable, "-c", code])


def _opened_in_viewer(image: NDArray[np.uint8]) -> bool:
    """Give the picture to the system's viewer of pictures; returns whether there is one."""
    with tempfile.NamedTemporaryFile(prefix="yolox_deploy-", suffix=".png", delete=False) as file:
        file.write(_encoded(".png", image, file.name))
    if sys.platform == "win32":
        os.startfile(file.name)
        return True
    opened = _succeeds(["open" if sys.platform == "darwin" else "xdg-open", file.name])
    if not opened:
        os.unlink(file.name)
    return opened


def _succeeds(command: list[str]) -> bool:
    """Run a command without its output; one that goes on after ten seconds has succeeded."""
    with contextlib.suppress(OSError):
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(10) == 0
        return True
    return False


def _encoded(suffix: str, image: NDArray[np.uint8], name: str) -> bytes:
    try:
        good, data = cv2.imencode(suffix, image)
    except cv2.error as error:
        raise OutputError(f"cannot write {name}: {error.err or 'OpenCV refused it'}") from error
    if not good:
        size = "x".join(map(str, image.shape[:2]))
        raise OutputError(f"cannot write {name}: OpenCV cannot store {size} pixels as {suffix}")
    return bytes(data)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    factor = LARGEST_SHOWN / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _in_notebook() -> bool:
    """Whether the code runs in a Jupyter kernel (IPython in a terminal shows no pictures)."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None
