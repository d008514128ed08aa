"""A spec as rows of a label and a text, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolox_deploy.errors import in_short
from yolox_deploy.pictures.convention import RAW_INPUT
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import task_of
from yolox_deploy.tasks.proof import proofs


def describe(spec: ModelSpec) -> list[tuple[str, str]]:
    """Return what a spec says as rows of a label and a text."""
    convention = spec.input
    normalise = (
        "0..255, no mean or std"
        if (convention.scale, convention.mean, convention.std)
        == (RAW_INPUT.scale, RAW_INPUT.mean, RAW_INPUT.std)
        else f"x {convention.scale:.6g}, mean {convention.mean}, std {convention.std}"
    )
    task = task_of(spec)
    rows = f"(N, {spec.num_anchors}, {task.width(spec)})"
    outputs = {
        "raw": f"raw head output {rows}",
        "decoded": f"decoded boxes {rows}",
        "detections": (
            f"detections after NMS (K, {task.graph_width(spec)}), score >= "
            f"{spec.score_threshold}, IoU {spec.iou_threshold}"
        ),
    }
    result = [
        ("name", spec.name),
        ("task", spec.task),
        ("architecture", spec.architecture or "not stated"),
        ("input", f"{spec.height} high x {spec.width} wide, batch {spec.batch or 'dynamic'}"),
        (
            "pixels",
            f"{convention.colour_order} {normalise}, padded with {convention.pad_value}"
            + (" (legacy, release 0.1.0)" if spec.legacy else "")
            + ("; the graph does this, it takes uint8 (N, H, W, 3) BGR" if spec.pixels else ""),
        ),
        ("output", outputs[spec.output]),
        *_describe_threshold(spec.suggested_score_threshold),
        ("classes", f"{spec.num_classes}: {in_short(spec.class_names)}"),
        ("precision", spec.precision),
        *(describe_quantization(spec.quantization) if spec.quantization else ()),
        ("checkpoint", f"sha256 {spec.checkpoint_sha256}" if spec.checkpoint_sha256 else "-"),
        ("tools", ", ".join(f"{k} {v}" for k, v in spec.tools.items()) or "-"),
        *(("verification", str(proof)) for proof in proofs(spec)),
        *(() if spec.verification else (("verification", "not verified"),)),
    ]
    if spec.assumed:
        result.append(("assumed", ", ".join(spec.assumed) + " (the file does not say)"))
    return result


def _describe_threshold(suggested: float | None) -> list[tuple[str, str]]:
    if suggested is None:
        return []
    return [("score threshold", f"{suggested:g}: the highest F1 on its validation pictures")]


def describe_quantization(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an INT8 artifact says of its search."""
    floating = ", ".join(map(str, found.get("floating", ()))) or "nothing"
    drops = (
        f"{found.get('ap_drop')} points on the pictures of the search, "
        f"{found.get('judged_ap_drop')} on others; allowed were {found.get('allowed_ap_drop')}"
    )
    return [
        ("not in INT8", floating),
        ("AP drop", drops),
        ("measured", str(found.get("how", "not stated"))),
    ]
