"""Detector: pictures in, detections out, on any engine."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, cast, overload

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ImageError, ModelWarning, UsageError, YoloxDeployError, number_of
from yolox_deploy.mapping.pipeline import Pipeline
from yolox_deploy.mapping.streams import LARGEST_CHUNK, Streams
from yolox_deploy.mapping.threads import in_chunks, in_threads
from yolox_deploy.mapping.tiles import OVERLAP, Tiles, TileSize, Tiling
from yolox_deploy.opening.models import open_model
from yolox_deploy.pictures.images import MAX_PIXELS, ImageLike, as_bgr, is_one_picture
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.postprocess import (
    IOU_THRESHOLD,
    SCORE_THRESHOLD,
    Postprocess,
    Thresholds,
    usual_score,
)
from yolox_deploy.runtimes import Runtime
from yolox_deploy.sources import DetectedFrame, Source, as_sources, detect_frames
from yolox_deploy.spec import LARGEST_BATCH, ModelSpec, SpecHints, as_size
from yolox_deploy.tasks import Detections
from yolox_deploy.tasks.classes import Classes, as_list, is_integer
from yolox_deploy.verification.again import prove_opened


class Detector:
    """Detects objects with one model on one engine.

    ``model`` is an artifact (``.onnx``, ``.xml``, ``.param``, ``.engine``), a checkpoint
    (``.pth``), the name of published weights (``yolox_s``), or ``None`` for the small model of
    digits in this package.  A checkpoint on another backend than ``torch`` is exported and verified
    once, into the cache folder.  An engine is code: open only those you trust.  The ``plan.json``
    of ``yolox-plan`` names an artifact, and backend, precision and threads that were chosen for it.

    ``backend`` is ``auto`` or one of ``yolox_deploy.runtimes.BACKENDS``.  A detection has a
    ``score >= score_threshold`` (``None``: that which the model's file suggests, otherwise 0.25);
    of two boxes whose IoU is above ``iou_threshold`` the better one stays, within a class or, if
    ``class_agnostic``, over all.  ``max_detections`` bounds their number (``None``: no bound).
    ``classes`` (a name, an id, or a list of them) restricts what is looked for.  With
    ``clip=False`` boxes may reach beyond the picture.  A file of more than ``max_pixels`` is
    refused before it is decoded (``None``: no bound).  ``device``, ``threads``, ``precision`` and
    ``settings`` (such as ``{"cuda_binding": "pycuda"}``) are the runtime's.  The precision
    ``fastest-proven`` is the fastest one in which the artifact was verified, see
    :func:`~yolox_deploy.opening.models.open_model`.

    ``imgsz`` (height, width), ``names``, ``legacy``, ``decoded`` and ``architecture`` are for
    models that do not state them, see :class:`~yolox_deploy.spec.SpecHints`.

    Calls from several threads are safe; they run one after another.  For parallel streams give
    each thread a detector of its own and divide the cores with ``threads``.

    With ``verify=True`` the model is first proven with the evidence that it carries, as it runs
    here; one that fails raises :class:`~yolox_deploy.errors.VerificationError`.

    What a user should know of an opened model is a :class:`~yolox_deploy.errors.ModelWarning`.

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
        score_threshold: float | None = None,
        iou_threshold: float = IOU_THRESHOLD,
        class_agnostic: bool = False,
        max_detections: int | None = 300,
        classes: Classes | None = None,
        device: str | int | None = None,
        threads: int | None = None,
        *,
        precision: str | None = None,
        settings: Mapping[str, str] | None = None,
        clip: bool = True,
        max_pixels: int | None = MAX_PIXELS,
        imgsz: int | tuple[int, int] | None = None,
        names: str | Sequence[str] | None = None,
        legacy: bool | None = None,
        decoded: bool | None = None,
        architecture: str | None = None,
        verify: bool = False,
    ) -> None:
        score = SCORE_THRESHOLD if score_threshold is None else score_threshold
        thresholds = Thresholds(score, iou_threshold, class_agnostic, max_detections, clip)
        if max_pixels is not None and not (is_integer(max_pixels) and max_pixels > 0):
            raise UsageError(f"max_pixels must be at least 1 or None, got {max_pixels!r}")
        self.max_pixels = max_pixels
        wanted = as_list(classes)
        hints = SpecHints(
            None if imgsz is None else as_size(imgsz),
            (names,) if isinstance(names, str) else tuple(names or ()) or None,
            legacy,
            decoded,
            architecture,
        )
        self.runtime: Runtime = open_model(
            model,
            backend,
            hints,
            device=device,
            threads=threads,
            precision=precision,
            settings=settings,
        )
        for note in self.runtime.notes:
            warnings.warn(note, ModelWarning, stacklevel=2)
        spec = self.spec
        if score_threshold is None:
            thresholds = replace(thresholds, score=usual_score(spec))
        self.classes = wanted
        try:
            if verify:
                prove_opened(self.runtime)
            self.postprocess = Postprocess(spec, thresholds, wanted)
        except YoloxDeployError:
            self.runtime.close()
            raise
        self.letterbox = Letterbox(spec.height, spec.width, spec.input)
        self._others: dict[Thresholds, Postprocess] = {}
        self._lock = threading.Lock()
        self._pipeline = Pipeline(self.runtime, self.letterbox, threading.Lock())
        self._tiles = Tiles(self._pipeline)

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

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that hold unless a call brings its own."""
        return self.postprocess.thresholds

    def __call__(self, image: ImageLike, thresholds: Thresholds | None = None) -> Detections:
        """Return what is in one picture: a path, a uint8 or uint16 array (BGR), or a PIL image.

        ``thresholds`` are for this call only (``None``: those of the detector).

        Raises :class:`~yolox_deploy.errors.ImageError` for anything that is no picture.
        """
        _check_thresholds(thresholds)
        (result,) = self._detect([as_bgr(image, self.max_pixels)], thresholds)
        return result

    def batch(
        self, images: ImageLike | Iterable[ImageLike], thresholds: Thresholds | None = None
    ) -> list[Detections]:
        """Return what is in each of several pictures, which may differ in size.

        ``images`` is any iterable of what a call of the detector takes, or an array (N, h, w, 3).
        One picture gives a list of one result.

        >>> results = detector.batch(["dog.jpg", array])  # doctest: +SKIP
        >>> (result,) = detector.batch("dog.jpg")  # doctest: +SKIP

        Raises :class:`~yolox_deploy.errors.ImageError` for anything that is no picture, with its
        place in ``images``.
        """
        _check_thresholds(thresholds)
        if is_one_picture(images):
            return [self(cast("ImageLike", images), thresholds)]
        pictures = cast("Iterable[ImageLike]", images)
        results: list[Detections] = []
        for chunk in in_chunks(pictures, self.spec.batch or LARGEST_CHUNK):
            results += self._detect([self._numbered(*picture) for picture in chunk], thresholds)
        return results

    @overload
    def map(
        self,
        pictures: Iterable[ImageLike],
        *,
        batch: int | None = ...,
        streams: int | None = ...,
        ordered: Literal[True] = ...,
        thresholds: Thresholds | None = ...,
    ) -> Generator[Detections, None, None]: ...

    @overload
    def map(
        self,
        pictures: Iterable[ImageLike],
        *,
        batch: int | None = ...,
        streams: int | None = ...,
        ordered: Literal[False],
        thresholds: Thresholds | None = ...,
    ) -> Generator[tuple[int, Detections], None, None]: ...

    def map(
        self,
        pictures: Iterable[ImageLike],
        *,
        batch: int | None = None,
        streams: int | None = None,
        ordered: bool = True,
        thresholds: Thresholds | None = None,
    ) -> Generator[Any, None, None]:
        """Yield what is in each of many pictures, several of which are detected at once.

        ``pictures`` is any iterable; it is read as results are taken, a few pictures ahead, so that
        the memory stays bounded.  Leave an array as it is until its result has come.  Paths are
        read by the threads that detect.  Results come in order, or, with ``ordered=False``, as
        pairs of the picture's place (from 0) and its result, whichever is there first.

        ``streams`` is the number of times the model is opened, which divide the engine's threads
        (default: one stream per thread, at most 8; one on a GPU and with PyTorch); ``batch`` the
        number of pictures per inference call (default: the artifact's own, else 1).  Closing the
        generator early ends the threads.

        >>> for found in detector.map(sorted(Path("photos").glob("*.jpg"))):  # doctest: +SKIP
        ...     print(len(found))

        Raises :class:`~yolox_deploy.errors.ImageError` for anything that is no picture, with its
        place in ``pictures``, when it is that picture's turn.
        """
        _check_thresholds(thresholds)
        for word, value, most in (("batch", batch, LARGEST_BATCH), ("streams", streams, 64)):
            if value is not None and not (is_integer(value) and 1 <= value <= most):
                raise UsageError(f"{word} must lie in 1..{most}, got {value!r}")
        if is_one_picture(pictures):
            raise UsageError("detector.map takes several pictures: for one call detector(picture)")
        size = batch or self.spec.batch or 1
        return self._map(in_chunks(pictures, size), streams, ordered, thresholds)

    def _map(
        self,
        chunks: Iterable[list[tuple[int, ImageLike]]],
        streams: int | None,
        ordered: bool,
        thresholds: Thresholds | None,
    ) -> Generator[Any, None, None]:
        opened = Streams(self._pipeline, streams)
        postprocess = self._postprocess_for(thresholds)

        def work(chunk: list[tuple[int, ImageLike]]) -> list[tuple[int, Detections]]:
            images = [self._numbered(*picture) for picture in chunk]
            numbers = (index for index, _ in chunk)
            return list(zip(numbers, opened(images, postprocess), strict=True))

        with contextlib.closing(opened):
            for results in in_threads(work, chunks, opened.workers, ordered=ordered):
                yield from (result if ordered else (index, result) for index, result in results)

    def _numbered(self, index: int, image: ImageLike) -> NDArray[np.uint8]:
        """Return one of several pictures; an error says which."""
        try:
            return as_bgr(image, self.max_pixels)
        except ImageError as error:
            raise ImageError(f"picture {index} (counted from 0): {error}") from error

    def tiled(
        self,
        image: ImageLike,
        tile: TileSize = True,
        overlap: float = OVERLAP,
        thresholds: Thresholds | None = None,
    ) -> Detections:
        """Return what is in a large picture, looked at as a whole and in overlapping tiles.

        ``tile`` is the side of a tile in pixels of the picture, or its height and width (``True``:
        those of the model's input, so that no pixel is lost); ``overlap`` the share of a tile, 0 to
        0.99, that it has in common with its neighbour at least.  What lies on a seam is found
        once, see :mod:`yolox_deploy.tasks.merging`.  Tiles are detected in batches if the model has
        any, and several at once, as by :meth:`map`; a picture no larger than a tile is detected
        as a call of the detector does.  The times in the result are summed over all tiles.

        >>> found = detector.tiled("aerial.jpg", tile=640, overlap=0.2)  # doctest: +SKIP

        Raises :class:`UsageError` for values out of range, and for more than 10,000 tiles.
        """
        _check_thresholds(thresholds)
        tiling = Tiling(tile, overlap)
        return self._tiled(as_bgr(image, self.max_pixels), tiling, thresholds)

    def stream(
        self,
        source: str | os.PathLike[str] | int | Source | Iterable[ImageLike],
        *,
        live: bool = False,
        fps: float | None = None,
        tile: TileSize | None = None,
        overlap: float = OVERLAP,
        thresholds: Thresholds | None = None,
    ) -> Generator[DetectedFrame, None, None]:
        """Yield what is in each frame of a video, a camera, a stream, or pictures, in order.

        ``source`` is a path, a folder, a pattern, the number of a camera, an address (``rtsp://``,
        ``http://``), an iterable of pictures, or a :class:`~yolox_deploy.sources.Source`.  Frames
        are read, detected and given at the same time; a few are in memory at any time.

        With ``live`` each result is that of the newest frame: frames that arrive during a detection
        are dropped, and counted in ``frame.dropped``; ``frame.age`` is the time since it arrived.
        ``fps`` is the rate of pictures that have no times.  With ``tile``, or ``tile=True``, frames
        are divided as by :meth:`tiled`.

        >>> for frame in detector.stream("street.mp4"):  # doctest: +SKIP
        ...     print(frame.index, frame.time, len(frame.detections))

        Raises :class:`UsageError` for what is no source, :class:`SourceError` and
        :class:`ImageError` for what cannot be read.
        """
        _check_thresholds(thresholds)
        sources = as_sources(source, fps=fps, max_pixels=self.max_pixels)
        if tile is None or tile is False:
            return detect_frames(sources, lambda i: self._detect([i], thresholds)[0], live=live)
        tiling = Tiling(tile, overlap)
        return detect_frames(sources, lambda i: self._tiled(i, tiling, thresholds), live=live)

    def close(self) -> None:
        """Free the engine's memory; calling it twice is fine."""
        with self._lock:
            self._tiles.close()
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
            f"{spec.height}x{spec.width}, {number_of(spec.num_classes, 'class', 'classes')})"
        )

    def _detect(
        self, images: Sequence[NDArray[np.uint8]], thresholds: Thresholds | None
    ) -> list[Detections]:
        postprocess = self._postprocess_for(thresholds)
        with self._lock:
            return self._pipeline(images, postprocess)

    def _tiled(
        self, image: NDArray[np.uint8], tiling: Tiling, thresholds: Thresholds | None
    ) -> Detections:
        postprocess = self._postprocess_for(thresholds)
        of_view = self._postprocess_for(replace(postprocess.thresholds, clip=False))
        with self._lock:
            return self._tiles(image, tiling, postprocess, of_view)

    def _postprocess_for(self, thresholds: Thresholds | None) -> Postprocess:
        if thresholds is None or thresholds == self.thresholds:
            return self.postprocess
        if thresholds not in self._others:
            self._others[thresholds] = Postprocess(self.spec, thresholds, self.classes)
        return self._others[thresholds]


def _check_thresholds(thresholds: object) -> None:
    if thresholds is None or isinstance(thresholds, Thresholds):
        return
    if isinstance(thresholds, (str, os.PathLike, np.ndarray)):
        raise UsageError("the detector takes one picture; for several use detector.batch([...])")
    raise UsageError(
        "thresholds are an object such as yolox_deploy.postprocess.Thresholds(score=0.5), "
        f"got {thresholds!r}"
    )
