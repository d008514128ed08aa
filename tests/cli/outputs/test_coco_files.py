"""Odd annotation files: the same answer from yolox-eval, yolox-train and yolox-bench, at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from command_cases import Case, Ran, check
from numpy.typing import NDArray

pytest.importorskip("pycocotools")

BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 30], "area": 1200}
BOX["iscrowd"] = 0
EVAL = "yolox-eval --model m.onnx --data data.json --images ."
BENCH = "yolox-bench --model m.onnx --data data.json --images . --duration 0.1 --min-count 1"
COMMANDS = {
    "eval": EVAL,
    "train": "yolox-train --arch nano --data data.json --images . --output run --device cpu",
    "stream": f"{BENCH} --scenario streaming --simulate",
    "offline": f"{BENCH} --scenario offline",
}


def document(**changes: Any) -> dict[str, Any]:
    images = [{"id": 1, "file_name": "a.jpg", "height": 72, "width": 96}]
    names = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    return {"images": images, "annotations": [BOX], "categories": names, **changes}


def boxes(*changes: dict[str, Any]) -> dict[str, Any]:
    return document(annotations=[BOX | change for change in changes])


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in BOX.items() if key != name}


# What every command refuses, and with which words.
WRONG = {
    "no bbox": (document(annotations=[without("bbox")]), "annotations[0] has no 'bbox'"),
    "text in a box": (boxes({"bbox": [1, 2, 3, "4"]}), "expected four finite numbers"),
    "a short box": (boxes({"bbox": [1, 2, 3]}), "expected four finite numbers"),
    "NaN": (boxes({"bbox": [1, 2, float("nan"), 4]}), "expected four finite numbers"),
    "infinity": (boxes({"bbox": [1, 2, float("inf"), 4]}), "expected four finite numbers"),
    "area": (boxes({"area": "big"}), "'area' is 'big'"),
    "iscrowd": (boxes({"iscrowd": "no"}), "'iscrowd' is 'no'"),
    "category": (boxes({"category_id": 7}), "category id 7 is not in the list"),
    "id": (boxes({"image_id": [1]}), "expected a whole number"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "half": ('{"images": [', "not JSON"),
    "a list": ("[]", "a list of detections"),
    "nothing": ("", "not JSON"),
    "gone": (None, "cannot be read"),
}
# What is no mistake, but has no AP, and nothing to learn from.
EMPTY = {
    "no annotations": document(annotations=[]),
    "no list of them": {k: v for k, v in document().items() if k != "annotations"},
    "crowds only": boxes({"iscrowd": 1}),
    "of other pictures": boxes({"image_id": 99}),
}
# What is read; the words are a note.
ODD = {
    "no area": (document(annotations=[without("area")]), ""),
    "no iscrowd": (document(annotations=[without("iscrowd")]), ""),
    "ids as texts": (boxes({"image_id": "1", "category_id": "1"}), ""),
    "byte-order mark": ("\ufeff" + json.dumps(document()), ""),
    "flat": (boxes({}, {"id": 2, "bbox": [5, 5, 0, 9]}), "1 annotated boxes have no width"),
    "negative": (boxes({}, {"id": 2, "bbox": [5, 5, -3, 9]}), "1 annotated boxes have no width"),
    "lost": (boxes({}, {"id": 2, "image_id": 7}), "1 annotations are of images that are not"),
}


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Ran],
    model_for: Any,
    dog: NDArray[Any],
) -> Callable[[Case, Any], Ran]:
    """Check a case in a folder with a picture, a small model and an annotation file."""
    folder = tmp_path / "here"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), cv2.resize(dog, (96, 72)))
    shutil.copy(model_for("onnxruntime", size=(64, 64)).path, folder / "m.onnx")
    monkeypatch.chdir(folder)

    def give(case: Case, content: Any) -> Ran:
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / "data.json").write_text(text, "utf-8")
        return check(case, lambda name, words: command(name, *words), folder)

    return give


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_refused_by_all_alike(kind: str, name: str, run: Any) -> None:
    content, words = WRONG[kind]
    run(Case(COMMANDS[name], 3, words), content)


@pytest.mark.parametrize("kind", EMPTY)
def test_without_annotations_there_is_no_ap(kind: str, run: Any) -> None:
    for name in ("eval", "offline"):
        run(Case(COMMANDS[name], 3, "so AP is undefined"), EMPTY[kind])
    run(Case(COMMANDS["train"], 3, "no picture with a usable box"), EMPTY[kind])


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_file_is_measured_and_what_is_odd_is_said(kind: str, run: Any) -> None:
    content, words = ODD[kind]
    ran = run(Case(EVAL, 0, words), content)
    assert ("note: " in ran.err) is bool(words)


def test_all_models_are_opened_before_the_first_is_measured(run: Any, tmp_path: Path) -> None:
    (tmp_path / "here/bad.onnx").write_text("no model")
    ran = run(Case(EVAL.replace("m.onnx", "m.onnx bad.onnx"), 3, "bad.onnx"), document())
    assert "pictures" not in ran.err
    ran = run(Case(f"{EVAL} --results a.jpg", 7, "not a folder"), document())
    run(Case(f"{EVAL} --json a.jpg", 2, "one of the files to read"), document())
    run(Case(f"{EVAL} --json data.json", 2, "one of the files to read"), document())
    made = "found/1_m.onnx.onnxruntime.json"
    run(Case(f"{EVAL} --results found", changes=("found",)), document())
    run(Case(f"{EVAL} --results found", 7, "it is there already"), document())
    run(Case(f"{EVAL} --results found --json {made} --overwrite", 2, "both write it"), document())
    (tmp_path / "here" / made).write_text("old")
    run(Case(f"{EVAL} --results found --overwrite", changes=(made,)), document())
