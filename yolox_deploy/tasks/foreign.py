"""Artifacts of other exporters: what the shapes of their tensors tell."""

from __future__ import annotations

from yolox_deploy.errors import ArtifactError, UsageError
from yolox_deploy.spec import ModelSpec, default_class_names
from yolox_deploy.tasks.detect import Detect

EXPECTED = "a YOLOX detector takes (N, 3, H, W) and returns (N, A, 5 + C)"

Shape = tuple[int | None, ...]


def inferred_spec(
    name: str,
    input_shape: Shape,
    output_shape: Shape,
    imgsz: tuple[int, int] | None = None,
) -> ModelSpec:
    """Return a spec for an artifact that carries none, from the shapes of its tensors.

    ``input_shape`` is (N, 3, H, W) and ``output_shape`` (N, A, width), ``None`` where a dimension
    is dynamic; ``imgsz`` (height, width) is needed where H or W is.  The rest are defaults:
    detection, raw output, BGR 0..255 input, COCO's class names for 80 classes.

    Raises :class:`ArtifactError` where the shapes are not those of a YOLOX detector.
    """
    if len(input_shape) != 4 or input_shape[1] not in (3, None) or len(output_shape) != 3:
        raise ArtifactError(
            f"{name} takes {_text(input_shape)} and returns {_text(output_shape)}: {EXPECTED}"
        )
    height, width = input_shape[2], input_shape[3]
    if height is None or width is None:
        if imgsz is None:
            raise ArtifactError(
                f"{name} accepts any picture size and carries no spec: say which to use, "
                "imgsz=(height, width) or --imgsz H W"
            )
        height, width = imgsz
    try:
        classes = Detect().count_classes(output_shape[2] or 0)
    except ValueError as error:
        raise ArtifactError(f"{name} returns {_text(output_shape)}: {EXPECTED}") from error
    try:
        spec = ModelSpec(
            name,
            default_class_names(classes),
            height,
            width,
            input_shape[0],
            assumed=("class_names", "input", "output", "strides"),
        )
    except UsageError as error:
        raise ArtifactError(f"{name} is no YOLOX detector: {error}") from error
    if output_shape[1] not in (spec.num_anchors, None):
        if output_shape[2] == spec.num_anchors:
            raise ArtifactError(
                f"{name} returns {_text(output_shape)}, rows and columns exchanged: {EXPECTED}; "
                "export it again without the transposition, or from its checkpoint with "
                "yolox-export"
            )
        raise ArtifactError(
            f"{name} returns {output_shape[1]} rows for a {height}x{width} input, a YOLOX "
            f"detector of strides 8, 16, 32 returns {spec.num_anchors}"
        )
    return spec


def _text(shape: Shape) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"
