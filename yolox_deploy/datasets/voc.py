"""Reads Pascal VOC: one XML file per picture.

The format is that of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/: the corners of boxes
in pixels, the first pixel is 1.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from yolox_deploy.data.coco import CocoAnnotation, CocoDocument, CocoImage
from yolox_deploy.errors import InputFileError
from yolox_deploy.files import read_input
from yolox_deploy.pictures.images import IMAGE_SUFFIXES, read_image

LARGEST_FILE = 16 << 20
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(place: Path, pictures: Path) -> CocoDocument:
    """Return the boxes of XML files; file names are relative to ``pictures``.

    ``place`` is a folder of XML files, or a list of names in ``ImageSets/Main``, beside which
    ``Annotations`` lies.

    Objects that are marked as difficult are regions that are neither right nor wrong, as crowds
    are in COCO.  Classes are those that appear, in alphabetical order.  Raises
    :class:`InputFileError` for a file that is no VOC annotation.
    """
    if not pictures.is_dir():
        raise InputFileError(f"{pictures}: no such folder of pictures")
    images, found = [], []
    # The names in the files are often those of another machine.
    there = {
        path.stem: path.name for path in pictures.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES
    }
    for number, path in enumerate(_files(place), 1):
        root = _parsed(path)
        name = Path((root.findtext("filename") or "").strip()).name
        if not name or not (pictures / name).is_file():
            name = there.get(path.stem, name or path.stem)
        sides = [_number(root.findtext(f"size/{side}")) for side in ("height", "width")]
        known = all(side > 0 for side in sides)
        if not known and (pictures / name).is_file():
            # Some tools write 0.
            sides, known = list(read_image(pictures / name).shape[:2]), True
        size = (int(sides[0]), int(sides[1])) if known else None
        images.append(CocoImage(number, name, size, {}))
        found += [(number, *_object(path, entry)) for entry in root.iter("object")]
    if not images:
        raise InputFileError(f"{place}: no XML files of Pascal VOC in it")
    names = sorted({name for _, name, _, _ in found})
    index = {name: i for i, name in enumerate(names)}
    annotations = [
        CocoAnnotation(number, index[name], box, box[2] * box[3], difficult, {})
        for number, name, box, difficult in found
    ]
    return CocoDocument(place, images, annotations, dict(enumerate(names)))


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(place.glob("*.xml"))
    if place.absolute().parts[-3:-1] != ("ImageSets", "Main"):
        raise InputFileError(
            f"{place}: a list of pictures is read in ImageSets/Main of Pascal VOC only; give"
            " annotations"
        )
    try:
        data = read_input(place, LARGEST_FILE, "list of pictures")
        lines = data.decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"{place}: no list of pictures: {error}") from error
    folder = place.absolute().parents[2] / "Annotations"
    return [folder / f"{words[0]}.xml" for line in lines if (words := line.split())]


Box = tuple[float, float, float, float]


def _object(path: Path, entry: ElementTree.Element) -> tuple[str, Box, bool]:
    name = (entry.findtext("name") or "").strip()
    corners = [_number(entry.findtext(f"bndbox/{corner}")) for corner in CORNERS]
    if not name or not all(map(math.isfinite, corners)):
        raise InputFileError(
            f"{path}: an object without a name or a bndbox with {', '.join(CORNERS)}"
        )
    left, top = max(corners[0] - 1, 0.0), max(corners[1] - 1, 0.0)
    difficult = _number(entry.findtext("difficult")) == 1
    return name, (left, top, corners[2] - left, corners[3] - top), difficult


def _parsed(path: Path) -> ElementTree.Element:
    try:
        content = read_input(path, LARGEST_FILE, "annotation of one picture")
        root = ElementTree.fromstring(content)
    except (OSError, ElementTree.ParseError) as error:
        raise InputFileError(f"{path}: no XML: {error}") from error
    if root.tag != "annotation":
        raise InputFileError(f"{path}: its root is {root.tag[:40]!r}, expected 'annotation'")
    return root


def _number(text: str | None) -> float:
    """Return a finite number below 1e9, otherwise NaN."""
    try:
        value = float(text or "nan")
    except ValueError:
        return math.nan
    return value if abs(value) < 1e9 else math.nan
