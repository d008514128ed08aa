"""``yolox-data``: read a data set in any of the formats, say what is in it, write it as COCO."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from functools import partial
from pathlib import Path

from yolox_deploy.cli.common import make_parser, run_command
from yolox_deploy.cli.parser import add_options
from yolox_deploy.datasets.convert import Read, annotated, class_list, coco_content
from yolox_deploy.datasets.sources import data_files
from yolox_deploy.errors import UsageError, number_of
from yolox_deploy.files import is_stdout, write_atomically
from yolox_deploy.pictures.output import check_output, write_picture
from yolox_deploy.pictures.sheet import mosaic
from yolox_deploy.sinks.outputs import check_apart, check_file, check_new
from yolox_deploy.terminal import note, print_table

COMMAND = "yolox-data"
EXAMPLES = """\
  yolox-data data.yaml
  yolox-data train.json --images train/
  yolox-data roboflow_export/ --to data.json
  yolox-data VOC2012/Annotations/ --to voc.json --draw mosaic.png
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    result = make_parser(
        COMMAND,
        "Read annotated pictures, print what is in them, and convert them to COCO's format.",
        EXAMPLES,
    )
    result.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a data.yaml of YOLO's text labels; a folder with one, or with train/ and valid/, as"
        " Roboflow exports it; a folder with XML files of Pascal VOC; or a COCO JSON file",
    )
    add_options(
        result,
        """
        --images FOLDER: folder with the pictures of DATA, if DATA does not say it (default: looked
            for in the usual places beside it)
        --to FILE: COCO JSON file to write; with validation data two files: FILE_train.json and
            FILE_val.json (default: only print)
        --draw FILE: draw some of the pictures with their boxes, as they were read, into one picture
            (.png, .jpg): boxes beside the objects are data that was read wrongly
        """,
    )
    return result


def convert(arguments: argparse.Namespace) -> int:
    """Read, print, and write what was asked for."""
    files = data_files([arguments.data], images=[arguments.images] if arguments.images else [])
    sources = {"train": files.train, "val": files.val} if files.val else {"": files.train}
    targets = _targets(arguments, list(sources))
    if arguments.draw:
        check_apart({"--to": targets.values(), "--draw": [arguments.draw]}, [arguments.data])
        check_file(check_output(arguments.draw), text=False)
    parts: dict[str, list[Read]] = {
        part: [(source.read(), source.images) for source in rows] for part, rows in sources.items()
    }
    whole = [read for rows in parts.values() for read in rows]
    names = class_list(whole, files.names)
    counts = {part: _boxes(rows) for part, rows in parts.items()}
    pictures = [str(sum(len(d.images) for d, _ in rows)) for rows in parts.values()]
    table = [[name, *(str(found[name]) for found in counts.values())] for name in names]
    headers = ("class", *(f"boxes, {part}" if part else "boxes" for part in parts))
    print_table(headers, [*table, ["pictures", *pictures]])
    if crowds := sum(row.is_crowd for d, _ in whole for row in d.annotations):
        note(f"of these boxes, training leaves out {number_of(crowds, 'crowd region')}")
    paths = [folder / d.file_name(image) for d, folder in whole for image in d.images]
    if missing := [path for path in paths if not path.is_file()]:
        note(f"{len(missing)} of the pictures are missing, the first is {missing[0]}")
    for part, target in targets.items():
        content = coco_content(parts[part], names, target.absolute().parent)
        write_atomically(target, json.dumps(content))
        note(f"wrote {target}")
    if arguments.draw:
        write_picture(arguments.draw, mosaic(annotated(whole, names)))
        note(f"wrote {arguments.draw}")
    else:
        note("look whether the boxes are right: --draw mosaic.png draws some of the pictures")
    return 0


def _targets(arguments: argparse.Namespace, parts: list[str]) -> dict[str, Path]:
    """Return the file of each part, checked."""
    target: Path | None = arguments.to
    if target is None:
        return {}
    if is_stdout(target):
        raise UsageError("--to: the file names of pictures are relative to the file: name one")
    if not target.name:
        raise UsageError(f"--to {target}: expected the name of a file")
    if len(parts) == 1:
        check_apart({"--to": [target]}, [arguments.data])
        check_file(target)
        return {parts[0]: target}
    found = {part: target.with_name(f"{target.stem}_{part}.json") for part in parts}
    check_new(list(found.values()), "choose another --to")
    return found


def _boxes(rows: list[Read]) -> Counter[str]:
    return Counter(d.categories[row.category_id] for d, _ in rows for row in d.annotations)


main = partial(run_command, COMMAND, parser, convert)

if __name__ == "__main__":
    raise SystemExit(main())
