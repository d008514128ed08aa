"""Detector: pictures in, detections out, on any engine."""

from __future__ import annotations

import contextlib
import operator
import os
import threading
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import UsageError, YoloxDeployError, suggest
from yolox_deploy.pictures.images import ImageLike, as_bgr
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.progress import say
from yolox_deploy.spec import ModelSpec, SpecHints
from yolox_deploy.tasks.decoder import Candidates, Decoder
from yolox_deploy.tasks.detections import Detections
from yolox_deploy.tasks.nms import nms

if TYPE_CHECKING:
    from yolox_deploy.runtimes.base import Runtime

# Thresholds of the original's demo.
SCORE_THRESHOLD = 0.25
IOU_THRESHOLD = 0.45

# Pictures that go through an engine of dynamic batch at once: bounds memory on long lists.
LARGEST_CHUNK = 16


class StageSeconds(NamedTuple):
    """Seconds that the stages of one call took, all its pictures together."""

    letterbox: float
    inference: float
    decode: float
    nms: float


class Detector:
    """Detects objects with one model on one engine.

    ``model`` is an artifact (``.onnx``, ``.xml``, ``.param``, ``.engine``), a checkpoint
    (``.pth``), the name of published weights (``yolox_s``), or ``None`` for the small model of
    digits in this package.  A checkpoint on another backend than ``torch`` is exported and verified
    once, into the cache folder.  An engine is code: open only those you trust.

    ``backend`` is ``auto`` or one of ``yolox_deploy.runtimes.BACKENDS``.  A detection has a
    ``score >= score_threshold``; of two boxes whose IoU is above ``iou_threshold`` the better one
    stays, within a class or, if ``class_agnostic``, over all.  ``max_detections`` bounds their
    number (``None``: no bound), ``classes`` (ids or names) restricts what is looked for.
    ``device``, ``threads`` and ``precision`` are the runtime's.  With ``clip=False`` boxes may
    reach beyond the picture.

    ``imgsz`` (height, width), ``names``, ``legacy``, ``decoded`` and ``architecture`` are for
    models that do not state them, see :class:`~yolox_deploy.spec.SpecHints`.

    Calls from several threads are safe; they run one after another.  For parallel streams give
    each thread a detector of its own and divide the cores with ``threads``.

    >>> with Detector("yolox_s.onnx") as detector:  # doctest: +SKIP
    ...     for found in detector("street.jpg"):
    ...         print(found.name, found.score, found.xyxy)

    Raises :class:`~yolox_deploy.errors.YoloxDeployError` subclasses: ``UsageError`` for arguments,
    ``ArtifactError`` and ``CheckpointError`` for files, ``MissingPackageError`` for engines.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        score_threshold: float = SCORE_THRESHOLD,
        iou_threshold: float = IOU_THRESHOLD,
        class_agnostic: bool = False,
        max_detections: int | None = 300,
        classes: Sequence[int | str] | None = None,
        device: str | None = None,
        threads: int | None = None,
        *,
        precision: str | None = None,
        clip: bool = True,
        imgsz: int | tuple[int, int] | None = None,
        names: Sequence[str] | None = None,
        legacy: bool | None = None,
        decoded: bool | None = None,
        architecture: str | None = None,
    ) -> None:
        for word, value in (("score", score_threshold), ("iou", iou_threshold)):
            if not 0 <= value <= 1:
                raise UsageError(f"{word}_threshold must lie in 0..1, got {value}")
        if max_detections is not None and not (_is_integer(max_detections) and max_detections > 0):
            raise UsageError(f"max_detections must be at least 1 or None, got {max_detections!r}")
        hints = SpecHints(
            None if imgsz is None else as_size(imgsz),
            tuple(names) if names else None,
            legacy,
            decoded,
            architecture,
        )
        self.runtime: Runtime = open_model(
            model, backend, hints, device=device, threads=threads, precision=precision
        )
        for note in self.runtime.notes:
            say(f"note: {note}")
        try:
            self.score_threshold = score_threshold
            self.iou_threshold = iou_threshold
            self.class_agnostic = class_agnostic
            self.max_detections = max_detections
            self.clip = clip
            self._check_thresholds_in_graph()
            self.wanted = self._wanted_classes(classes)
        except UsageError:
            self.runtime.close()
            raise
        spec = self.spec
        self.letterbox = Letterbox(spec.height, spec.width, spec.input)
        self.decoder = Decoder(
            spec.height, spec.width, spec.strides, decoded=spec.output == "decoded"
        )
        self.stage_seconds = StageSeconds(0, 0, 0, 0)
        self._lock = threading.Lock()
        self._buffer = np.empty((1, 3, spec.height, spec.width), np.float32)

    @property
    def spec(self) -> ModelSpec:
        """What the model is: input size and convention, class names, origin, verification."""
        return self.runtime.spec

    @property
    def names(self) -> tuple[str, ...]:
        """The class names; a detection's class id is an index into them."""
        return self.spec.class_names

    @property
    def backend(self) -> str:
        """The backend that runs the model."""
        return self.runtime.name

    def __call__(self, image: ImageLike) -> Detections:
        """Return what is in one picture: a path, a uint8 or uint16 array (BGR), or a PIL image.

        Raises :class:`~yolox_deploy.errors.ImageError` for anything that is no picture.
        """
        (result,) = self._detect([as_bgr(image)])
        return result

    def batch(self, images: Iterable[ImageLike]) -> list[Detections]:
        """Return what is in each of several pictures, which may differ in size."""
        chunk_size = self.spec.batch or LARGEST_CHUNK
        results: list[Detections] = []
        chunk: list[NDArray[np.uint8]] = []
        for image in images:
            chunk.append(as_bgr(image))
            if len(chunk) == chunk_size:
                results += self._detect(chunk)
                chunk = []
        return results + (self._detect(chunk) if chunk else [])

    def close(self) -> None:
        """Free the engine's memory; calling it twice is fine."""
        with self._lock:
            self.runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # An error on the way says more than what closing may still raise.
        with contextlib.suppress(*(() if error is None else (YoloxDeployError,))):
            self.close()

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"Detector({str(self.runtime.path)!r}, backend={self.backend!r}, "
            f"{spec.height}x{spec.width}, {spec.num_classes} classes)"
        )

    def _detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        with self._lock:
            start = perf_counter()
            if len(self._buffer) < len(images):
                self._buffer = np.empty((len(images), *self._buffer.shape[1:]), np.float32)
            tensor = self._buffer[: len(images)]
            ratios = [self.letterbox(image, out) for image, out in zip(images, tensor, strict=True)]
            prepared = perf_counter()
            output = self.runtime.infer(tensor)
            inferred = perf_counter()
            if self.spec.output == "detections":
                candidates = _split_detections(output, len(images))
            else:
                candidates = [self.decoder.candidates(o, self.score_threshold) for o in output]
            decoded = perf_counter()
            results = [
                self._finish(c, ratio, image.shape[:2])
                for c, ratio, image in zip(candidates, ratios, images, strict=True)
            ]
            self.stage_seconds = StageSeconds(
                prepared - start, inferred - prepared, decoded - inferred, perf_counter() - decoded
            )
        return results

    def _finish(
        self, candidates: Candidates, ratio: float, image_size: tuple[int, int]
    ) -> Detections:
        """Filter by class, suppress, bound, and return boxes in pixels of the picture."""
        xyxy, scores, class_ids = candidates
        if self.wanted is not None:
            mask = self.wanted[class_ids]
            xyxy, scores, class_ids = xyxy[mask], scores[mask], class_ids[mask]
        if self.spec.output == "detections":
            kept = np.flatnonzero(scores >= self.score_threshold)
            kept = kept[np.argsort(-scores[kept], kind="stable")]
        else:
            kept = nms(
                xyxy, scores, class_ids, self.iou_threshold, class_agnostic=self.class_agnostic
            )
        kept = kept[: self.max_detections]
        boxes = xyxy[kept] / np.float32(ratio)
        if self.clip:
            height, width = image_size
            np.clip(boxes[:, 0::2], 0, width, out=boxes[:, 0::2])
            np.clip(boxes[:, 1::2], 0, height, out=boxes[:, 1::2])
        return Detections(boxes, scores[kept], class_ids[kept], self.names, image_size)

    def _check_thresholds_in_graph(self) -> None:
        """Refuse thresholds that an artifact with NMS in its graph cannot serve."""
        spec = self.spec
        if spec.output != "detections":
            return
        problems = []
        if spec.score_threshold is not None and self.score_threshold < spec.score_threshold:
            problems.append(f"score_threshold {self.score_threshold} < {spec.score_threshold}")
        if spec.iou_threshold is not None and self.iou_threshold != spec.iou_threshold:
            problems.append(f"iou_threshold {self.iou_threshold}, not {spec.iou_threshold}")
        if self.class_agnostic:
            problems.append("class_agnostic, not per class")
        if problems:
            raise UsageError(
                f"{spec.name} has its NMS in the graph, which fixes the thresholds: "
                f"{'; '.join(problems)}; export again without --nms to choose freely"
            )

    def _wanted_classes(self, classes: Sequence[int | str] | None) -> NDArray[np.bool_] | None:
        """Return a mask over class ids, ``None`` for all of them."""
        if classes is None:
            return None
        wanted = np.zeros(self.spec.num_classes, bool)
        for item in classes:
            if isinstance(item, str):
                if item not in self.names:
                    raise UsageError(f"the model has no class {item!r}" + suggest(item, self.names))
                wanted[self.names.index(item)] = True
            elif _is_integer(item) and 0 <= item < len(wanted):
                wanted[item] = True
            else:
                raise UsageError(f"class id {item!r} is not in 0..{len(wanted) - 1}")
        return wanted


def _split_detections(output: NDArray[np.float32], count: int) -> list[Candidates]:
    """Return per picture the rows (picture, x1, y1, x2, y2, score, class) of graph NMS."""
    pictures = output[:, 0]
    return [
        Candidates(rows[:, 1:5], rows[:, 5], rows[:, 6].astype(np.int64))
        for rows in (output[pictures == i] for i in range(count))
    ]


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def as_size(imgsz: int | Sequence[int]) -> tuple[int, int]:
    """Return one side, or height and width, as (height, width); raises :class:`UsageError`."""
    try:
        sides = [operator.index(side) for side in np.atleast_1d(np.asarray(imgsz))]
    except (TypeError, ValueError) as error:
        raise UsageError(f"imgsz must be one or two integers, got {imgsz!r}") from error
    if len(sides) not in (1, 2):
        raise UsageError(f"imgsz is one side, or height and width, got {imgsz!r}")
    return sides[0], sides[-1]


def open_model(
    model: str | os.PathLike[str] | None = None,
    backend: str = "auto",
    hints: SpecHints = SpecHints(),  # noqa: B008 (frozen)
    *,
    device: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Runtime:
    """Open an artifact, a checkpoint or published weights; arguments as for :class:`Detector`."""
    from yolox_deploy import runtimes
    from yolox_deploy.weights import find_model

    if backend != "auto":
        runtimes.backend(backend)
    path = find_model(model)
    if path.suffix.lower() in runtimes.CHECKPOINT_SUFFIXES and backend != "torch":
        from yolox_deploy.weights import exported_once

        path = exported_once(path, backend, hints)
        if path.suffix.lower() not in runtimes.CHECKPOINT_SUFFIXES:
            hints = SpecHints()
    row = runtimes.backend_for(path, backend)
    return row.runtime_class()(
        path, device=device, threads=threads, precision=precision, hints=hints
    )
