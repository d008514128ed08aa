"""Finds the data that a user names: a ``data.yaml``, or COCO JSON files with image folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_deploy.data.coco import read_coco
from yolox_deploy.errors import InputFileError, UsageError
from yolox_deploy.packages import install_line, require
from yolox_deploy.training.data.pictures import CocoSource

EXPECTED = "expected train: (and val:) with lists of {annotations: FILE.json, images: FOLDER}"


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

    ``data`` is one YAML file, or COCO JSON files with ``images`` folders in the same order.  One
    folder serves all files; without a folder the usual places are tried, see :func:`image_folder`.
    The same holds for ``val`` and ``val_images``.

    Raises :class:`UsageError` and :class:`InputFileError`.
    """
    described = [path for path in data if path.suffix in (".yaml", ".yml")]
    if not described:
        return DataFiles(_paired(data, images), _paired(val, val_images))
    if len(data) > 1 or images:
        raise UsageError(f"{described[0]} describes all data: give no other file or image folder")
    found = _from_yaml(described[0])
    return DataFiles(found.train, _paired(val, val_images) if val else found.val, found.names)


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
    ``annotations/instances_X.json`` with ``X/`` or ``images/X/`` one level up.
    """
    document = read_coco(annotations)
    first = document.file_name(document.images[0])
    here, name = annotations.parent, annotations.stem.removeprefix("instances_")
    places = [here / name, here / "images" / name, here / "images", here]
    places += [here.parent / name, here.parent / "images" / name, here.parent / "images"]
    for place in places:
        if (place / first).is_file():
            return place
    tried = ", ".join(map(str, places))
    raise InputFileError(
        f"{annotations}: its first picture {first} is in none of {tried}: name the image folder"
    )


def _from_yaml(path: Path) -> DataFiles:
    install = install_line("train")
    yaml = require("yaml", f"reading {path.name} needs PyYAML", install)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content.get("train"):
        raise InputFileError(f"{path}: {EXPECTED}")
    names = content.get("names")
    if names is not None and not isinstance(names, list):
        raise InputFileError(f"{path}: names must be a list of class names")
    train, val = (_entries(path, content.get(part) or []) for part in ("train", "val"))
    return DataFiles(train, val, names and [str(name) for name in names])


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
