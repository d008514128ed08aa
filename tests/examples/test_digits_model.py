"""The bundled model on the bundled pictures, and on fresh ones."""

import importlib.util
import json

import numpy as np
import pytest

from yolox_deploy.detector import Detector
from yolox_deploy.export import ExportOptions, export_model
from yolox_deploy.files import ASSETS, cache_folder
from yolox_deploy.pictures.images import read_image
from yolox_deploy.runtimes.content import stored_spec
from yolox_deploy.spec import SEAL
from yolox_deploy.weights import BUNDLED as CHECKPOINT
from yolox_deploy.weights import BUNDLED_ONNX

torch = pytest.importorskip("torch", reason="the bundled model is a PyTorch checkpoint")
onnx = pytest.importorskip("onnx")

PICTURES = sorted(ASSETS.glob("digits_*.jpg"))


@pytest.fixture(scope="module")
def detector():
    with Detector(CHECKPOINT, "torch") as opened:
        yield opened


def overlap(first, second):
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = np.clip(high - low, 0, None).prod()
    areas = (first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod()
    return shared / (areas - shared)


def test_the_files_are_as_small_as_promised():
    assert CHECKPOINT.stat().st_size < 2.5e6
    assert BUNDLED_ONNX.stat().st_size < 4e6
    assert [path.name for path in PICTURES] == ["digits_1.jpg", "digits_2.jpg"]
    assert all(path.stat().st_size < 120e3 for path in PICTURES)


def test_the_checkpoint_says_what_it_is():
    content = torch.load(CHECKPOINT, weights_only=True)
    assert content["arch"] == "nano"
    assert content["names"] == list("0123456789")
    assert content["legacy"] is False
    assert all(side % 32 == 0 for side in content["imgsz"])
    assert all(value.isfinite().all() for value in content["model"].values())


def test_the_onnx_file_is_the_export_of_the_checkpoint(tmp_path):
    """Else: yolox-export --dynamic --overwrite --output yolox_deploy/assets."""
    (fresh,) = export_model(CHECKPOINT, ["onnx"], ExportOptions(dynamic=True), tmp_path)
    stated, wanted = (json.loads(stored_spec(path)) for path in (BUNDLED_ONNX, fresh.path))
    # Versions of tools, and the last bits of what was found, may be those of another machine.
    free = {"tools", "verification", "evidence", "files", SEAL}
    assert {key: stated[key] for key in stated.keys() - free} == {
        key: wanted[key] for key in wanted.keys() - free
    }
    assert stated.keys() == wanted.keys()
    assert stated["verification"].keys() == wanted["verification"].keys()
    assert stated["verification"]["status"] == "passed"
    shipped, made = onnx.load(BUNDLED_ONNX), onnx.load(fresh.path)
    for file in (shipped, made):
        del file.metadata_props[:]
    if stated["tools"] == wanted["tools"]:
        assert shipped.graph == made.graph
    pictures = [read_image(path) for path in PICTURES]
    with Detector(BUNDLED_ONNX) as one, Detector(fresh.path) as other:
        for ours, theirs in zip(one.batch(pictures), other.batch(pictures), strict=True):
            assert ours.names == theirs.names
            np.testing.assert_array_equal(ours.class_ids, theirs.class_ids)
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
            np.testing.assert_allclose(ours.xyxy, theirs.xyxy, atol=1e-2)


def test_nothing_is_exported_for_who_asks_for_the_usual(tmp_path):
    with Detector(backend="onnxruntime") as detector:
        assert detector.runtime.path == BUNDLED_ONNX
    assert not cache_folder().exists()


# What the pictures show, as drawn: digit, x0, y0, x1, y1.
SHOWN = {
    "digits_1.jpg": [
        (9, 41, 53, 87, 102),
        (5, 133, 46, 178, 109),
        (1, 124, 110, 148, 150),
        (9, 191, 85, 271, 217),
        (6, 343, 83, 382, 137),
        (3, 312, 184, 349, 239),
        (7, 243, 279, 269, 317),
        (5, 275, 279, 301, 318),
        (5, 300, 321, 340, 374),
        (0, 31, 305, 73, 360),
    ],
    "digits_2.jpg": [
        (1, 288, 185, 326, 247),
        (5, 327, 179, 365, 242),
        (8, 43, 110, 98, 195),
        (5, 116, 103, 167, 190),
        (8, 185, 98, 240, 184),
        (7, 364, 42, 396, 90),
        (9, 425, 56, 452, 100),
        (0, 284, 41, 332, 130),
        (7, 457, 80, 489, 122),
        (5, 494, 81, 526, 124),
    ],
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_digit_of_the_bundled_pictures_is_right(detector, name):
    found = detector(ASSETS / name)
    assert len(found) == len(SHOWN[name])
    for digit, *box in SHOWN[name]:
        (match,) = (f for f in found if overlap(np.array(box), f.xyxy) > 0.7)
        assert match.name == str(digit)
        assert match.score > 0.5, "too near the default threshold for other engines"


def test_pictures_drawn_afresh_are_read_right():
    """Few pictures, so a loose bound: the README's command measures all five hundred."""
    for package in ("matplotlib", "PIL", "rich"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is needed to draw digits")
    import dataset
    import digits

    right = wanted = surplus = 0
    # No digit is two digits: of an 8 and a 3 in one place the surer one stays.
    with Detector(CHECKPOINT, "torch", class_agnostic=True) as detector:
        for index in range(40):
            drawing = digits.draw(dataset.HELD_OUT.seed + 10, index)
            found = detector(drawing.image)
            wanted += len(drawing.labels)
            hits = sum(
                any(overlap(box, f.xyxy) > 0.6 and f.class_id == label for f in found)
                for box, label in zip(drawing.boxes, drawing.labels, strict=True)
            )
            right += hits
            surplus += len(found) - hits
    assert right >= 0.9 * wanted
    assert surplus <= 0.1 * wanted
