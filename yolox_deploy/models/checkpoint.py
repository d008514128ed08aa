"""Reading trained checkpoints of any common container, safely, and telling what is in them.

Files are read with ``weights_only=True`` and never otherwise.  What a training run leaves beside
the weights and is not a tensor (NumPy scalars, mostly) becomes an inert object.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolox_deploy.architectures import ARCHITECTURES, Architecture, architecture
from yolox_deploy.data.categories import COCO_NAMES
from yolox_deploy.errors import CheckpointError, UsageError
from yolox_deploy.files import sha256_of
from yolox_deploy.models.zoo import YOLOX, build_network
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.spec import LARGEST_CLASS_COUNT, ModelSpec, SpecHints, default_class_names

ANSI_COLOUR = re.compile(r"\x1b\[\d*m")

PICKLE_MAGIC = 0x80
UNSAFE = (
    "reading it could run code; it was not loaded. Save the weights alone: "
    "torch.save({'model': model.state_dict()}, 'weights.pth')"
)

# safe_globals changes state of the whole process.
_LOADING = threading.Lock()

# Averaged weights come first: they are what was evaluated.
EMA_KEYS = ("ema", "ema_state_dict", "model_ema", "ema_model")
WEIGHT_KEYS = ("model", "state_dict", "model_state_dict", "weights")
# What DistributedDataParallel, torch.compile and others put before every key.
WRAPPERS = ("module.", "_orig_mod.", "model.")
# AveragedModel's counter beside the weights.
COUNTERS = ("n_averaged",)

CLASS_KEY = "head.cls_preds.0.weight"
STEM_KEYS = ("backbone.backbone.stem.conv.conv.weight", "backbone.backbone.stem.0.conv.weight")
# Of one stage; the largest published model has 12.
MOST_BLOCKS = 300
DEPTHWISE_MARK = ".dconv."
BLOCKS_PATTERN = re.compile(r"backbone\.backbone\.dark3\.1\.m\.(\d{1,3})\.conv1\.conv\.weight")


class _Inert:
    """Stands in for the few harmless non-tensor types that training runs store."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _inert(*args: Any) -> _Inert:
    return _Inert()


INERT_GLOBALS: list[Any] = [
    (_Inert, "numpy.dtype"),
    (_Inert, "numpy.ndarray"),
    *(
        (_inert, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
]


@dataclass(frozen=True)
class Checkpoint:
    """A trained network (evaluation mode, float32, on the CPU) and what its file says of it.

    ``names``, ``legacy`` and ``imgsz`` (height, width) are ``None`` where the file does not say;
    ``notes`` are sentences for the user about choices made while reading.
    """

    path: Path
    network: YOLOX
    sha256: str
    names: tuple[str, ...] | None
    legacy: bool | None
    imgsz: tuple[int, int] | None
    notes: tuple[str, ...]

    @property
    def arch(self) -> Architecture:
        """The network's architecture."""
        return self.network.arch

    def spec(self, hints: SpecHints = SpecHints()) -> ModelSpec:  # noqa: B008 (frozen)
        """Return the spec of this checkpoint, completed by the hints.

        Raises :class:`UsageError` where a hint contradicts the file or makes no sense.
        """
        if hints.legacy is not None and self.legacy not in (None, hints.legacy):
            raise UsageError(
                f"{self.path} states that its input is {'' if self.legacy else 'not '}legacy: "
                "leave --legacy out"
            )
        legacy = hints.legacy if self.legacy is None else self.legacy
        names = hints.names or self.names
        side = self.arch.test_size
        height, width = hints.imgsz or self.imgsz or (side, side)
        spec = ModelSpec(
            self.path.stem,
            self.names or default_class_names(self.network.num_classes),
            height,
            width,
            batch=None,
            input=LEGACY_INPUT if legacy else RAW_INPUT,
            architecture=self.arch.name,
            checkpoint_sha256=self.sha256,
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
    num_classes = infer_num_classes(shapes, path)
    row = architecture(arch) if arch else infer_architecture(shapes, path)
    with torch.device("meta"):
        network = build_network(row, num_classes)
    for key in network.state_dict():
        if key.endswith(".num_batches_tracked"):
            # Plays no part in inference, and converters drop it.
            weights.setdefault(key, torch.zeros((), dtype=torch.int64))
            shapes.setdefault(key, ())
    check_fit(network, shapes, path, forced=arch is not None)
    check_values(weights, path)
    network.load_state_dict(
        {
            key: value.float() if value.is_floating_point() else value
            for key, value in weights.items()
        },
        assign=True,
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
    )


def read_tensors_only(path: Path) -> Any:
    """Return what ``path`` holds, tensors and plain containers only.

    Raises :class:`CheckpointError`, also for a file that would run code when unpickled.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if not path.stat().st_size:
        raise CheckpointError(f"{path}: the file is empty")
    try:
        with _LOADING, torch.serialization.safe_globals(INERT_GLOBALS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises UnpicklingError, RuntimeError, EOFError, KeyError, ... by kind of damage.
        text = " ".join(ANSI_COLOUR.sub("", str(error)).split())
        if refused := re.search(r"GLOBAL ([\w.]+)", text):
            raise CheckpointError(
                f"{path}: it holds more than tensors ({refused[1]}) and {UNSAFE}"
            ) from error
        if "Unsupported operand" in text and is_pickle(path):
            raise CheckpointError(
                f"{path}: a pickle that torch.save did not write, and {UNSAFE}"
            ) from error
        reason = text.rpartition("WeightsUnpickler error: ")[2].partition(" Check the doc")[0]
        raise CheckpointError(
            f"{path}: not a PyTorch checkpoint, or a damaged one ({reason[:160]}); compare its "
            "size with the original's and copy it again"
        ) from error


def is_pickle(path: Path) -> bool:
    """Whether the file begins like a pickle of protocol 2 or newer."""
    with path.open("rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == PICKLE_MAGIC and 2 <= start[1] <= 5


def find_weights(content: Any, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state dict inside ``content`` with plain keys, and notes about the choice."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: it holds a {type(content).__name__}, not a state dict")
    ema = next((key for key in EMA_KEYS if _state_dict(content.get(key))), None)
    plain = next((key for key in WEIGHT_KEYS if _state_dict(content.get(key))), None)
    key = ema or plain
    weights = _state_dict(content[key] if key else content)
    if not weights:
        raise CheckpointError(
            f"{path}: no weights found; expected a state dict, or one under "
            f"{', '.join(map(repr, (*WEIGHT_KEYS, *EMA_KEYS)))}, got the keys "
            f"{', '.join(map(repr, list(content)[:6]))}"
        )
    notes = []
    if ema and plain:
        notes.append(
            f"{path.name} holds averaged weights ({ema!r}) beside {plain!r}: using {ema!r}"
        )
    return weights, notes


def _state_dict(value: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict under plain keys, nothing if it is none.

    Training wrappers nest the network ("module") or prefix its keys, several times over.
    """
    if isinstance(value, Mapping) and isinstance(value.get("module"), Mapping):
        value = value["module"]
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return {}
    weights = {
        key: tensor
        for key, tensor in value.items()
        if isinstance(tensor, Tensor) and key not in COUNTERS
    }
    while weights and (prefix := _common_prefix(weights)):
        weights = {key.removeprefix(prefix): tensor for key, tensor in weights.items()}
    return weights


def _common_prefix(weights: Mapping[str, Tensor]) -> str:
    return next((p for p in WRAPPERS if all(key.startswith(p) for key in weights)), "")


Shapes = Mapping[str, tuple[int, ...]]


def infer_num_classes(shapes: Shapes, path: Path) -> int:
    """Return the class count that the head's tensors state."""
    shape = shapes.get(CLASS_KEY)
    if shape is None:
        raise CheckpointError(
            f"{path}: no YOLOX checkpoint, it has no tensor {CLASS_KEY!r}; its "
            f"{len(shapes)} tensors begin with {_shortened(list(shapes))}"
        )
    if not shape or not 0 < shape[0] <= LARGEST_CLASS_COUNT:
        raise CheckpointError(f"{path}: {CLASS_KEY!r} has the shape {shape}, expected (C, ...)")
    return shape[0]


def infer_architecture(shapes: Shapes, path: Path) -> Architecture:
    """Return the architecture that the tensors' names and shapes describe.

    Width comes from the stem, depth from the number of blocks in a stage, depthwise from its key;
    a combination that nobody published gets a name of its own.
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
        if not row.darknet53 and (row.width, round(3 * row.depth), row.depthwise) == (
            width,
            thirds,
            depthwise,
        ):
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
    if not missing and not extra and not changed:
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors are missing ({_shortened(missing)})")
    if extra:
        parts.append(f"{len(extra)} do not belong to it ({_shortened(extra)})")
    if changed:
        parts.append(
            f"{len(changed)} have another shape ("
            + ", ".join(f"{k} {shapes[k]} instead of {expected[k]}" for k in changed[:3])
            + ")"
        )
    relation = "the requested" if forced else "the nearest"
    raise CheckpointError(
        f"{path}: fits no YOLOX network; {relation} is {network.arch.name} with "
        f"{network.num_classes} classes, and of its {len(expected)} tensors {'; '.join(parts)}"
    )


def _shortened(keys: Sequence[str]) -> str:
    """Return the first keys, each cut to a readable length."""
    return ", ".join(key[:80] for key in keys[:3])


def check_values(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise :class:`CheckpointError` for weights that are no finite floating-point numbers."""
    for key, value in weights.items():
        if key.endswith(".num_batches_tracked"):
            continue
        if not value.is_floating_point() or value.is_meta or value.is_sparse:
            raise CheckpointError(
                f"{path}: {key} is {value.dtype} on {value.device}, expected floating-point weights"
            )
        if not value.isfinite().all():
            raise CheckpointError(
                f"{path}: {key} holds NaN or infinity; the training diverged, use an earlier "
                "checkpoint"
            )


def _names(value: Any, count: int) -> tuple[str, ...] | None:
    good = isinstance(value, (list, tuple)) and len(value) == count
    return tuple(value) if good and all(isinstance(v, str) for v in value) else None


def _imgsz(value: Any) -> tuple[int, int] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        height, width = value
        if type(height) is int and type(width) is int and height > 0 < width:
            return height, width
    return None
