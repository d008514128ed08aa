"""AP over the shared 206 pictures against figures measured with the original code.

Score 0.001, IoU 0.65, per class, boxes not clipped unless a test says so.  Models that must find
the same as another are compared with it detection by detection, on each fourth picture.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_deploy.export import TARGETS, ExportOptions, export_model
from yolox_deploy.runtimes import BACKENDS

NANO, NANO_CLIPPED, NANO_LEGACY, NANO_384X640 = 0.2860, 0.2865, 0.2826, 0.2967
NCNN_FP16 = 0.2859
ONNX_FP16 = 0.2859

Entries = list[dict[str, Any]]


def on_the_pictures_of(others: Entries, entries: Entries) -> Entries:
    numbers = {entry["image_id"] for entry in others}
    return [entry for entry in entries if entry["image_id"] in numbers]


def without_twin(entries: Entries, others: Entries) -> Entries:
    """The entries that matter and have none like them on the other side.

    Fainter ones than 0.01 hardly change AP, and may lie on either side of a threshold.
    """
    known = defaultdict(list)
    for other in others:
        known[other["image_id"], other["category_id"]].append([other["score"], *other["bbox"]])
    tolerance = np.array([1e-3, 0.1, 0.1, 0.1, 0.1])
    return [
        entry
        for entry in entries
        if entry["score"] >= 0.01
        and not any(
            (np.abs(np.subtract(other, [entry["score"], *entry["bbox"]])) < tolerance).all()
            for other in known[entry["image_id"], entry["category_id"]]
        )
    ]


def assert_same(found: Entries, everything: Entries) -> None:
    expected = on_the_pictures_of(found, everything)
    assert sum(entry["score"] >= 0.01 for entry in found) > 500
    # Suppression of one box may turn on the last digit.
    assert len(without_twin(found, expected)) <= 2
    assert len(without_twin(expected, found)) <= 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_keeps_the_checkpoints_ap(
    backend: str, found_by: Any, average_precision: Any, model_for: Any
) -> None:
    found = average_precision(found_by(model_for(backend).path, backend))
    assert found.ap == pytest.approx(NANO, abs=5e-4)
    assert found.ap50 == pytest.approx(0.4507, abs=1e-3)
    assert found.ap75 == pytest.approx(0.3027, abs=1e-3)
    assert found.ap_small == pytest.approx(0.1127, abs=2e-3)
    assert found.ap_medium == pytest.approx(0.3272, abs=2e-3)
    assert found.ap_large == pytest.approx(0.4663, abs=2e-3)


def test_clipped_boxes_score_higher(
    found_by: Any, average_precision: Any, coco_val: Any, model_for: Any
) -> None:
    path = model_for("onnxruntime").path
    limits = {image["id"]: (image["width"], image["height"]) for image in coco_val.truth["images"]}
    clipped = []
    for entry in found_by(path, "onnxruntime"):
        corner, side = np.split(np.array(entry["bbox"]), 2)
        first, last = (np.clip(p, 0, limits[entry["image_id"]]) for p in (corner, corner + side))
        clipped.append({**entry, "bbox": [*first, *(last - first)]})

    found = found_by(path, "onnxruntime", step=10, clip=True)
    expected = on_the_pictures_of(found, clipped)
    assert len(found) > 2000
    for name in ("image_id", "category_id", "score"):
        assert [entry[name] for entry in found] == [entry[name] for entry in expected]
    boxes, expected_boxes = ([entry["bbox"] for entry in side] for side in (found, expected))
    np.testing.assert_allclose(boxes, expected_boxes, rtol=0, atol=0.003)

    whole = average_precision(clipped)
    assert whole.ap == pytest.approx(NANO_CLIPPED, abs=2e-4)
    assert whole.ap_large == pytest.approx(0.4684, abs=5e-4)


@pytest.mark.parametrize("options", [{"decode": True}, {"dynamic": True}], ids=str)
def test_decoding_in_the_graph_and_dynamic_batches_change_nothing(
    options: dict[str, Any], found_by: Any, model_for: Any
) -> None:
    plain = found_by(model_for("onnxruntime").path, "onnxruntime")
    assert_same(found_by(model_for("onnxruntime", **options).path, step=4), plain)


def test_legacy_weights_keep_their_ap(
    found_by: Any, average_precision: Any, data_file: Any, tmp_path: Path
) -> None:
    # The weights tell it; what they were exported for, the artifact states.
    options = ExportOptions(verify=False)
    legacy = data_file("weights/yolox_nano_legacy.pth")
    (result,) = export_model(legacy, ["onnx"], options, tmp_path)
    found = average_precision(found_by(result.path))
    assert (found.ap, found.ap50, found.ap75) == pytest.approx(
        (NANO_LEGACY, 0.4470, 0.2984), abs=5e-4
    )


def test_an_export_by_the_original_code_needs_no_spec(
    found_by: Any, model_for: Any, nano_onnx: Path
) -> None:
    assert_same(found_by(nano_onnx, step=4), found_by(model_for("onnxruntime").path, "onnxruntime"))


def test_an_export_by_the_original_code_for_another_size_needs_no_spec(
    found_by: Any, average_precision: Any, data_file: Any
) -> None:
    found = average_precision(found_by(data_file("onnx/yolox_nano_384x640_official.onnx")))
    assert found.ap == pytest.approx(NANO_384X640, abs=5e-4)


def test_ncnn_fp16_with_the_scaled_stem_keeps_its_ap_at_half_the_size(
    found_by: Any, average_precision: Any, model_for: Any
) -> None:
    half, full = (model_for("ncnn", **o).path for o in ({"fp16": True}, {}))
    assert average_precision(found_by(half, "ncnn")).ap == pytest.approx(NCNN_FP16, abs=1e-3)
    target = TARGETS["ncnn"]
    sizes = [target.files(path)[0].stat().st_size for path in (half, full)]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.02)


def test_the_fp16_graph_of_engines_keeps_its_ap(
    found_by: Any, average_precision: Any, model_for: Any
) -> None:
    """What TensorRT is given computes in FP16 between float32 ends: here on ONNX Runtime."""
    path = model_for("onnxruntime", fp16=True).path
    found = average_precision(found_by(path, "onnxruntime"))
    assert found.ap == pytest.approx(ONNX_FP16, abs=1e-3)
    assert found.ap50 == pytest.approx(0.4506, abs=1e-3)
