"""Trained checkpoints: the network that their tensors describe, and what the file states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolox_deploy.architectures import ARCHITECTURES, Architecture, architecture
from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import CheckpointError, UsageError, number_of
from yolox_deploy.files import sha256_of
from yolox_deploy.models.heads import CLASS_KEY, Shapes, head_of
from yolox_deploy.models.network import YOLOX
from yolox_deploy.models.reading import find_weights, read_tensors_only
from yolox_deploy.models.stem import input_of
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.pictures.stem import InputFound
from yolox_deploy.spec import ModelSpec, SpecHints, default_class_names

STEM_KEYS = ("backbone.backbone.stem.conv.conv.weight", "backbone.backbone.stem.0.conv.weight")
# A limit for the blocks of one stage; the largest published model has 12.
MOST_BLOCKS = 300
DEPTHWISE_MARK = ".dconv."
# Safe as the name of a file, without its suffix, on every system.
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}")
BLOCKS_PATTERN = re.compile(r"backbone\.backbone\.dark3\.1\.m\.(\d{1,3})\.conv1\.conv\.weight")


@dataclass(frozen=True)
class Checkpoint:
    """A trained network (evaluation mode, float32, on the CPU) and what its file states.

    ``names``, ``legacy``, ``imgsz`` (height, width) and ``score_threshold`` (the suggested one) are
    ``None`` if the file does not state them; ``notes`` are sentences for the user about choices
    made while reading; ``name`` is what the file calls the model, otherwise its own name without
    the suffix.  What the file does not state of its input is found from the weights, see
    :meth:`input_is_legacy`.
    """

    path: Path
    network: YOLOX
    sha256: str
    names: tuple[str, ...] | None
    legacy: bool | None
    imgsz: tuple[int, int] | None
    notes: tuple[str, ...]
    name: str
    score_threshold: float | None = None

    @property
    def arch(self) -> Architecture:
        """The network's architecture."""
        return self.network.arch

    @cached_property
    def input_found(self) -> InputFound:
        """What the weights tell of the input that they were trained on."""
        return input_of(self.network)

    def input_is_legacy(self, asked: bool | None = None) -> tuple[bool, str | None]:
        """Return whether the input is legacy, and a note if the user should read one.

        What the file states holds, then what the user ``asked`` for, then what the weights tell.
        If they do not tell, the input is plain.  Raises :class:`UsageError` if the user contradicts
        the file.
        """
        if asked is not None and self.legacy not in (None, asked):
            raise UsageError(
                f"{self.path} states that its input is {'' if self.legacy else 'not '}legacy: "
                f"leave --{'' if asked else 'no-'}legacy out"
            )
        found, name = self.input_found, self.path.name
        stated = asked if self.legacy is None else self.legacy
        if stated is None and found.legacy is None:
            return False, (
                f"{name}: plain 0..255 input is assumed, the weights do not tell: {found.why}; if "
                "it is legacy (release 0.1.0), add --legacy, otherwise --no-legacy"
            )
        if stated is None:
            note = (
                f"{name}: legacy input (release 0.1.0) is used, as its weights tell: {found.why}; "
                "if this is wrong, add --no-legacy"
            )
            return bool(found.legacy), note if found.legacy else None
        if found.legacy in (None, stated):
            return stated, None
        return stated, (
            f"{name}: {'legacy' if stated else 'plain 0..255'} input is used as "
            f"{'stated in the file' if asked is None else 'asked for'}, but its weights look like "
            f"{'legacy' if found.legacy else 'plain 0..255'} input: {found.why}"
        )

    def spec(self, hints: SpecHints = SpecHints()) -> ModelSpec:  # noqa: B008 (frozen)
        """Return the spec of this checkpoint, completed by the hints.

        Raises :class:`UsageError` where a hint contradicts the file or makes no sense.
        """
        if hints.decoded:
            raise UsageError(
                f"{self.path} is a checkpoint, whose boxes are never decoded: leave --decoded out; "
                "yolox-export --decode decodes them in the graph"
            )
        legacy, _ = self.input_is_legacy(hints.legacy)
        names = hints.names or self.names
        side = self.arch.test_size
        height, width = hints.imgsz or self.imgsz or (side, side)
        spec = ModelSpec(
            self.name,
            self.names or default_class_names(self.network.num_classes),
            height,
            width,
            batch=None,
            input=LEGACY_INPUT if legacy else RAW_INPUT,
            architecture=self.arch.name,
            checkpoint_sha256=self.sha256,
            task=self.network.task,
            task_settings=self.network.task_settings,
            suggested_score_threshold=self.score_threshold,
        )
        return spec.with_names(names) if names else spec

    @property
    def knows_names(self) -> bool:
        """Whether class names are known without being asked for."""
        return self.names is not None or self.network.num_classes == len(COCO_NAMES)


def load_checkpoint(path: Path, arch: str | None = None) -> Checkpoint:
    """Read a checkpoint and build the network that its tensors describe.

    ``arch`` overrides the inferred architecture.  Raises :class:`CheckpointError` for a file that
    is missing, damaged, unsafe or of another network.
    """
    content = read_tensors_only(path)
    weights, notes = find_weights(content, path)
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    head = head_of(shapes)
    if head is None:
        raise CheckpointError(
            f"{path}: no YOLOX checkpoint, it has no tensor {CLASS_KEY!r}; its "
            f"{len(shapes)} tensors begin with {_shortened(shapes)}"
        )
    row = architecture(arch) if arch else infer_architecture(shapes, path)
    try:
        num_classes, settings = head.num_classes(shapes), head.settings(shapes)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    with torch.device("meta"):
        network = YOLOX(row, num_classes, head, settings)
    for key in network.state_dict():
        if key.endswith(".num_batches_tracked"):
            # Plays no part in inference, and converters drop it.
            weights.setdefault(key, torch.zeros((), dtype=torch.int64))
            shapes.setdefault(key, ())
    check_fit(network, shapes, path, forced=arch is not None)
    check_values(weights, path)
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}, assign=True
    )
    about = content if isinstance(content, Mapping) else {}
    return Checkpoint(
        path,
        network.eval().requires_grad_(False),
        sha256_of(path),
        _names(about.get("names"), num_classes),
        about["legacy"] if isinstance(about.get("legacy"), bool) else None,
        _imgsz(about.get("imgsz")),
        tuple(notes),
        _name(about.get("name"), path),
        _share(about.get("score_threshold")),
    )


def infer_architecture(shapes: Shapes, path: Path) -> Architecture:
    """Return the architecture that the tensors' names and shapes describe.

    Width comes from the stem, depth from the number of blocks in a stage, depthwise from its key;
    a combination that was not published is called "custom (...)".
    """
    focus, darknet = (shapes.get(key) for key in STEM_KEYS)
    if darknet is not None:
        return ARCHITECTURES["darknet53"]
    blocks = [int(m.group(1)) for m in map(BLOCKS_PATTERN.fullmatch, shapes) if m]
    if not focus or not focus[0] or not blocks or max(blocks) >= MOST_BLOCKS:
        raise CheckpointError(
            f"{path}: no YOLOX checkpoint, neither {STEM_KEYS[0]!r} with the blocks of "
            f"'backbone.backbone.dark3' nor {STEM_KEYS[1]!r} is in it"
        )
    width = focus[0] / 64
    thirds = (max(blocks) + 1) // 3
    depthwise = any(DEPTHWISE_MARK in key for key in shapes)
    for row in ARCHITECTURES.values():
        facts = (row.width, round(3 * row.depth), row.depthwise)
        if not row.darknet53 and facts == (width, thirds, depthwise):
            return row
    name = f"custom (depth {thirds}/3, width {width:g}{', depthwise' if depthwise else ''})"
    side = 416 if width < 0.5 else 640
    return Architecture(name, thirds / 3, width, depthwise, test_size=side)


def check_fit(network: YOLOX, shapes: Shapes, path: Path, *, forced: bool) -> None:
    """Raise :class:`CheckpointError` naming the first differences from ``network``, if any."""
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    missing = [key for key in expected if key not in shapes]
    extra = [key for key in shapes if key not in expected]
    changed = [key for key in expected if key in shapes and shapes[key] != expected[key]]
    shapes_of = ", ".join(f"{k} {shapes[k]} instead of {expected[k]}" for k in changed[:3])
    differences = (
        (missing, "tensors are missing", _shortened(missing)),
        (extra, "do not belong to it", _shortened(extra)),
        (changed, "have another shape", shapes_of),
    )
    parts = [f"{len(keys)} {words} ({first})" for keys, words, first in differences if keys]
    relation = "the requested" if forced else "the nearest"
    if parts and forced and (own := infer_architecture(shapes, path).name) != network.arch.name:
        raise CheckpointError(
            f"{path}: its architecture is {own}, the requested is {network.arch.name}: leave the "
            "architecture (--arch) out"
        )
    if parts:
        raise CheckpointError(
            f"{path}: fits no YOLOX network; {relation} is {network.arch.name} with "
            f"{number_of(network.num_classes, 'class', 'classes')}, and of its {len(expected)} "
            f"tensors {'; '.join(parts)}"
        )


def _shortened(keys: Iterable[str]) -> str:
    """Return the first keys, each cut to a readable length."""
    return ", ".join(key[:80] for key in islice(keys, 3))


def check_values(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise :class:`CheckpointError` for weights that are no finite floating-point numbers."""
    for key, value in weights.items():
        if key.endswith(".num_batches_tracked"):
            continue
        if not value.is_floating_point() or value.is_meta or value.layout != torch.strided:
            raise CheckpointError(
                f"{path}: {key} is {value.dtype} on {value.device}, expected floating-point weights"
            )
        if not value.isfinite().all():
            raise CheckpointError(
                f"{path}: {key} holds NaN or infinity; the training diverged, use an earlier "
                "checkpoint"
            )


def _name(value: Any, path: Path) -> str:
    """Return what the model is called, and artifacts of it by default: as stated, or the file."""
    return value if isinstance(value, str) and NAME_PATTERN.fullmatch(value) else path.stem


def _names(value: Any, count: int) -> tuple[str, ...] | None:
    good = isinstance(value, (list, tuple)) and len(value) == count
    return tuple(value) if good and all(isinstance(v, str) for v in value) else None


def _share(value: Any) -> float | None:
    return value if isinstance(value, float) and 0 < value <= 1 else None


def _imgsz(value: Any) -> tuple[int, int] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        height, width = value
        if type(height) is int and type(width) is int and height > 0 < width:
            return height, width
    return None
