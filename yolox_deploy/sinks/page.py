"""Two models side by side on the same pictures, as one picture or one HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import OutputError
from yolox_deploy.files import write_atomically
from yolox_deploy.pictures.output import check_output, write_picture

Image = NDArray[np.uint8]
# The width of each of the two pictures of a row, and the space between them, in pixels.
WIDTH, GAP = 640, 8
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; margin: 2em; }} img {{ max-width: 100%; }}
pre {{ white-space: pre-wrap; }}</style>
<h1>{title}</h1>
<pre>{text}</pre>
{rows}
</html>
"""


def check_page(path: Path) -> None:
    """Raise :class:`OutputError` for a suffix that is neither HTML nor a picture's."""
    if path.suffix.lower() != ".html":
        try:
            check_output(path)
        except OutputError as error:
            raise OutputError(f"{error}, or .html") from error


def write_page(path: Path, title: str, text: str, rows: Sequence[tuple[str, Image, Image]]) -> None:
    """Write rows of a caption and two pictures (h, w, 3) uint8 BGR; the suffix decides the format.

    An HTML page holds its pictures.  Raises :class:`OutputError`.
    """
    joined = [(caption, _beside(left, right)) for caption, left, right in rows]
    if path.suffix.lower() == ".html":
        figures = "\n".join(_figure(caption, image) for caption, image in joined)
        title, text = html.escape(title), html.escape(text)
        write_atomically(path, PAGE.format(title=title, text=text, rows=figures))
        return
    nothing = np.full((GAP, 2 * WIDTH + GAP, 3), 255, np.uint8)
    parts = [part for _, image in joined for part in (image, nothing)]
    write_picture(path, np.concatenate(parts or [nothing]))


def _beside(left: Image, right: Image) -> Image:
    """Return two pictures of one size beside each other."""
    height = max(1, round(left.shape[0] * WIDTH / left.shape[1]))
    one, other = (
        cv2.resize(i, (WIDTH, height), interpolation=cv2.INTER_AREA) for i in (left, right)
    )
    return np.hstack((one, np.full((height, GAP, 3), 255, np.uint8), other)).astype(np.uint8)


def _figure(caption: str, image: Image) -> str:
    _, encoded = cv2.imencode(".jpg", image)
    data = base64.b64encode(encoded.tobytes()).decode()
    return f'<h2>{html.escape(caption)}</h2>\n<img src="data:image/jpeg;base64,{data}">'
