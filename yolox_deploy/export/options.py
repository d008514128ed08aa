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

if TYPE_CHECKING:
    from yolox_deploy.models.checkpoint import Checkpoint

DEFAULT_OPSET = 17


@dataclass(frozen=True)
class ExportOptions:
    """What ``yolox-export`` can be asked for.

    ``batch`` is the number of pictures that an artifact takes per call; with ``dynamic`` it takes
    any number.  ``decode`` puts the decoding of boxes into the graph, ``nms`` also the suppression,
    at the two thresholds.  With ``pixels`` the graph takes the bytes of a picture and prepares them
    itself, all but the resize.  ``pictures`` is a folder for the verification (``None``: the drawn
    pictures that ship with the package), of pictures of at most ``max_pixels``.  ``scale_stem`` and
    ``simplify`` can be turned off to study their effect.  ``overwrite`` lets artifacts replace
    files.  ``settings`` are the values of settings that only some targets take, such as
    ``{"workspace": 512}``; each target declares its own.
    """

    hints: SpecHints = field(default_factory=SpecHints)
    batch: int = 1
    dynamic: bool = False
    opset: int = DEFAULT_OPSET
    fp16: bool = False
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
    if options.dynamic and options.batch != 1:
        raise UsageError("--dynamic takes any batch, --batch fixes it: give one of them")
    return replace(
        checkpoint.spec(options.hints),
        batch=None if options.dynamic else options.batch,
        output="detections" if options.nms else "decoded" if options.decode else "raw",
        precision="fp16" if options.fp16 else "fp32",
        pixels=options.pixels,
        score_threshold=options.score_threshold if options.nms else None,
        iou_threshold=options.iou_threshold if options.nms else None,
    )


def artifact_name(model: str, precision: Precision) -> str:
    """Return an artifact's file name without suffix: the model's, and a precision but fp32."""
    return model if precision == "fp32" else f"{model}_{precision}"
