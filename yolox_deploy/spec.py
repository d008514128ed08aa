"""ModelSpec: the contract that travels inside every artifact.

It holds whatever an application would otherwise have to type a second time: input size and
convention, class names, whether boxes are decoded in the graph, where the artifact comes from and
what its verification found.  It is stored as JSON under one key: ONNX keeps it in
``metadata_props``, OpenVINO in ``rt_info``, the others in a file beside the artifact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import ArtifactError, UsageError

SPEC_KEY = "yolox_deploy"
SPEC_VERSION = 1

OutputKind = Literal["raw", "decoded", "detections"]
Precision = Literal["fp32", "fp16"]

# An upper bound for counts and sizes read from a file, against absurd allocations.
LARGEST_SIDE = 16384
LARGEST_CLASS_COUNT = 100_000
LARGEST_BATCH = 4096


@dataclass(frozen=True)
class InputConvention:
    """How pixels become the network's input: ``(value * scale - mean) / std`` a channel.

    ``scale``, ``mean`` and ``std`` apply in ``colour_order``; ``pad_value`` (grey level 0..255) is
    what surrounds the picture, and passes through the same formula.
    """

    colour_order: Literal["BGR", "RGB"] = "BGR"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad_value: int = 114

    @property
    def largest_value(self) -> float:
        """The largest magnitude that the formula can give."""
        return max(
            abs((value * self.scale - mean) / std)
            for value in (0, 255)
            for mean, std in zip(self.mean, self.std, strict=True)
        )


RAW_INPUT = InputConvention()
# Release 0.1.0 of the original normalised like torchvision's classifiers.
LEGACY_INPUT = InputConvention("RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class ModelSpec:
    """What an artifact needs to be told apart, fed and read.

    ``height`` and ``width`` are the network's input in pixels, ``batch`` is ``None`` where the
    artifact takes any number of pictures.  ``output`` is ``raw`` (head output, boxes not decoded),
    ``decoded`` (centre, width and height in input pixels) or ``detections`` (rows of picture
    index, x1, y1, x2, y2, score, class; only then are the two thresholds set).  ``assumed`` names
    the fields that no file stated and that are documented defaults.

    Raises :class:`UsageError` where a value makes no sense.
    """

    name: str
    class_names: tuple[str, ...]
    height: int
    width: int
    batch: int | None = 1
    strides: tuple[int, ...] = (8, 16, 32)
    input: InputConvention = RAW_INPUT
    output: OutputKind = "raw"
    precision: Precision = "fp32"
    score_threshold: float | None = None
    iou_threshold: float | None = None
    architecture: str | None = None
    checkpoint_sha256: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    verification: Mapping[str, Any] | None = None
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.class_names or len(self.class_names) > LARGEST_CLASS_COUNT:
            raise UsageError(
                f"a model needs 1 to {LARGEST_CLASS_COUNT} class names, got {len(self.class_names)}"
            )
        if not 0 < len(self.strides) <= 8 or not all(4 <= s <= 1024 for s in self.strides):
            raise UsageError(f"expected up to 8 strides of 4..1024, got {self.strides}")
        check_size(self.height, self.width, math.lcm(*self.strides))
        if self.batch is not None and not 1 <= self.batch <= LARGEST_BATCH:
            raise UsageError(f"batch must lie in 1..{LARGEST_BATCH}, got {self.batch}")
        if self.output not in get_args(OutputKind):
            raise UsageError(f"output must be one of {get_args(OutputKind)}, got {self.output!r}")
        if self.precision not in get_args(Precision):
            raise UsageError(f"precision must be one of {get_args(Precision)}: {self.precision!r}")
        if not 0 <= self.input.pad_value <= 255:
            raise UsageError(f"pad value must lie in 0..255, got {self.input.pad_value}")
        if self.input.colour_order not in ("BGR", "RGB"):
            raise UsageError(f"colour order must be BGR or RGB, got {self.input.colour_order!r}")
        numbers = (self.input.scale, *self.input.mean, *self.input.std)
        if not all(map(math.isfinite, numbers)) or not all(self.input.std):
            raise UsageError(f"scale, mean and std must be finite and std not 0, got {numbers}")
        for threshold in (self.score_threshold, self.iou_threshold):
            if threshold is not None and not 0 <= threshold <= 1:
                raise UsageError(f"thresholds must lie in 0..1, got {threshold}")

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return len(self.class_names)

    @property
    def num_anchors(self) -> int:
        """The number of rows of the raw output, A."""
        return sum((self.height // s) * (self.width // s) for s in self.strides)

    @property
    def legacy(self) -> bool:
        """Whether the input is that of the original's 0.1.0 release."""
        return self.input == LEGACY_INPUT

    def to_json(self) -> str:
        """Return the spec as a JSON object with a version."""
        content = {"version": SPEC_VERSION, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False, default=dict)

    @classmethod
    def from_json(cls, text: str, where: str = "spec") -> ModelSpec:
        """Return the spec that ``text`` holds; ``where`` names its file in errors.

        Raises :class:`ArtifactError` for anything but a spec of this or an earlier version.
        """
        try:
            content = json.loads(text)
            version = content["version"]
            if not isinstance(version, int) or version < 1:
                raise ValueError(f"version {version!r}")
            if version > SPEC_VERSION:
                raise ArtifactError(
                    f"{where}: its spec has version {version}, this yolox_deploy reads up to "
                    f"{SPEC_VERSION}: pip install --upgrade yolox-deploy"
                )
            known = {f.name for f in fields(cls)}
            values = {key: value for key, value in content.items() if key in known}
            values["class_names"] = tuple(_strings(values["class_names"]))
            values["strides"] = tuple(_integers(values["strides"]))
            _integers([values["height"], values["width"], values["batch"] or 1])
            values["assumed"] = tuple(_strings(values.get("assumed", ())))
            values["input"] = _input_convention(values["input"])
            _optional_kinds(values)
            return cls(**values)
        except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
            raise ArtifactError(
                f"{where}: its yolox_deploy spec is damaged ({type(error).__name__}: {error}); "
                "export the checkpoint again"
            ) from error

    @classmethod
    def inferred(
        cls,
        name: str,
        input_shape: tuple[int | None, ...],
        output_shape: tuple[int | None, ...],
        imgsz: tuple[int, int] | None = None,
    ) -> ModelSpec:
        """Return a spec for an artifact that carries none, from the shapes of its tensors.

        ``input_shape`` is (N, 3, H, W) and ``output_shape`` (N, A, 5 + C), ``None`` where a
        dimension is dynamic; ``imgsz`` (height, width) is needed where H or W is.  The rest are
        defaults: raw output, BGR 0..255 input, COCO's class names for 80 classes.

        Raises :class:`ArtifactError` where the shapes are not those of a YOLOX detector.
        """
        expected = "a YOLOX detector takes (N, 3, H, W) and returns (N, A, 5 + C)"
        if len(input_shape) != 4 or input_shape[1] not in (3, None) or len(output_shape) != 3:
            raise ArtifactError(
                f"{name} takes {_shape(input_shape)} and returns {_shape(output_shape)}: {expected}"
            )
        height, width = input_shape[2], input_shape[3]
        if height is None or width is None:
            if imgsz is None:
                raise ArtifactError(
                    f"{name} accepts any picture size and carries no spec: say which to use, "
                    "imgsz=(height, width) or --imgsz H W"
                )
            height, width = imgsz
        channels = output_shape[2]
        if channels is None or channels < 6:
            raise ArtifactError(f"{name} returns {_shape(output_shape)}: {expected}")
        try:
            spec = cls(
                name,
                default_class_names(channels - 5),
                height,
                width,
                input_shape[0],
                assumed=("class_names", "input", "output", "strides"),
            )
        except UsageError as error:
            raise ArtifactError(f"{name} is no YOLOX detector: {error}") from error
        if output_shape[1] not in (spec.num_anchors, None):
            raise ArtifactError(
                f"{name} returns {output_shape[1]} rows for a {height}x{width} input, a YOLOX "
                f"detector of strides 8, 16, 32 returns {spec.num_anchors}"
            )
        return spec

    def describe(self) -> list[tuple[str, str]]:
        """Return the spec as rows of a label and a text, for a person to read."""
        convention = self.input
        normalise = (
            "0..255, no mean or std"
            if (convention.scale, convention.mean, convention.std)
            == (RAW_INPUT.scale, RAW_INPUT.mean, RAW_INPUT.std)
            else f"x {convention.scale:.6g}, mean {convention.mean}, std {convention.std}"
        )
        outputs = {
            "raw": f"raw head output (N, {self.num_anchors}, {5 + self.num_classes})",
            "decoded": f"decoded boxes (N, {self.num_anchors}, {5 + self.num_classes})",
            "detections": (
                f"detections after NMS (K, 7), score >= {self.score_threshold}, "
                f"IoU {self.iou_threshold}"
            ),
        }
        shown = ", ".join(self.class_names[:6]) + (", ..." if self.num_classes > 6 else "")
        rows = [
            ("name", self.name),
            ("architecture", self.architecture or "not stated"),
            ("input", f"{self.height} high x {self.width} wide, batch {self.batch or 'dynamic'}"),
            (
                "pixels",
                f"{convention.colour_order} {normalise}, padded with {convention.pad_value}"
                + (" (legacy, release 0.1.0)" if self.legacy else ""),
            ),
            ("output", outputs[self.output]),
            ("classes", f"{self.num_classes}: {shown}"),
            ("precision", self.precision),
            ("checkpoint", f"sha256 {self.checkpoint_sha256}" if self.checkpoint_sha256 else "-"),
            ("tools", ", ".join(f"{k} {v}" for k, v in self.tools.items()) or "-"),
            ("verification", describe_verification(self.verification)),
        ]
        if self.assumed:
            rows.append(("assumed", ", ".join(self.assumed) + " (the file does not say)"))
        return rows

    def with_names(self, names: tuple[str, ...]) -> ModelSpec:
        """Return the spec with other class names; raises :class:`UsageError` on a wrong count."""
        if len(names) != self.num_classes:
            raise UsageError(
                f"{len(names)} class names were given, the model has {self.num_classes} classes"
            )
        return replace(self, class_names=names)


@dataclass(frozen=True)
class SpecHints:
    """What a caller says of a model; each is needed only where the file itself does not say it.

    ``imgsz`` is (height, width) in pixels, ``legacy`` the 0.1.0 input convention, ``decoded``
    whether an artifact without a spec returns decoded boxes, ``architecture`` overrides what a
    checkpoint's tensors tell.
    """

    imgsz: tuple[int, int] | None = None
    names: tuple[str, ...] | None = None
    legacy: bool | None = None
    decoded: bool | None = None
    architecture: str | None = None

    def apply(self, spec: ModelSpec) -> ModelSpec:
        """Return ``spec`` completed by the hints.

        Raises :class:`UsageError` where a hint contradicts what the artifact states.
        """
        if self.imgsz not in (None, (spec.height, spec.width)):
            raise UsageError(
                f"{spec.name} takes pictures of {spec.height}x{spec.width} (height x width), not "
                f"{self.imgsz}: export the checkpoint again with that --imgsz"
            )
        if self.names is not None:
            spec = spec.with_names(self.names)
        if self.legacy is not None and self.legacy != spec.legacy:
            if "input" not in spec.assumed:
                raise UsageError(
                    f"{spec.name} states that its input is "
                    f"{'legacy' if spec.legacy else 'not legacy'}: leave legacy out"
                )
            spec = replace(spec, input=LEGACY_INPUT if self.legacy else RAW_INPUT)
        if self.decoded is not None and self.decoded != (spec.output != "raw"):
            if "output" not in spec.assumed:
                raise UsageError(
                    f"{spec.name} states that its output is {spec.output}: leave decoded out"
                )
            spec = replace(spec, output="decoded" if self.decoded else "raw")
        return spec


def describe_verification(record: Mapping[str, Any] | None) -> str:
    """Return one line for a spec's verification record."""
    if not record:
        return "not verified"
    return f"{record.get('status', 'unknown')}: {record.get('summary', 'no summary')}"


def check_size(height: int, width: int, stride: int = 32) -> None:
    """Raise :class:`UsageError`, naming the nearest sizes, unless both divide by ``stride``."""
    for word, side in (("height", height), ("width", width)):
        if not 0 < side <= LARGEST_SIDE:
            raise UsageError(f"{word} must lie in {stride}..{LARGEST_SIDE} pixels, got {side}")
        if side % stride:
            below = side // stride * stride
            nearest = f"{below} or {below + stride}" if below else str(stride)
            raise UsageError(
                f"{word} {side} does not divide by {stride}, the largest stride: use {nearest}"
            )


def default_class_names(count: int) -> tuple[str, ...]:
    """Return COCO's names for 80 classes, else ``class_0``, ``class_1``, ..."""
    if count == len(COCO_NAMES):
        return COCO_NAMES
    if not 0 < count <= LARGEST_CLASS_COUNT:
        raise UsageError(f"a model needs 1 to {LARGEST_CLASS_COUNT} classes, got {count}")
    return tuple(f"class_{i}" for i in range(count))


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


def _strings(values: Any) -> list[str]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"expected a list of texts, got {values!r:.60}")
    return list(values)


def _integers(values: Any) -> list[int]:
    if not isinstance(values, list) or not all(type(v) is int for v in values):
        raise TypeError(f"expected a list of integers, got {values!r:.60}")
    return values


def _optional_kinds(values: dict[str, Any]) -> None:
    """Raise ``TypeError`` where a field that is passed on unread has the wrong type."""
    kinds: dict[str, tuple[type, ...]] = {
        "name": (str,),
        "output": (str,),
        "precision": (str,),
        "architecture": (str, type(None)),
        "checkpoint_sha256": (str, type(None)),
        "tools": (dict,),
        "verification": (dict, type(None)),
        "score_threshold": (int, float, type(None)),
        "iou_threshold": (int, float, type(None)),
    }
    for key, kind in kinds.items():
        if key in values and not isinstance(values[key], kind):
            raise TypeError(f"{key} is {values[key]!r:.60}")
    if "name" not in values:
        raise KeyError("name")
    _strings(list(values.get("tools", {}).values()))


def _input_convention(values: Any) -> InputConvention:
    floats = {
        key: tuple(float(v) for v in values[key]) if key != "scale" else float(values[key])
        for key in ("scale", "mean", "std")
    }
    if len(floats["mean"]) != 3 or len(floats["std"]) != 3:  # type: ignore[arg-type]
        raise ValueError("mean and std need three values each")
    return InputConvention(
        colour_order=values["colour_order"],
        pad_value=int(values["pad_value"]),
        **floats,  # type: ignore[arg-type]
    )
