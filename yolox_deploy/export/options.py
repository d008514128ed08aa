"""What an export can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_deploy.errors import UsageError
from yolox_deploy.pictures.images import MAX_PIXELS
from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.spec import ModelSpec, Precision, SpecHints
from yolox_deploy.tasks import task_of

if TYPE_CHECKING:
    from yolox_deploy.models.checkpoint import Checkpoint

DEFAULT_OPSET = 17
# The first one with a scale per output channel.
INT8_OPSET = 13
# Points of AP.
DEFAULT_DROP = 0.5


@dataclass(frozen=True)
class Int8Options:
    """What INT8 can be asked for.

    ``calibration`` is a folder of pictures; ``max_drop`` the points of AP (0..100) that may be
    lost.  ``annotations`` and ``images`` are a COCO data set to measure AP on, else it is the
    agreement with the checkpoint.  ``plan`` is the file of an earlier search, which is repeated
    without pictures.  ``keep_anyway`` keeps an artifact that is not surely faster.
    """

    calibration: Path | None = None
    max_drop: float = DEFAULT_DROP
    annotations: Path | None = None
    images: Path | None = None
    plan: Path | None = None
    keep_anyway: bool = False

    def check(self) -> None:
        """Raise :class:`UsageError` for what is missing or makes no sense."""
        if (self.annotations is None) != (self.images is None):
            raise UsageError("--data JSON and --images DIR belong together: give both or none")
        if not 0 <= self.max_drop <= 100:
            raise UsageError(f"--max-ap-drop must lie in 0..100 points of AP, got {self.max_drop}")
        if self.plan is None and self.calibration is None:
            raise UsageError("--int8 needs --calib FOLDER (pictures), or --quantization FILE")


@dataclass(frozen=True)
class ExportOptions:
    """What ``yolox-export`` can be asked for.

    ``batch`` is the number of pictures that an artifact takes per call; with ``dynamic`` it takes
    any number.  ``decode`` puts the decoding of boxes into the graph, ``nms`` also the suppression,
    at the two thresholds.  With ``pixels`` the graph takes the bytes of a picture and prepares them
    itself, all but the resize.  ``pictures`` is a folder for the verification (``None``: the drawn
    pictures that ship with the package), of pictures of at most ``max_pixels``; some of them go
    into the artifacts as evidence, unless ``enclose`` is turned off.  ``int8`` asks for INT8.
    ``scale_stem`` and ``simplify`` can be turned off to study their effect.  ``overwrite`` lets
    artifacts replace files.  ``settings`` are the values of settings that only some targets take,
    such as ``{"workspace": 512}``; each target declares its own.
    """

    hints: SpecHints = field(default_factory=SpecHints)
    batch: int = 1
    dynamic: bool = False
    opset: int = DEFAULT_OPSET
    fp16: bool = False
    int8: Int8Options | None = None
    decode: bool = False
    nms: bool = False
    pixels: bool = False
    score_threshold: float = SCORE_THRESHOLD
    iou_threshold: float = IOU_THRESHOLD
    simplify: bool = True
    scale_stem: bool = True
    verify: bool = True
    pictures: Path | None = None
    max_pixels: int | None = MAX_PIXELS
    enclose: bool = True
    allow_unverified: bool = False
    overwrite: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def requested_spec(checkpoint: Checkpoint, options: ExportOptions) -> ModelSpec:
    """Return the spec that an artifact of ``checkpoint`` will have, not yet verified.

    Raises :class:`UsageError` for options that exclude each other or make no sense.
    """
    for word, value in (("score", options.score_threshold), ("IoU", options.iou_threshold)):
        if not 0 <= value <= 1:
            raise UsageError(f"the {word} threshold must lie in 0..1, got {value}")
    if options.int8:
        options.int8.check()
        if options.fp16:
            raise UsageError("--int8 and --fp16 exclude each other: give one of them")
        if options.opset < INT8_OPSET:
            raise UsageError(f"--int8 needs --opset {INT8_OPSET} or newer, got {options.opset}")
        if "int8" not in task_of(checkpoint.spec(options.hints)).tolerances:
            raise UsageError(
                f"task {checkpoint.network.task} states no tolerance for int8: leave --int8 out"
            )
    if options.dynamic and options.batch != 1:
        raise UsageError("--dynamic takes any batch, --batch fixes it: give one of them")
    return replace(
        checkpoint.spec(options.hints),
        batch=None if options.dynamic else options.batch,
        output="detections" if options.nms else "decoded" if options.decode else "raw",
        precision="int8" if options.int8 else "fp16" if options.fp16 else "fp32",
        pixels=options.pixels,
        score_threshold=options.score_threshold if options.nms else None,
        iou_threshold=options.iou_threshold if options.nms else None,
    )


def artifact_name(model: str, precision: Precision) -> str:
    """Return an artifact's file name without suffix: the model's, and a precision but fp32."""
    return model if precision == "fp32" else f"{model}_{precision}"
