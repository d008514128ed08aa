"""A system under test: a detector, opened as requested, with its pictures in memory.

Every scenario calls the same object, so the figures of different scenarios can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.detector import Detector
from yolox_deploy.errors import UsageError
from yolox_deploy.export.cache import exported
from yolox_deploy.mapping.streams import LARGEST_CHUNK
from yolox_deploy.postprocess import EVALUATION, Thresholds
from yolox_deploy.records import Record, Side
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.spec import SpecHints
from yolox_deploy.tasks import Detections
from yolox_deploy.tasks.proof import verdict_in

# A picture in memory, (h, w, 3) BGR.
ImageArray = NDArray[np.uint8]


class Stages(NamedTuple):
    """Seconds of one call by stage; the copies are NaN for an engine that copies nothing (CPU)."""

    letterbox: float
    copy_in: float
    inference: float
    copy_out: float
    decode: float
    nms: float


class Outcome(NamedTuple):
    """What one call gave: detections per picture, seconds by stage, and seconds of all."""

    detections: list[Detections]
    stages: Stages
    seconds: float


@dataclass(frozen=True)
class SystemRequest:
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
    # Why it is not measured, if the user did not name it.
    left_out: str = ""

    @property
    def name(self) -> str:
        """The name of the model's file, without what the backend stands for already."""
        return self.path.stem.removesuffix(f".{self.backend}")

    @property
    def text(self) -> str:
        """The request in a few words, for progress and errors."""
        size = "x".join(map(str, self.hints.imgsz or ()))
        return " ".join(filter(None, (self.name, size, self.backend, self.precision)))


@dataclass(frozen=True)
class SystemInfo(Record):
    """What was measured, as a report stores it.

    ``precision`` and ``threads`` are what the engine says it uses; ``asked_precision`` is what it
    was asked for, ``artifact_precision`` that of the file.
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
    batch: Side
    height: Side
    width: Side
    num_classes: Side
    verification: str

    def cells(self) -> dict[str, str]:
        """Return the row of a report's table by the names of its columns."""
        return {
            "system": self.label,
            "model": self.model + (" (random weights)" if self.random_weights else ""),
            "input": f"{self.height}x{self.width}",
            "batch": str(self.batch),
            "engine": f"{self.backend} {self.engine_version}",
            "device": self.device,
            "precision used": self.precision,
            "asked for": self.asked_precision,
            "of the file": self.artifact_precision,
            "threads": str(self.threads or "-"),
            "verification": self.verification,
        }


class TimedDetector:
    """A detector and its pictures, as the measuring loop calls them."""

    def __init__(self, detector: Any, pictures: Sequence[ImageArray], batch: int = 1) -> None:
        if not pictures:
            raise UsageError("nothing to measure with: no picture")
        self.detector = detector
        self.pictures = list(pictures)
        self.batch = batch

    def thresholds(self, *, for_ap: bool = False) -> Thresholds:
        """Return the detector's thresholds, or those that AP is computed with.

        A model with its NMS in the graph has only the thresholds of that.
        """
        in_graph = self.detector.spec.output == "detections"
        own: Thresholds = self.detector.thresholds
        return EVALUATION if for_ap and not in_graph else own

    def detect(
        self, pictures: Sequence[ImageArray], thresholds: Thresholds | None = None
    ) -> list[Detections]:
        """Call the detector once."""
        if len(pictures) == 1:
            return [self.detector(pictures[0], thresholds)]
        found: list[Detections] = self.detector.batch(pictures, thresholds)
        return found

    def run(self, indices: Sequence[int]) -> Outcome:
        """Detect in the pictures of these indices (taken modulo their number), in this order.

        More than ``batch`` pictures take several calls of the detector, whose stages are summed.
        """
        pictures = [self.pictures[i % len(self.pictures)] for i in indices]
        found, parts, seconds = [], [], 0.0
        for first in range(0, len(pictures), self.batch):
            part = pictures[first : first + self.batch]
            start = perf_counter()
            found += self.detect(part)
            seconds += perf_counter() - start
            parts.append(_stages(found[-1]))
        return Outcome(found, Stages(*map(math.fsum, zip(*parts, strict=True))), seconds)


def _stages(found: Detections) -> Stages:
    """Return the stages of a result's call, by the device's clock if it has one."""
    host = found.seconds
    assert host is not None, "the detector times every call"
    engine = host.engine or (math.nan, host.inference, math.nan)
    return Stages(host.letterbox, *engine, host.decode, host.nms)


class System(TimedDetector):
    """A detector that was opened as requested; ``pictures`` are (h, w, 3) uint8 BGR."""

    def __init__(self, request: SystemRequest, pictures: Sequence[ImageArray]) -> None:
        self.request = request
        verify = not request.random_weights
        # For exactly this batch: who needs low latency deploys such a file.
        self.artifact = exported(
            request.path, request.backend, request.hints, batch=request.batch, verify=verify
        )
        super().__init__(None, pictures, request.batch)
        self.detector = Detector(self.artifact, **self.detector_arguments())
        try:
            self._check_batch()
            self.info = self._describe()
        except BaseException:
            self.close()
            raise

    def detector_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``Detector`` beside the model, as JSON can hold them."""
        request = self.request
        # An export of ours states everything; any other file may need the hints.
        hints = asdict(request.hints) if self.artifact == request.path else {}
        fields = ("backend", "device", "threads", "precision")
        return {**{name: getattr(request, name) for name in fields}, **hints}

    def close(self) -> None:
        """Free the engine's memory."""
        self.detector.close()

    def _check_batch(self) -> None:
        """Refuse a batch that ``Detector`` would divide into several calls of the engine."""
        allowed, name = self.detector.spec.batch, self.request.path.name
        if self.batch <= (allowed or LARGEST_CHUNK):
            return
        if allowed is None:
            raise UsageError(
                f"--batch {self.batch}: {name} has a dynamic batch, which Detector serves in "
                f"parts of at most {LARGEST_CHUNK}; export it with a fixed --batch {self.batch}"
            )
        raise UsageError(
            f"{name} on {self.request.backend} takes {allowed} picture{'s' * (allowed > 1)} at "
            f"once, --batch {self.batch} is more: use an artifact exported with --batch "
            f"{self.batch} or --dynamic, on a backend that has batches"
        )

    def _describe(self) -> SystemInfo:
        request, spec, runtime = self.request, self.detector.spec, self.detector.runtime
        facts = runtime.facts()
        parts = (request.name, request.backend, facts.precision)
        return SystemInfo(
            label=" ".join(parts) + (f" batch {self.batch}" if self.batch > 1 else ""),
            model=request.path.name,
            architecture=spec.architecture,
            random_weights=request.random_weights,
            backend=request.backend,
            engine_version=BACKENDS[request.backend].availability().version or "unknown",
            device=runtime.device,
            precision=facts.precision,
            asked_precision=runtime.precision,
            artifact_precision=spec.precision,
            threads=facts.threads,
            batch=self.batch,
            height=spec.height,
            width=spec.width,
            num_classes=spec.num_classes,
            verification=verdict_in(spec, facts.precision, runtime.name),
        )
