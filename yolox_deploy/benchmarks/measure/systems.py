"""The system under test: an opened detector with its pictures in memory.

Every scenario drives the same object, so that their figures can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.benchmarks.measure.artifacts import artifact_for
from yolox_deploy.detector import LARGEST_CHUNK, Detector
from yolox_deploy.errors import UsageError
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.spec import SpecHints
from yolox_deploy.tasks.detections import Detections

Picture = NDArray[np.uint8]


class Stages(NamedTuple):
    """Seconds of one call by stage; the copies are NaN where the engine copies nothing (CPU)."""

    letterbox: float
    copy_in: float
    inference: float
    copy_out: float
    decode: float
    nms: float


class Outcome(NamedTuple):
    """What one call gave: detections a picture, seconds by stage, and seconds around the call."""

    detections: list[Detections]
    stages: Stages
    seconds: float


@dataclass(frozen=True)
class Request:
    """One system that shall be measured; ``None`` is the default everywhere.

    ``backend`` is never ``auto``; ``path`` is a checkpoint or an artifact.
    """

    path: Path
    backend: str
    batch: int = 1
    precision: str | None = None
    threads: int | None = None
    device: str | None = None
    hints: SpecHints = SpecHints()  # noqa: RUF009 (frozen)
    random_weights: bool = False

    @property
    def text(self) -> str:
        """The request in a few words, for progress and errors."""
        return " ".join(filter(None, (self.path.stem, self.backend, self.precision)))


@dataclass(frozen=True)
class SystemInfo:
    """What was measured, as it goes into a result file.

    ``precision`` and ``threads`` are what the engine says it uses; ``asked_precision`` what it was
    asked for, ``artifact_precision`` that of the file.
    """

    label: str
    model: str
    architecture: str | None
    random_weights: bool
    backend: str
    engine_version: str
    device: str
    precision: str
    asked_precision: str
    artifact_precision: str
    threads: int | None
    batch: int
    height: int
    width: int
    num_classes: int
    verification: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SystemInfo:
        """Return what :meth:`to_json` wrote; the content was checked against the schema."""
        return cls(**{field.name: content[field.name] for field in fields(cls)})


class System:
    """A detector, opened as requested, and the pictures it is given.

    ``pictures`` are (h, w, 3) uint8 BGR.  ``detector`` may be used directly, and its thresholds
    be set (``score_threshold``, ``iou_threshold``, ``max_detections``, ``clip``), before a run.
    """

    def __init__(self, request: Request, pictures: Sequence[Picture]) -> None:
        if not pictures:
            raise UsageError("nothing to measure with: no picture")
        self.request = request
        self.pictures = list(pictures)
        self.artifact = artifact_for(
            request.path,
            request.backend,
            request.batch,
            request.hints,
            verify=not request.random_weights,
        )
        self.detector = Detector(self.artifact, **self.detector_arguments())
        self.batch = request.batch
        try:
            self._check_batch()
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    def detector_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``Detector`` beside the model, such as JSON can hold."""
        request, hints = self.request, {}
        # An export of ours states everything; a file that came as it is may need the hints.
        if self.artifact == request.path:
            given = request.hints
            hints = {k: getattr(given, k) for k in ("imgsz", "names", "legacy", "architecture")}
        return {
            "backend": request.backend,
            "device": request.device,
            "threads": request.threads,
            "precision": request.precision,
            **hints,
        }

    def run(self, indices: Sequence[int]) -> Outcome:
        """Detect in the pictures of these indices (taken modulo their number), in this order.

        More than ``batch`` of them pass in several calls of the detector; stages are their sums.
        """
        pictures = [self.pictures[i % len(self.pictures)] for i in indices]
        if len(pictures) == 1:
            start = perf_counter()
            found = [self.detector(pictures[0])]
            seconds = perf_counter() - start
            return Outcome(found, _stages(found[0]), seconds)
        found, parts, seconds = [], [], 0.0
        for first in range(0, len(pictures), self.batch):
            part = pictures[first : first + self.batch]
            start = perf_counter()
            found += self.detector.batch(part)
            seconds += perf_counter() - start
            parts.append(_stages(found[-1]))
        return Outcome(found, Stages(*map(math.fsum, zip(*parts, strict=True))), seconds)

    def close(self) -> None:
        """Free the engine's memory."""
        self.detector.close()

    def _check_batch(self) -> None:
        """Refuse a batch that would silently be cut into several calls of the engine."""
        allowed = self.detector.spec.batch
        name = self.request.path.name
        if allowed is not None and self.batch > allowed:
            raise UsageError(
                f"{name} on {self.request.backend} takes {allowed} picture"
                f"{'s' * (allowed > 1)} at once, --batch {self.batch} is more: use an artifact "
                f"exported with --batch {self.batch} or --dynamic, on a backend that has batches"
            )
        if allowed is None and self.batch > LARGEST_CHUNK:
            raise UsageError(
                f"--batch {self.batch}: {name} has a dynamic batch, which Detector serves in "
                f"parts of at most {LARGEST_CHUNK}; export it with a fixed --batch {self.batch}"
            )

    def _describe(self) -> SystemInfo:
        request, spec = self.request, self.detector.spec
        facts = self.detector.runtime.facts()
        row = BACKENDS[request.backend]
        parts = (request.path.stem, request.backend, facts.precision)
        return SystemInfo(
            label=" ".join(parts) + (f" batch {self.batch}" if self.batch > 1 else ""),
            model=request.path.name,
            architecture=spec.architecture,
            random_weights=request.random_weights,
            backend=request.backend,
            engine_version=row.availability().version or "unknown",
            device=self.detector.runtime.device,
            precision=facts.precision,
            asked_precision=self.detector.runtime.precision,
            artifact_precision=spec.precision,
            threads=facts.threads,
            batch=self.batch,
            height=spec.height,
            width=spec.width,
            num_classes=spec.num_classes,
            verification=str((spec.verification or {}).get("status", "not run")),
        )


def _stages(found: Detections) -> Stages:
    """Return the stages of a result's call, on the device's clock where it has one."""
    host = found.seconds
    assert host is not None, "the detector times every call"
    if host.engine is None:
        return Stages(host.letterbox, math.nan, host.inference, math.nan, host.decode, host.nms)
    return Stages(host.letterbox, *host.engine, host.decode, host.nms)
