"""ModelSpec: what an application would otherwise have to type a second time.

It travels inside every artifact as JSON under one key: ONNX keeps it in ``metadata_props``,
OpenVINO in ``rt_info``, the others in a file beside the artifact.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import ArtifactError, UsageError, in_short, number_of
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT, InputConvention

SPEC_KEY = "yolox_deploy"
# Since version 2 a spec has a seal, and may state the hashes of the artifact's files.
SPEC_VERSION = 2
SEALED_SINCE = 2
# The key of the SHA-256 of everything else in the spec.
SEAL = "spec_sha256"

OutputKind = Literal["raw", "decoded", "detections"]
Precision = Literal["fp32", "fp16", "int8"]

# An upper bound for counts and sizes read from a file, against absurd allocations.
LARGEST_SIDE = 16384
LARGEST_CLASS_COUNT = 100_000
LARGEST_BATCH = 4096
# Of the numbers in one input; 2 GiB in float32.
LARGEST_INPUT = 1 << 29


@dataclass(frozen=True)
class ModelSpec:
    """What an artifact needs to be told apart, fed and read.

    ``height`` and ``width`` are the network's input in pixels, ``batch`` is ``None`` where the
    artifact takes any number of pictures.  ``output`` is ``raw`` (head output, boxes not decoded),
    ``decoded`` (centre, width and height in input pixels) or ``detections`` (rows of picture
    index, x1, y1, x2, y2, score, class; only then are the two thresholds set).  ``assumed`` names
    the fields that no file stated and that are documented defaults.  ``evidence`` is what proves
    the artifact without its checkpoint, see :mod:`yolox_deploy.verification.evidence`.  ``task``
    names what the rows of the output mean, see :mod:`yolox_deploy.tasks`; ``task_settings`` holds
    what that task needs to know beside the classes.  With ``pixels`` the artifact takes the bytes
    of a picture, (N, H, W, 3) uint8, blue, green and red, and does itself what ``input`` says of
    them.
    ``precision`` is what is stored; ``quantization`` says of an ``int8`` artifact what stayed in
    floating point (``floating``), how that was found (``how``), and the points of AP that it costs
    (``ap_drop``, ``judged_ap_drop``).
    ``suggested_score_threshold`` is the one with the highest F1 on the validation pictures of the
    model's training: what a detector takes if its user gives none.

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
    evidence: Mapping[str, Any] | None = None
    assumed: tuple[str, ...] = ()
    task: str = "detect"
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    pixels: bool = False
    quantization: Mapping[str, Any] | None = None
    suggested_score_threshold: float | None = None

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
        values = 3 * self.height * self.width * (self.batch or 1)
        if values > LARGEST_INPUT:
            raise UsageError(
                f"a batch of {self.batch or 1} pictures of {self.height}x{self.width} would take "
                f"{4 * values:,} bytes, more than {4 * LARGEST_INPUT:,}: use smaller ones"
            )
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
        suggested = self.suggested_score_threshold
        for threshold in (self.score_threshold, self.iou_threshold, suggested):
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
    def input_shape(self) -> tuple[int | None, int, int, int]:
        """The shape of the artifact's input; ``None`` for any number of pictures."""
        if self.pixels:
            return self.batch, self.height, self.width, 3
        return self.batch, 3, self.height, self.width

    @property
    def input_type(self) -> Literal["float32", "uint8"]:
        """The type of the numbers that the artifact takes."""
        return "uint8" if self.pixels else "float32"

    @property
    def legacy(self) -> bool:
        """Whether the input is that of the original's 0.1.0 release."""
        return self.input == LEGACY_INPUT

    def to_json(self, hashes: Mapping[str, str] | None = None) -> str:
        """Return the spec as a JSON object with a version and a seal.

        ``hashes`` are the SHA-256 of the artifact's parts by their suffix, ``{"bin": "..."}``.
        """
        content = {"version": SPEC_VERSION, **asdict(self)}
        for key in ("task_settings", "evidence", "pixels", "quantization"):
            if not content[key]:
                del content[key]
        if self.suggested_score_threshold is None:
            del content["suggested_score_threshold"]
        if hashes:
            content["files"] = dict(hashes)
        # As it will be read again: with texts as keys, and lists.
        content = json.loads(json.dumps(content, default=dict))
        content[SEAL] = seal(content)
        text = json.dumps(content, indent=1, ensure_ascii=False)
        # A name that is no UTF-8 (see write_atomically) cannot be stored otherwise.
        return text.encode("utf-8", "backslashreplace").decode()

    @classmethod
    def from_json(cls, text: str, where: str = "spec") -> ModelSpec:
        """Return the spec that ``text`` holds; ``where`` names its file in errors.

        Raises :class:`ArtifactError` for anything but a spec of this or an earlier version.
        """
        with _damage_reported(where):
            content = _unsealed(text, where)
            known = {f.name for f in fields(cls)}
            values = {key: value for key, value in content.items() if key in known}
            values["class_names"] = _tuple_of(str, values["class_names"])
            values["strides"] = _tuple_of(int, values["strides"])
            _tuple_of(int, [values["height"], values["width"], values["batch"] or 1])
            values["assumed"] = _tuple_of(str, values.get("assumed", []))
            values["input"] = convention_of(values["input"])
            _optional_kinds(values)
            return cls(**values)

    def with_names(self, names: tuple[str, ...]) -> ModelSpec:
        """Return the spec with other class names; raises :class:`UsageError` on a wrong count."""
        if len(names) != self.num_classes:
            has = number_of(self.num_classes, "class", "classes")
            raise UsageError(
                f"{len(names)} class names were given ({in_short(names)}), the model has {has} "
                f"({in_short(self.class_names)}), as the shapes of its tensors say: give one name "
                "for each, in this order"
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


def stated_hashes(text: str, where: str = "spec") -> dict[str, str]:
    """Return the SHA-256 of the artifact's parts that the spec ``text`` states, by suffix.

    Raises :class:`ArtifactError` as :meth:`ModelSpec.from_json` does.
    """
    with _damage_reported(where):
        hashes = dict(_unsealed(text, where).get("files", {}))
        _tuple_of(str, list(hashes.values()))
        return hashes


def seal(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a spec's content, whatever the order and the spaces of its JSON."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _unsealed(text: str, where: str) -> dict[str, Any]:
    """Return a spec's content; raises :class:`ArtifactError` if it was changed."""
    content: dict[str, Any] = json.loads(text)
    version = content["version"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"version {version!r}")
    if version > SPEC_VERSION:
        raise ArtifactError(
            f"{where}: its spec has version {version}, this yolox_deploy reads up to "
            f"{SPEC_VERSION}: pip install --upgrade yolox-deploy"
        )
    if version >= SEALED_SINCE or SEAL in content:
        stated, found = content[SEAL], seal(content)
        if stated != found:
            raise ArtifactError(
                f"{where}: its yolox_deploy spec was changed after the export (SHA-256 "
                f"{found[:12]}..., expected {stated!s:.12}...): copy the artifact again, or export "
                "the checkpoint again; other class names are given with --names"
            )
    return content


@contextmanager
def _damage_reported(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ArtifactError(
            f"{where}: its yolox_deploy spec is damaged ({type(error).__name__}: {error}); "
            "export the checkpoint again"
        ) from error


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


def _tuple_of(kind: type, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list) or not all(type(v) is kind for v in values):
        word = "texts" if kind is str else "integers"
        raise TypeError(f"expected a list of {word}, got {values!r:.60}")
    return tuple(values)


def _optional_kinds(values: dict[str, Any]) -> None:
    """Raise ``TypeError`` where a field that is passed on unread has the wrong type."""
    kinds = {
        str: ("name", "output", "precision", "task"),
        str | None: ("architecture", "checkpoint_sha256"),
        dict: ("tools", "task_settings"),
        dict | None: ("verification", "evidence", "quantization"),
        float | int | None: ("score_threshold", "iou_threshold", "suggested_score_threshold"),
        bool: ("pixels",),
    }
    for kind, keys in kinds.items():
        for key in keys:
            if key in values and not isinstance(values[key], kind):
                raise TypeError(f"{key} is {values[key]!r:.60}")
    if "name" not in values:
        raise KeyError("name")
    _tuple_of(str, list(values.get("tools", {}).values()))


def convention_of(values: Any) -> InputConvention:
    """Return what a spec's JSON says of the pixels; raises what a wrong value raises."""
    mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3:
        raise ValueError("mean and std need three values each")
    scale, pad_value = float(values["scale"]), int(values["pad_value"])
    return InputConvention(values["colour_order"], scale, mean, std, pad_value)


def as_size(sides: int | Sequence[int], word: str = "imgsz") -> tuple[int, int]:
    """Return one side, or height and width, as (height, width); raises :class:`UsageError`."""
    try:
        found = [operator.index(side) for side in np.atleast_1d(np.asarray(sides))]
    except (TypeError, ValueError) as error:
        raise UsageError(f"{word} must be one or two integers, got {sides!r}") from error
    if len(found) not in (1, 2):
        raise UsageError(f"{word} is one side, or height and width, got {sides!r}")
    return found[0], found[-1]
