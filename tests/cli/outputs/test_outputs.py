"""What a command writes is decided before its work: nothing that is read, or was there, is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from command_cases import Case, Ran, Runner, check, in_a_process, program
from numpy.typing import NDArray

ROOT = Path(__file__).parents[3]
SMALL = {"size": (64, 64)}


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_for: Any, dog: NDArray[Any]
) -> Path:
    """A folder with pictures, a model in three formats, and files of every kind."""
    folder = tmp_path / "here"
    for name in ("pics", "labels", "done", "full"):
        (folder / name).mkdir(parents=True)
    small = cv2.resize(dog, (96, 72))
    for name in ("dog.jpg", "other.jpg", "pics/a.jpg", "done/dog.jpg"):
        cv2.imwrite(str(folder / name), small)
    for backend, names in {
        "onnxruntime": ["yolox_nano.onnx"],
        "openvino": ["yolox_nano.xml", "yolox_nano.bin"],
        "ncnn": ["yolox_nano.ncnn.param", "yolox_nano.ncnn.bin", "yolox_nano.ncnn.json"],
    }.items():
        made = model_for(backend, **SMALL).path.parent
        for name in names:
            shutil.copy(made / name, folder / name.replace("yolox_nano", "m"))
    (folder / "names.txt").write_text("\n".join(f"class {i}" for i in range(80)))
    for name in ("labels/dog.txt", "labels/cat.txt", "old.json", "full/mine.txt"):
        (folder / name).write_text("precious")
    (folder / "old.json").chmod(0o640)
    (folder / "locked.json").write_text("precious")
    (folder / "locked.json").chmod(0o444)
    (folder / "link.jpg").symlink_to("dog.jpg")
    (folder / "link.json").symlink_to("old.json")
    (folder / "dangling.json").symlink_to("pics/new.json")
    (folder / "loop.json").symlink_to("loop.json")
    os.link(folder / "dog.jpg", folder / "hard.jpg")
    shutil.copy(ROOT / "yolox_deploy/benchmarks/results/yolox_nano.json", folder / "r.json")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def runner(command: Callable[..., Ran]) -> Runner:
    """Runs a command in this process, in its present folder."""
    return lambda name, arguments: command(name, *arguments)


DETECT = "yolox-detect dog.jpg --model m.onnx --no-draw"
READ = "one of the files to read"
BOTH = "both write it"
THERE = "it is there already"
SHOW = "yolox-bench show r.json"

REFUSED = [
    # What is read: the picture, every file of the model, the names, a report.
    *(Case(f"{DETECT} --json {name}", 2, READ) for name in ("dog.jpg", "./dog.jpg", "m.onnx")),
    *(Case(f"{DETECT} --csv {name}", 2, READ) for name in ("link.jpg", "hard.jpg")),
    Case(f"{DETECT} --coco pics/../dog.jpg", 2, READ),
    Case("yolox-detect dog.jpg --no-draw --model m.xml --csv m.bin", 2, READ),
    Case("yolox-detect dog.jpg --no-draw --model m.ncnn.param --csv m.ncnn.bin", 2, READ),
    Case("yolox-detect dog.jpg --no-draw --model m.ncnn.param --csv m.ncnn.json", 2, READ),
    Case(f"{DETECT} --names names.txt --csv names.txt", 2, READ),
    Case("yolox-detect pics --model m.onnx --output pics", 2, READ),
    Case("yolox-detect pics --model m.onnx --output pics --overwrite", 2, READ),
    Case(f"{SHOW} --markdown r.json", 2, READ),
    Case(f"{SHOW} --json ./r.json", 2, READ),
    Case("yolox-bench --model m.onnx --images dog.jpg --json m.onnx", 2, READ),
    Case("yolox-bench --model m.onnx --images pics --plot pics/a.jpg", 2, READ),
    # Two options, one file.
    Case(f"{DETECT} --json o --csv o", 2, BOTH),
    Case(f"{DETECT} --json new/o --csv new/../new/./o", 2, BOTH),
    Case(f"{DETECT} --json o.json --csv O.JSON", 2, BOTH),
    Case(f"{DETECT} --json old.json --coco link.json", 2, BOTH),
    Case("yolox-detect dog.jpg --model m.onnx --output out --json out/dog.jpg", 2, BOTH),
    Case(f"{SHOW} --json a --markdown a", 2, BOTH),
    # What is there, under a name that the command made up.
    Case(f"{DETECT} --txt labels", 7, THERE),
    Case("yolox-detect dog.jpg --model m.onnx --output done", 7, THERE),
    # What cannot be written, or must not be replaced.
    *(Case(f"{DETECT} --json {name}", 7, "it is a folder") for name in ("pics", ".")),
    *(Case(f"{DETECT} --json {name}", 2, "the name of a folder") for name in ("/", "pics/")),
    Case(f"{DETECT} --json names.txt/r.json", 7, "names.txt"),
    Case(f"{DETECT} --txt names.txt", 7, "not a folder"),
    Case("yolox-detect dog.jpg --model m.onnx --output names.txt/out", 7, "not a folder"),
    Case(f"{DETECT} --csv other.jpg", 7, "no text is there already"),
    Case(f"{DETECT} --json m.xml --csv m.bin", 7, "no text is there already"),
    Case(f"{DETECT} --json locked.json", 7, "read-only"),
    Case(f"{DETECT} --json loop.json", 7, "cannot write loop.json"),
    Case(f"{DETECT} --json socket", 7, "neither a file nor a pipe"),
    Case(f"{DETECT} --json {'x' * 300}", 7, "cannot write"),
    Case(f"{DETECT} --json /proc/no/such.json", 7, "cannot write"),
    Case("yolox-bench --model m.onnx --json pics", 7, "it is a folder"),
    Case(f"{SHOW} --plot pics", 7, "it is a folder"),
    Case(f"{SHOW} --markdown names.txt/r.md", 7, "cannot write"),
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_would_be_lost_is_refused_before_any_work(
    case: Case, here: Path, runner: Runner
) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        check(case, runner, here)


DRAWN = "yolox-detect dog.jpg --model m.onnx"

WRITTEN = [
    Case(f"{DETECT} --json new/deep/r.json", changes=("new",)),
    Case(f"{DETECT} --json old.json", changes=("old.json",)),
    Case(f"{DETECT} --json link.json", changes=("old.json",)),
    Case(f"{DETECT} --json dangling.json", changes=("pics/new.json",)),
    Case(f"{DETECT} --json /dev/null --csv /dev/null"),
    Case(f"{DETECT} --txt full", changes=("full/dog.txt",)),
    Case(f"{DETECT} --txt labels --overwrite", changes=("labels/dog.txt",)),
    Case(f"{DRAWN} --output labels", words="wrote labels", changes=("labels/dog.jpg",)),
    Case(DRAWN, words="wrote detections/dog.jpg\n", changes=("detections",)),
    # As often as the picture is named, it is one.
    Case(
        "yolox-detect link.jpg dog.jpg . ./pics/../dog.jpg --model m.onnx",
        words="5 pictures",
        changes=("detections",),
    ),
    Case(f"{SHOW} --json old.json --markdown r.md", changes=("old.json", "r.md")),
]


@pytest.mark.parametrize("case", WRITTEN, ids=str)
def test_what_is_named_is_written_and_nothing_else(case: Case, here: Path, runner: Runner) -> None:
    mode = (here / "old.json").stat().st_mode
    check(case, runner, here)
    assert (here / "old.json").stat().st_mode == mode
    assert (here / "link.json").is_symlink()
    assert Path(os.devnull).is_char_device()


def test_every_run_without_a_folder_has_one_of_its_own(here: Path, runner: Runner) -> None:
    (here / "detections").mkdir()
    check(Case(DRAWN, changes=("detections/dog.jpg",)), runner, here)
    check(Case(DRAWN, words="wrote detections_2", changes=("detections_2",)), runner, here)
    check(Case(DRAWN, words="wrote detections_3", changes=("detections_3",)), runner, here)


def test_a_pipe_is_written_to(here: Path, runner: Runner) -> None:
    os.mkfifo("pipe")
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.append(Path("pipe").read_text()))
    reader.start()
    check(Case(f"{DETECT} --csv pipe"), runner, here)
    reader.join(60)
    assert texts[0].startswith("image,name,class_id,score")


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "out.txt"])
def test_the_standard_output_is_written_to(
    name: str, here: Path, environment: dict[str, str]
) -> None:
    """Also where it goes to the very file that is named."""
    words = in_a_process(here, environment)
    line = f"{SHOW} --json {name}".split()
    if name == "out.txt":
        with open("out.txt", "w") as file:
            subprocess.run([*program(line[0]), *line[1:]], env=environment, stdout=file, check=True)
        printed = Path("out.txt").read_text()
    else:
        printed = words(line[0], line[1:]).out
    first, *rest = printed.splitlines()
    if name == "-":
        # Nothing else is printed there.
        assert json.loads(printed)["format"] == "yolox-bench"
    else:
        assert first.startswith('{"format": "yolox-bench"')
        assert rest


@pytest.mark.parametrize("to", ["onnx", "openvino", "ncnn"])
def test_artifacts_replace_nothing_unless_they_are_told_to(
    to: str, here: Path, runner: Runner, tiny_pth: Path
) -> None:
    shutil.copy(tiny_pth, "tiny.pth")
    line = f"yolox-export --model tiny.pth --to {to} --no-verify --output"
    names = {
        "onnx": ("tiny.onnx",),
        "openvino": ("tiny.bin", "tiny.xml"),
        "ncnn": ("tiny.ncnn.param", "tiny.ncnn.bin", "tiny.ncnn.json"),
    }[to]
    made = tuple(f"out/{name}" for name in names)
    check(Case(f"{line} out", changes=("out",)), runner, here)
    for name in made:
        Path(name).write_text("precious")
        Path(name).chmod(0o640)
        check(Case(f"{line} out", 7, f"{THERE}; choose another folder, or add --ov"), runner, here)
    Path(made[0]).rename("far.bin")
    Path(made[0]).symlink_to("../far.bin")
    changes = ("far.bin", *made[1:])
    check(Case(f"{line} out --overwrite", changes=changes), runner, here)
    assert Path("far.bin").stat().st_mode & 0o777 == 0o640
    os.remove(made[0])
    Path(made[0]).symlink_to("../tiny.pth")
    check(Case(f"{line} out --overwrite", 2, READ), runner, here)


@pytest.mark.parametrize("place", ["names.txt", "names.txt/out", "/proc/out"])
def test_artifacts_need_a_folder(place: str, here: Path, runner: Runner, tiny_pth: Path) -> None:
    line = f"yolox-export --model {tiny_pth} --output {place}"
    check(Case(line, 7, "cannot write"), runner, here)


@pytest.mark.parametrize("name", ["last.pth", "best.pth", "results.csv", "results.png"])
def test_a_run_does_not_begin_where_another_one_was(
    name: str, here: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "done" / name).write_text("precious")
    line = "yolox-train --arch nano --data gone.json --images pics --output done --device cpu"
    check(Case(line, 7, "holds a run already" if name == "last.pth" else THERE), runner, here)
