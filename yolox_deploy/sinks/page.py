"""HTML pages that need nothing beside them, and two models side by side on the same pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import OutputError
from yolox_deploy.files import write_atomically
from yolox_deploy.pictures.output import check_output, write_picture

Image = NDArray[np.uint8]
# By this line the pages of a command are known.
GENERATOR = '<meta name="generator" content="{}">'
# The width of each of the two pictures of a row, and the space between them, in pixels.
WIDTH, GAP = 640, 8
# The colours are those of the reader's system, light or dark; pictures and charts are on white.
STYLE = """\
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; line-height: 1.5; max-width: 82em; margin: 2em auto;
  padding: 0 1em; }
h2 { margin-top: 2em; border-bottom: 1px solid #8888; }
figure { margin: 1em 0; }
img { max-width: 100%; height: auto; background: white; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8882; padding: .7em 1em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .2em .8em; border: 1px solid #8886; text-align: right; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.good, .bad, .going { padding: .8em 1em; border-left: .5em solid #1a9850; background: #8882; }
.bad { border-color: #d73027; } .going { border-color: #4575b4; }
"""


class Page:
    """Collects the parts of a page; every text in it is shown as it is, never read as HTML.

    ``maker`` is the command that makes it.
    """

    def __init__(self, title: str, maker: str) -> None:
        self.title = title
        self.maker = maker
        self.parts: list[str] = []

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, kind: str = "") -> None:
        """Add a paragraph; ``kind`` is ``good``, ``bad`` or ``going`` for a verdict."""
        mark = f' class="{kind}"' if kind else ""
        self.parts.append(f"<p{mark}>{html.escape(text)}</p>")

    def lines(self, lines: Iterable[str]) -> None:
        """Add lines as they are, for example commands to copy."""
        self.parts.append(f"<pre>{html.escape(chr(10).join(lines))}</pre>")

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table; the first cell of each row names it."""
        cells = [
            f'<tr><th scope="row">{html.escape(first)}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
            + "</tr>"
            for first, *rest in rows
        ]
        head = "".join(f'<th scope="col">{html.escape(header)}</th>' for header in headers)
        self.parts += ['<div class="wide"><table>', f"<tr>{head}</tr>", *cells, "</table></div>"]

    def picture(self, encoded: bytes, alternative: str, caption: str = "") -> None:
        """Add a PNG or JPEG, with a text for those who cannot see it."""
        kind = "png" if encoded.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(encoded).decode()
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        source = f'src="data:image/{kind};base64,{data}"'
        self.parts.append(
            f'<figure><img {source} alt="{html.escape(alternative)}">{below}</figure>'
        )

    def content(self) -> str:
        """Return the page as HTML."""
        title = html.escape(self.title)
        view = '<meta name="viewport" content="width=device-width">'
        generator = GENERATOR.format(html.escape(self.maker))
        head = f'<meta charset="utf-8">{generator}{view}<title>{title}</title>'
        body = "\n".join([f"<h1>{title}</h1>", *self.parts])
        style = f"<style>\n{STYLE}</style>"
        return f'<!doctype html>\n<html lang="en">\n{head}\n{style}\n{body}\n</html>\n'


def is_page_of(path: Path, maker: str) -> bool:
    """Whether a file is a page that a command has written."""
    try:
        with path.open("rb") as file:
            return GENERATOR.format(html.escape(maker)).encode() in file.read(300)
    except OSError:
        return False


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
    joined = [(caption, beside(left, right)) for caption, left, right in rows]
    if path.suffix.lower() == ".html":
        page = Page(title, "yolox-compare")
        page.lines([text])
        for caption, image in joined:
            page.heading(caption)
            page.picture(as_jpeg(image), f"{caption}, side by side")
        write_atomically(path, page.content())
        return
    write_picture(path, stacked([image for _, image in joined]))


def beside(left: Image, right: Image) -> Image:
    """Return two pictures of one size beside each other."""
    height = max(1, round(left.shape[0] * WIDTH / left.shape[1]))
    one, other = (
        cv2.resize(i, (WIDTH, height), interpolation=cv2.INTER_AREA) for i in (left, right)
    )
    return np.hstack((one, np.full((height, GAP, 3), 255, np.uint8), other)).astype(np.uint8)


def stacked(images: Sequence[Image]) -> Image:
    """Return pictures as :func:`beside` gives them below each other."""
    nothing = np.full((GAP, 2 * WIDTH + GAP, 3), 255, np.uint8)
    parts = [part for image in images for part in (image, nothing)]
    return np.concatenate(parts or [nothing])


def as_jpeg(image: Image) -> bytes:
    """Return a picture (h, w, 3) uint8 BGR as a JPEG file."""
    _, encoded = cv2.imencode(".jpg", image)
    return encoded.tobytes()
