"""AP over the shared 206 pictures against figures measured with the original code.

Score 0.001, IoU 0.65, per class, boxes not clipped unless a test says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolox_deploy.export import TARGETS, ExportOptions, export_model
from yolox_deploy.runtimes import BACKENDS

NANO, NANO_CLIPPED, NANO_LEGACY, NANO_384X640 = 0.2860, 0.2865, 0.2826, 0.2967
NCNN_FP16 = 0.2859
ONNX_FP16 = 0.2859


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_keeps_the_checkpoints_ap(
    backend: str, average_precision: Any, model_for: Any
) -> None:
    found = average_precision(model_for(backend).path, backend)
    assert found.ap == pytest.approx(NANO, abs=5e-4)
    assert found.ap50 == pytest.approx(0.4507, abs=1e-3)
    assert found.ap75 == pytest.approx(0.3027, abs=1e-3)
    assert found.ap_small == pytest.approx(0.1127, abs=2e-3)
    assert found.ap_medium == pytest.approx(0.3272, abs=2e-3)
    assert found.ap_large == pytest.approx(0.4663, abs=2e-3)


def test_clipped_boxes_score_higher(average_precision: Any, model_for: Any) -> None:
    found = average_precision(model_for("onnxruntime").path, clip=True)
    assert found.ap == pytest.approx(NANO_CLIPPED, abs=2e-4)
    assert found.ap_large == pytest.approx(0.4684, abs=5e-4)


@pytest.mark.parametrize("options", [{"decode": True}, {"dynamic": True}], ids=str)
def test_decoding_in_the_graph_and_dynamic_batches_change_nothing(
    options: dict[str, Any], average_precision: Any, model_for: Any
) -> None:
    found = average_precision(model_for("onnxruntime", **options).path)
    assert found.ap == pytest.approx(NANO, abs=5e-4)


def test_legacy_weights_keep_their_ap(
    average_precision: Any, data_file: Any, tmp_path: Path
) -> None:
    # The weights tell it; what they were exported for, the artifact states.
    options = ExportOptions(verify=False)
    legacy = data_file("weights/yolox_nano_legacy.pth")
    (result,) = export_model(legacy, ["onnx"], options, tmp_path)
    assert average_precision(result.path).ap == pytest.approx(NANO_LEGACY, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolox_nano_official.onnx", NANO),
        ("yolox_nano_384x640_official.onnx", NANO_384X640),
    ],
)
def test_exports_by_the_original_code_need_no_spec(
    name: str, expected: float, average_precision: Any, data_file: Any
) -> None:
    found = average_precision(data_file(f"onnx/{name}"))
    assert found.ap == pytest.approx(expected, abs=5e-4)


def test_ncnn_fp16_with_the_scaled_stem_keeps_its_ap_at_half_the_size(
    average_precision: Any, model_for: Any
) -> None:
    half, full = (model_for("ncnn", **o).path for o in ({"fp16": True}, {}))
    assert average_precision(half, "ncnn").ap == pytest.approx(NCNN_FP16, abs=1e-3)
    target = TARGETS["ncnn"]
    sizes = [target.files(path)[0].stat().st_size for path in (half, full)]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.02)


def test_the_fp16_graph_of_engines_keeps_its_ap(average_precision: Any, model_for: Any) -> None:
    """What TensorRT is given computes in FP16 between float32 ends: here on ONNX Runtime."""
    found = average_precision(model_for("onnxruntime", fp16=True).path, "onnxruntime")
    assert found.ap == pytest.approx(ONNX_FP16, abs=1e-3)
    assert found.ap50 == pytest.approx(0.4506, abs=1e-3)
