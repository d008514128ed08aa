"""What determines a training run, in one object that is stored in its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from yolox_deploy.architectures import architecture
from yolox_deploy.datasets.sources import CocoSource
from yolox_deploy.errors import UsageError
from yolox_deploy.models.checkpoint import Checkpoint, load_checkpoint
from yolox_deploy.models.heads import DETECT
from yolox_deploy.processors import MOST_THREADS
from yolox_deploy.spec import check_size
from yolox_deploy.training.data.batches import sizes
from yolox_deploy.training.data.pictures import Size
from yolox_deploy.training.recipes import Recipe, recipe

# PyTorch's generators take 64 bits with a sign.
LARGEST_SEED = (1 << 63) - 1
LONGEST = 1000 * 24 * 3600
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Settings:
    """A training run as the user asks for it; ``None`` means the default.

    * ``train``, ``val``: the data; without ``val`` no AP is measured;
    * ``recipe`` (default: chosen for the data and the weights, see
      :func:`~yolox_deploy.training.choice.choose_recipe`), and ``changes`` of single settings of
      it, by name; ``epochs`` among them shrinks the phases in proportion;
    * ``seconds``: after how many seconds training is to end; the schedule is fitted into them;
    * ``imgsz``: (height, width) of the input in pixels (default: what ``weights`` state, otherwise
      the published size);
    * ``batch``: number of pictures per step, over all processes;
    * ``weights``: a checkpoint to start from instead of random weights;
    * ``legacy``: whether the input is that of release 0.1.0 (default: what ``weights`` state or
      tell, otherwise not);
    * ``names``: the classes (default: those of the first file of ``train``);
    * ``precision``: ``fp32``, ``bf16`` or ``fp16`` (default: fp16 on CUDA, with the weights kept in
      fp32; fp32 on a CPU);
    * ``workers``: number of processes that make batches; it changes the speed and no result;
    * ``threads``: number of threads that compute on a CPU (default: the number of cores, less one
      if there are workers).  The number decides the last bits of sums, so a resumed run keeps it.
    """

    arch: str
    train: Sequence[CocoSource]
    val: Sequence[CocoSource] = ()
    recipe: Recipe | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    imgsz: Size | None = None
    batch: int = 16
    seed: int = 0
    workers: int = 2
    weights: Path | None = None
    legacy: bool | None = None
    names: Sequence[str] | None = None
    precision: str | None = None
    threads: int | None = None

    def resolved(self, device: torch.device) -> TrainingRun:
        """Return the run with every default filled in; raises :class:`UsageError`."""
        arch = architecture(self.arch)
        bounds = {"batch": (1, 1 << 20), "workers": (0, 1024), "seed": (0, LARGEST_SEED)}
        for name, (least, most) in {**bounds, "threads": (1, MOST_THREADS)}.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} must lie in {least}..{most}, got {value}")
        if not self.train:
            raise UsageError("no training data: give at least one COCO annotation file")
        if self.seconds is not None and not 1 <= self.seconds <= LONGEST:
            raise UsageError(f"the time must be 1 second to 1000 days, got {self.seconds:g} s")
        weights = _weights(self.weights, arch.name)
        legacy, note = weights.input_is_legacy(self.legacy) if weights else (self.legacy, None)
        size = self.imgsz or (weights and weights.imgsz) or (arch.test_size, arch.test_size)
        check_size(*size)
        precision = self.precision or ("fp16" if device.type == "cuda" else "fp32")
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        if precision == "fp16" and device.type != "cuda":
            raise UsageError("training in fp16 needs CUDA; use fp32 or bf16")
        spare = 1 if self.workers else 0
        return TrainingRun(
            replace(self, arch=arch.name),
            (self.recipe or recipe(arch.name)).changed(self.changes),
            size,
            bool(legacy),
            precision,
            self.threads or max(torch.get_num_threads() - spare, 1),
            weights,
            note,
        )


@dataclass(frozen=True)
class TrainingRun:
    """Settings with every default filled in; ``weights`` is the opened checkpoint to start from.

    ``note`` is a sentence for the user about the input, if there is reason for one.
    """

    settings: Settings
    recipe: Recipe
    size: Size
    legacy: bool
    precision: str
    threads: int
    weights: Checkpoint | None
    note: str | None

    def check_batch(self, world: int) -> None:
        """Raise :class:`UsageError` for a batch that ``world`` processes cannot share.

        Nor can one do without a second value per channel, which batch normalization needs.
        """
        batch = self.settings.batch
        if batch % world:
            raise UsageError(f"a batch of {batch} does not divide by {world}")
        height, width = sizes(self.size, self.recipe.multiscale)[0]
        if batch // world * (height // 32) * (width // 32) < 2:
            raise UsageError(
                f"one picture of {width} x {height} pixels is too little for batch normalization: "
                "give a --batch of at least 2 pictures per process, or --imgsz 64 or more"
            )

    def plain(self) -> dict[str, Any]:
        """Return the run as plain values, for checkpoints and results."""
        whole = replace(
            self.settings,
            recipe=self.recipe,
            changes={},
            imgsz=self.size,
            legacy=self.legacy,
            precision=self.precision,
            threads=self.threads,
        )
        plain: dict[str, Any] = json.loads(json.dumps(asdict(whole), default=str))
        return plain


def settings_from_plain(values: dict[str, Any]) -> Settings:
    """Return the settings that lead to the run whose :meth:`TrainingRun.plain` gave ``values``."""
    recipe_values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values["recipe"].items()
    }
    parts: dict[str, Any] = {
        part: [CocoSource(Path(row["annotations"]), Path(row["images"])) for row in values[part]]
        for part in ("train", "val")
    }
    parts |= {"recipe": Recipe(**recipe_values), "imgsz": tuple(values["imgsz"])}
    parts["weights"] = Path(values["weights"]) if values["weights"] else None
    return Settings(**values | parts)


def _weights(path: Path | None, arch: str) -> Checkpoint | None:
    """Return the opened checkpoint, checked against what the run asks for."""
    if path is None:
        return None
    weights = load_checkpoint(path)
    if weights.arch.name != arch:
        raise UsageError(f"{path} holds a YOLOX {weights.arch.name}, the run asks for {arch}")
    if weights.network.task != DETECT.name:
        raise UsageError(f"{path} is for the task {weights.network.task}: only detect is trained")
    return weights
