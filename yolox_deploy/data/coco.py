"""The one reader of annotation files in COCO's format: parsed and checked when they are opened.

Training, the measurement of AP and streaming read the same :class:`CocoDocument` and take from it
what they need.  The format is described at https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.errors import InputFileError

PARTS = ("images", "annotations", "categories")
# The fields of an image that tell its sequence and its place there: those of Argoverse-HD, and
# those of MMTracking's CocoVID.
ORDER_FIELDS = (("sid", "fid"), ("video_id", "frame_id"))
# Larger numbers are infinite in float32.
LARGEST = 1e38

Id = int | str


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One entry of ``images``; ``file_name`` and ``size`` are ``None`` where the file has none.

    ``id`` is a whole number as COCO defines it, or a text, which some tools write; ``size`` is
    (height, width) in pixels; ``order`` holds those of :data:`ORDER_FIELDS` that the file has.
    """

    id: Id
    file_name: str | None
    size: tuple[int, int] | None
    order: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One entry of ``annotations``: the box of an object, or of a crowd of objects.

    ``bbox`` is x, y, width, height in pixels, ``area`` in square pixels.  ``fields`` are the other
    fields that were asked for, as they stand in the file.
    """

    image_id: Id
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    is_crowd: bool
    fields: Mapping[str, Any]

    def entry(self, number: int, image_id: int, category_id: int) -> dict[str, Any]:
        """Return the annotation as ``pycocotools`` wants it, under other ids.

        ``number`` is the annotation's own id, from 1: ``pycocotools`` takes a detection that was
        matched with annotation 0 for one that was not matched.
        """
        return {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": list(self.bbox),
            "area": self.area,
            "iscrowd": int(self.is_crowd),
            **self.fields,
        }


@dataclass(frozen=True)
class CocoDocument:
    """A checked annotation file; ``categories`` is id to name, in the order of the file."""

    path: Path
    images: Sequence[CocoImage]
    annotations: Sequence[CocoAnnotation]
    categories: Mapping[int, str]

    def numbered(self) -> dict[int, CocoImage]:
        """Return the images by id.

        Raises :class:`InputFileError` for an id that is no whole number: results in COCO's format
        cannot name such an image.
        """
        found = {image.id: image for image in self.images if isinstance(image.id, int)}
        for image in self.images:
            if image.id not in found:
                raise refused(self.path, f"the image id {image.id!r} is no whole number")
        return found

    def picture_paths(self, folder: Path) -> dict[int, Path]:
        """Return the file of every image by id; file names are relative to ``folder``.

        Raises :class:`InputFileError` if a file is missing.
        """
        if not folder.is_dir():
            raise InputFileError(f"{folder}: no such folder of pictures")
        paths = {i: folder / self.file_name(image) for i, image in self.numbered().items()}
        missing = [path for path in paths.values() if not os.path.isfile(path)]
        if missing:
            raise InputFileError(
                f"{folder} lacks {len(missing)} of the {len(paths)} pictures that "
                f"{self.path.name} names, {missing[0].name} first{self._elsewhere(folder)}"
            )
        return paths

    def _elsewhere(self, folder: Path) -> str:
        """Return advice if all pictures are in a folder just below or above ``folder``."""
        names = [self.file_name(image) for image in self.images]
        with suppress(OSError):
            near = sorted(path for path in folder.iterdir() if path.is_dir())
            for place in (*near, folder.parent):
                if all(os.path.isfile(place / name) for name in names):
                    return f": all of them are in {place}: give that folder"
        return ""

    def file_name(self, image: CocoImage) -> str:
        """Return the file name of an image; raises :class:`InputFileError` if it has none."""
        if image.file_name is None:
            raise refused(self.path, f"image {image.id!r} has no 'file_name'")
        return image.file_name

    def sequences(self) -> list[list[int]]:
        """Return the image ids of each sequence, in the order in which the frames follow.

        :data:`ORDER_FIELDS` tell sequence and place.  If an image lacks them, all images are one
        sequence, in the order of the file.
        """
        images = self.numbered()
        for group, place in ORDER_FIELDS:
            if all(group in image.order and place in image.order for image in images.values()):
                found: dict[Any, list[tuple[Any, int]]] = {}
                try:
                    for number, image in images.items():
                        frame = image.order[place], number
                        found.setdefault(image.order[group], []).append(frame)
                    return [[number for _, number in sorted(found[key])] for key in sorted(found)]
                except TypeError as error:
                    raise refused(
                        self.path, f"{group!r} and {place!r} of its images give no order ({error})"
                    ) from error
        return [list(images)]

    def oddities(self) -> list[str]:
        """Return sentences on annotations that AP counts in a way that may surprise."""
        known = {image.id for image in self.images}
        lost = sum(row.image_id not in known for row in self.annotations)
        flat = sum(min(row.bbox[2:]) <= 0 and not row.is_crowd for row in self.annotations)
        notes = []
        if lost:
            notes.append(f"{lost} annotations are of images that are not listed: left out")
        if flat:
            notes.append(
                f"{flat} annotated boxes have no width or height: no detection can match them"
            )
        return [f"{self.path}: {note}" for note in notes]

    def truth(self, image_ids: Collection[int] | None = None) -> dict[str, Any] | None:
        """Return what AP compares results with, see :func:`yolox_deploy.data.ap.average_precision`.

        ``image_ids`` are the images to compare (default: all).  ``None`` if nothing is annotated in
        them but crowds, for which AP is not defined.
        """
        images = self.numbered()
        wanted = images.keys() if image_ids is None else images.keys() & set(image_ids)
        annotations = [
            annotation.entry(number, annotation.image_id, annotation.category_id)
            for number, annotation in enumerate(self.annotations, 1)
            if isinstance(annotation.image_id, int) and annotation.image_id in wanted
        ]
        if all(annotation["iscrowd"] for annotation in annotations):
            return None
        sizes = {i: images[i].size for i in images if i in wanted}
        return {
            "images": [
                {"id": i, "height": size[0], "width": size[1]} if size else {"id": i}
                for i, size in sizes.items()
            ],
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in self.categories.items()],
        }


def refused(path: Path, what: str) -> InputFileError:
    """Return the error that says what is wrong with an annotation file."""
    return InputFileError(f"{path}: no COCO data set: {what}")


def read_coco(path: Path, fields: Sequence[str] = ()) -> CocoDocument:
    """Return the annotation file at ``path``, with every entry checked.

    ``fields`` are fields of an annotation to keep besides box, area and crowd.  A missing area is
    that of the box, a missing ``iscrowd`` is 0, and a missing list of annotations is empty.

    Raises :class:`InputFileError`, which names the file and the first entry that is wrong.
    """
    content = _content(path)
    try:
        images = [_image(i, entry) for i, entry in enumerate(content["images"])]
        categories = [_category(i, entry) for i, entry in enumerate(content["categories"])]
        _check_distinct("image", ((image.id, image.file_name) for image in images))
        _check_distinct("category", categories)
        entries = enumerate(content.get("annotations") or ())
        annotations = [_annotation(i, entry, fields) for i, entry in entries]
        _check_categories(annotations, dict(categories))
    except _WrongEntryError as error:
        raise refused(path, str(error)) from error
    return CocoDocument(path, images, annotations, dict(categories))


def _content(path: Path) -> dict[str, Any]:
    """Return the parsed file, in which the three lists were found."""
    if path.is_char_device():
        raise InputFileError(f"{path}: is a device: give the JSON file with the annotations")
    try:
        # Some editors put a byte-order mark before the text.
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        if path.is_dir():
            problem = "is a folder: give the JSON file with the annotations"
        raise InputFileError(f"{path}: {problem}") from error
    except ValueError as error:
        raise refused(path, f"not JSON: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise refused(path, "its JSON is nested too deeply") from error
    except MemoryError as error:
        raise InputFileError(f"{path}: the file does not fit into memory") from error
    if isinstance(content, list):
        raise refused(path, "a list of detections; expected an object")
    lists = content if isinstance(content, dict) else {}
    missing = [part for part in PARTS if not isinstance(lists.get(part), list)]
    # Files of pictures without annotations, such as those of COCO's test set, leave the list out.
    if missing and (missing != ["annotations"] or lists.get("annotations") is not None):
        raise refused(path, f"no list {', '.join(missing)}")
    for part in ("images", "categories"):
        if not lists[part]:
            raise refused(path, f"the list of {part} is empty")
    return lists


class _WrongEntryError(Exception):
    """An entry that is not as COCO defines it."""


def _image(index: int, entry: Any) -> CocoImage:
    where = f"images[{index}]"
    number = _id(where, entry, "id")
    name = entry.get("file_name")
    if name is not None and not isinstance(name, str):
        raise _WrongEntryError(f"{where}: 'file_name' is {_shown(name)}, expected a text")
    height, width = (_whole(entry.get(side)) or 0 for side in ("height", "width"))
    order = {key: entry[key] for pair in ORDER_FIELDS for key in pair if key in entry}
    return CocoImage(number, name, (height, width) if height > 0 < width else None, order)


def _category(index: int, entry: Any) -> tuple[int, str]:
    where = f"categories[{index}]"
    number = _whole_id(where, entry, "id")
    name = entry.get("name")
    if not isinstance(name, (str, int)):
        raise _WrongEntryError(f"{where} has no 'name'")
    return number, str(name)


def _annotation(index: int, entry: Any, fields: Sequence[str]) -> CocoAnnotation:
    where = f"annotations[{index}]"
    image_id = _id(where, entry, "image_id")
    category_id = _whole_id(where, entry, "category_id")
    if "bbox" not in entry:
        raise _WrongEntryError(f"{where} has no 'bbox'")
    box = entry["bbox"]
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))):
        raise _WrongEntryError(
            f"{where} (id {_shown(entry.get('id'))}): 'bbox' is {_shown(box)}, expected four "
            "finite numbers: x, y, width, height"
        )
    x, y, width, height = map(float, box)
    area, crowd = entry.get("area"), entry.get("iscrowd")
    if area is None:
        area = width * height
    elif not _is_finite(area):
        raise _WrongEntryError(f"{where}: 'area' is {_shown(area)}, expected a finite number")
    if crowd not in (None, 0, 1):
        raise _WrongEntryError(f"{where}: 'iscrowd' is {_shown(crowd)}, expected 0 or 1")
    kept = {field: entry[field] for field in fields if field in entry}
    box = (x, y, width, height)
    return CocoAnnotation(image_id, category_id, box, float(area), bool(crowd), kept)


def _id(where: str, entry: Any, key: str) -> Id:
    """Return an id; digits written as a text are the number that they tell."""
    if not isinstance(entry, dict):
        raise _WrongEntryError(f"{where} is {_shown(entry)}, not as COCO defines it (an object)")
    value = entry.get(key)
    if value is None:
        raise _WrongEntryError(f"{where} has no {key!r}")
    number = _whole(value)
    if number is None and not isinstance(value, str):
        raise _WrongEntryError(f"{where}: {key!r} is {_shown(value)}, expected a whole number")
    return value if number is None else number


def _whole_id(where: str, entry: Any, key: str) -> int:
    value = _id(where, entry, key)
    if isinstance(value, str):
        raise _WrongEntryError(f"{where}: {key!r} is {_shown(value)}, expected a whole number")
    return value


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST < value < LARGEST


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _check_categories(annotations: Sequence[CocoAnnotation], known: Mapping[int, str]) -> None:
    """Refuse an annotation whose category has no name: AP would leave it out without a word."""
    for index, annotation in enumerate(annotations):
        if annotation.category_id not in known:
            raise _WrongEntryError(
                f"annotations[{index}]: the category id {annotation.category_id} is not in the "
                "list of categories"
            )


def _check_distinct(kind: str, pairs: Iterable[tuple[Id, str | None]]) -> None:
    """Refuse an id that has two names."""
    names: dict[Id, str | None] = {}
    for number, name in pairs:
        if names.setdefault(number, name) != name:
            raise _WrongEntryError(
                f"the {kind} id {number!r} stands for {names[number]!r} and for {name!r}"
            )
