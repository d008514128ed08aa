"""Finds the data that a user names, in any of the formats, and reads it as COCO documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.data.coco import CocoDocument, read_coco
from yolox_deploy.datasets.voc import read_voc
from yolox_deploy.datasets.yolo import class_names, picture_places, read_yaml, read_yolo
from yolox_deploy.errors import InputFileError, UsageError

EXPECTED = (
    "expected train: (and val:) with lists of {annotations: FILE.json, images: FOLDER}; or names:,"
    " and train: (and val:) with folders of pictures"
)
YAML = (".yaml", ".yml")
# What Roboflow and others call the parts of a data set, and the annotations in a part's folder.
PARTS = {"train": ("train",), "val": ("valid", "val", "validation")}
ROBOFLOW_COCO = "_annotations.coco.json"


@dataclass(frozen=True)
class CocoSource:
    """Annotations, and the folder that the file names in them are relative to.

    ``annotations`` is a COCO JSON file, a ``data.yaml`` of YOLO's text labels (``images`` is then
    one of its folders or lists of pictures), or for Pascal VOC a folder with XML files, or a list
    of names in ``ImageSets/Main``.
    """

    annotations: Path
    images: Path

    def read(self) -> CocoDocument:
        """Return the annotations; raises :class:`InputFileError`, and what the readers raise."""
        if self.annotations.suffix in YAML:
            return read_yolo(self.annotations, self.images)
        if self.annotations.is_dir() or self.annotations.suffix == ".txt":
            return read_voc(self.annotations, self.images)
        return read_coco(self.annotations)


@dataclass(frozen=True)
class DataFiles:
    """The sources to train on and to validate on, and the class names where they are stated."""

    train: list[CocoSource]
    val: list[CocoSource]
    names: list[str] | None = None


def data_files(
    data: Sequence[Path],
    val: Sequence[Path] = (),
    images: Sequence[Path] = (),
    val_images: Sequence[Path] = (),
) -> DataFiles:
    """Return the sources that the arguments name.

    ``data`` is one YAML file, one folder that holds such a file or the parts ``train`` and
    ``valid``, or: COCO JSON files, or folders of Pascal VOC, with ``images`` folders in the same
    order.  One folder serves all; without a folder the usual places are tried, see
    :func:`image_folder`.  The same holds for ``val`` and ``val_images``.

    Raises :class:`UsageError` and :class:`InputFileError`.
    """
    described = [path for path in data if path.suffix in YAML or _is_whole(path)]
    if not described:
        return DataFiles(_paired(data, images), _paired(val, val_images))
    if len(data) > 1 or images:
        raise UsageError(f"{described[0]} describes all data: give no other file or image folder")
    found = _from_yaml(described[0]) if described[0].suffix in YAML else _from_folder(described[0])
    return DataFiles(found.train, _paired(val, val_images) if val else found.val, found.names)


def _is_whole(path: Path) -> bool:
    """Whether a folder holds a whole data set, not the XML files of one part."""
    return path.is_dir() and not any(path.glob("*.xml"))


def _from_folder(folder: Path) -> DataFiles:
    """Return what a folder holds: a ``data.yaml``, or parts in COCO's format or Pascal VOC's."""
    described = sorted(path for suffix in YAML for path in folder.glob(f"*{suffix}"))
    if len(described) == 1:
        return _from_yaml(described[0])
    if (lists := folder / "ImageSets" / "Main").is_dir():
        train, val = (
            [CocoSource(file, folder / "JPEGImages")] if file.is_file() else []
            for file in (lists / "train.txt", lists / "val.txt")
        )
        if train:
            return DataFiles(train, val)
    found: dict[str, list[CocoSource]] = {}
    for part, names in PARTS.items():
        places = [folder / name for name in names if (folder / name).is_dir()]
        found[part] = [
            CocoSource(place / ROBOFLOW_COCO, place)
            if (place / ROBOFLOW_COCO).is_file()
            else CocoSource(place, image_folder(place))
            for place in places
        ]
    if not found["train"]:
        several = f" ({len(described)} YAML files: name one of them)" if described else ""
        raise InputFileError(
            f"{folder}: no data set in it{several}; expected data.yaml, Pascal VOC's"
            f" ImageSets/Main, or train/ (and valid/) with {ROBOFLOW_COCO} or XML files"
        )
    return DataFiles(found["train"], found["val"])


def _paired(files: Sequence[Path], folders: Sequence[Path]) -> list[CocoSource]:
    if not folders:
        return [CocoSource(path, image_folder(path)) for path in files]
    if len(folders) not in (1, len(files)):
        raise UsageError(f"{len(files)} annotation files and {len(folders)} image folders")
    wide = folders if len(folders) == len(files) else [*folders] * len(files)
    return list(map(CocoSource, files, wide))


def image_folder(annotations: Path) -> Path:
    """Return the folder that holds the first picture of an annotation file.

    Tried are the usual places: ``X.json`` beside ``X/`` or ``images/`` or the pictures, and COCO's
    ``annotations/instances_X.json`` with ``X/`` or ``images/X/`` one level up.  For a folder of
    Pascal VOC: the folder itself, or ``JPEGImages`` beside it.
    """
    if annotations.is_dir():
        beside = annotations.parent / "JPEGImages"
        return beside if beside.is_dir() else annotations
    document = read_coco(annotations)
    first = document.file_name(document.images[0])
    here, name = annotations.parent, annotations.stem.removeprefix("instances_")
    # The parent of "." is "." to pathlib.
    above = here / ".." if here.name in ("", "..") else here.parent
    places = [here / name, here / "images" / name, here / "images", here]
    places += [above / name, above / "images" / name, above / "images"]
    for place in places:
        if (place / first).is_file():
            return place
    tried = ", ".join(dict.fromkeys(map(str, places)))
    raise InputFileError(
        f"{annotations}: its first picture {first} is in none of {tried}: name the image folder,"
        " for example with --images"
    )


def _from_yaml(path: Path) -> DataFiles:
    content = read_yaml(path)
    if not content.get("train"):
        raise InputFileError(f"{path}: {EXPECTED}")
    names = class_names(path, content) if content.get("names") is not None else None
    if names and not _names_annotations(content["train"]):
        train, val = (
            [CocoSource(path, place) for place in picture_places(path, content, part)]
            for part in PARTS
        )
        return DataFiles(train, val, names)
    train, val = (_entries(path, content.get(part) or []) for part in PARTS)
    return DataFiles(train, val, names)


def _names_annotations(entries: Any) -> bool:
    """Whether the entries of a YAML file are annotation files, not folders of pictures."""
    first = entries[0] if isinstance(entries, list) and entries else entries
    return isinstance(first, dict) or str(first).endswith(".json")


def _entries(path: Path, entries: Any) -> list[CocoSource]:
    """Return the sources of one part of the YAML file; paths are relative to the file."""
    sources = []
    for entry in entries if isinstance(entries, list) else [entries]:
        row = {"annotations": entry} if isinstance(entry, str) else entry
        if not isinstance(row, dict) or "annotations" not in row:
            raise InputFileError(f"{path}: {EXPECTED}, got {entry!r}")
        annotations = path.parent / str(row["annotations"])
        images = path.parent / str(row["images"]) if row.get("images") else None
        sources.append(CocoSource(annotations, images or image_folder(annotations)))
    return sources
