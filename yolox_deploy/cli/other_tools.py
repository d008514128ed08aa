"""What the options of YOLOX's and Ultralytics' tools are called here.

From ``tools/*.py`` and ``demo/ONNXRuntime`` of https://github.com/Megvii-BaseDetection/YOLOX, and
from https://docs.ultralytics.com/usage/cfg/ and its predecessor YOLOv5.
"""

from __future__ import annotations

from collections.abc import Collection

# The names there, and what to write here: the first whose first word is an option of the command,
# the name of its arguments (SOURCE) or its own.  docs/troubleshooting.md has the same table.
NAMES = (
    ("conf conf-thres score-thr test-conf", ("--score-threshold",)),
    ("nms nms-thres iou iou-thres", ("--iou-threshold",)),
    ("c ckpt checkpoint weights m", ("--model", "--weights")),
    ("n name", ("--model yolox_s", "--arch s")),
    ("tsize test-size img img-size input-shape", ("--imgsz",)),
    ("format include", ("--to",)),
    ("onnx", ("--to onnx", "--model FILE.onnx")),
    ("engine", ("--to trt", "--backend", "--model FILE.engine")),
    ("trt", ("--to trt", "--model FILE.engine")),
    ("source path input image-path i camid", ("SOURCE without an option", "--images")),
    ("half", ("--fp16", "--precision fp16")),
    ("fp16", ("--precision fp16",)),
    ("gpu d devices", ("--device cuda",)),
    ("b batch-size", ("--batch",)),
    ("ann anno ann-file annotations", ("--data",)),
    ("save-result save-dir output-dir output-name project", ("--output",)),
    ("save-txt", ("--txt",)),
    ("nosave", ("--no-draw",)),
    ("max-det", ("--max-detections",)),
    ("agnostic-nms", ("--class-agnostic",)),
    ("labels class-names", ("--names",)),
    ("max-epoch", ("--epochs",)),
    ("no-onnxsim", ("--no-simplify",)),
    ("w", ("--workspace",)),
    ("compare", ("yolox-bench compare A.json B.json",)),
)


def written_here(option: str, known: Collection[str]) -> str:
    """Return ``"; write --x"`` for an option of another tool, or an empty string.

    >>> written_here("--conf_thres", ["--score-threshold"])
    '; write --score-threshold'
    """
    name = option.lstrip("-").lower().replace("_", "-")
    answers = next((ours for theirs, ours in NAMES if name in theirs.split()), ())
    ours = next((answer for answer in answers if answer.split()[0] in known), "")
    return f"; write {ours}" if ours else ""
