"""Evidence: what an artifact carries so that it can be proven again without its checkpoint.

A few pictures, and for each of them what the checkpoint was given (some pixels of its input) and
what it returned (some raw rows, and the detections).  The drawn pictures of this package are named
by their SHA-256; a user's pictures are enclosed, compressed.  Everything lies in the spec as JSON,
arrays as base64 of little-endian numbers, so it travels in every format and under the spec's seal.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ArtifactError, number_of
from yolox_deploy.files import ASSETS, sha256_of
from yolox_deploy.pictures.convention import InputConvention
from yolox_deploy.pictures.images import decode_image, find_images
from yolox_deploy.spec import ModelSpec, convention_of
from yolox_deploy.tasks import Candidates, task_of
from yolox_deploy.verification.compare import Array, Judge

EVIDENCE_VERSION = 1
# How many of a user's pictures are enclosed, and their size together.
ENCLOSED, ENCLOSED_BYTES = 5, 200_000
# A picture with more detections is enclosed only where there is no other: crowds have ties.
CROWD = 20
# Pictures are shrunk to this many times the input's size, and further until they are small enough.
SCALES, QUALITIES = (1.5, 1.0, 0.7, 0.5, 0.35, 0.25), (90, 75)
# Bounds for what is written: raw numbers in all pictures, rows and detections per picture.
MOST_NUMBERS, MOST_ROWS, FEWEST_ROWS, MOST_DETECTIONS = 12_000, 24, 2, 100
# Bounds for what is read.
MOST_PICTURES, MOST_PIXELS = 16, 1 << 24
# The input is sampled on a grid of so many points per side.
GRID = 8
# Half of the sampled rows have at least this score, if there are such.
STRONG = 0.01
SHA256 = re.compile(r"[0-9a-f]{64}")
FLOAT, INTEGER = "<f4", "<i4"


class Picture(NamedTuple):
    """A picture of the evidence: its name, its file's SHA-256, and the file if it is enclosed."""

    name: str
    sha256: str
    content: bytes | None = None

    def found(self) -> bool:
        """Whether the picture is enclosed, or in this package."""
        return bool(self._content())

    def decoded(self) -> NDArray[np.uint8]:
        """Return the picture, (h, w, 3) uint8 BGR.

        Raises :class:`~yolox_deploy.errors.ImageError` if it is not here or cannot be decoded.
        """
        return decode_image(self._content(), self.name, MOST_PIXELS)

    def _content(self) -> bytes:
        if self.content is not None:
            return self.content
        own = (path for path in sorted(ASSETS.glob("*.jpg")) if sha256_of(path) == self.sha256)
        return next((path.read_bytes() for path in own), b"")


@dataclass(frozen=True)
class Witness:
    """What the checkpoint was given and returned for one picture.

    ``pixels`` are the input's values at :func:`grid_of`, (GRID * GRID, 3) float32; ``values`` the
    raw output's rows (R, width) of the indices ``rows``; ``found`` the detections in input pixels,
    best first.
    """

    picture: Picture
    pixels: Array
    rows: NDArray[np.int64]
    values: Array
    found: Candidates


@dataclass(frozen=True)
class Evidence:
    """What is known of the checkpoint: its input's convention, two thresholds, and the witnesses.

    The witnesses' detections have at least ``score_threshold``, which is that of the artifact or,
    where it finds very much, a higher one.
    """

    input: InputConvention
    score_threshold: float
    iou_threshold: float
    witnesses: tuple[Witness, ...]

    @property
    def detections(self) -> int:
        """The number of detections in all pictures."""
        return sum(len(witness.found) for witness in self.witnesses)

    def summary(self) -> str:
        """Return in words what there is."""
        enclosed = sum(len(w.picture.content or b"") for w in self.witnesses)
        pictures = f"enclosed, {enclosed / 1000:.0f} kB" if enclosed else "drawn"
        rows = sum(len(w.rows) for w in self.witnesses)
        return (
            f"{number_of(len(self.witnesses), 'picture')} ({pictures}) with "
            f"{number_of(self.detections, 'detection')} of the checkpoint, and "
            f"{number_of(rows, 'candidate box', 'candidate boxes')} of its output before NMS"
        )

    def record(self, spec: ModelSpec) -> dict[str, Any]:
        """Return what the spec keeps."""
        pictures = []
        for picture, pixels, rows, values, found in (
            (w.picture, w.pixels, w.rows, w.values, w.found) for w in self.witnesses
        ):
            entry = {"name": picture.name, "sha256": picture.sha256}
            if picture.content is not None:
                entry["content"] = base64.b64encode(picture.content).decode()
            entry |= {"pixels": _packed(pixels, FLOAT), "rows": _packed(rows, INTEGER)}
            entry |= {"values": _packed(values, FLOAT)}
            pictures.append(entry | {"found": _packed(_as_graph_rows(found, spec), FLOAT)})
        return {
            "version": EVIDENCE_VERSION,
            "input": json.loads(json.dumps(asdict(self.input))),
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "pictures": pictures,
        }

    @classmethod
    def of(cls, spec: ModelSpec) -> Evidence | None:
        """Return the evidence that a spec carries, ``None`` if it carries none.

        Raises :class:`ArtifactError` for what is damaged, or was written by a newer version.
        """
        stored = spec.evidence
        if stored is None:
            return None
        try:
            if stored["version"] > EVIDENCE_VERSION:
                raise ArtifactError(
                    f"{spec.name}: its evidence has version {stored['version']}, this yolox_deploy "
                    f"reads up to {EVIDENCE_VERSION}: pip install --upgrade yolox-deploy"
                )
            score, iou = (float(stored[f"{name}_threshold"]) for name in ("score", "iou"))
            entries = stored["pictures"]
            if not (0 <= score <= 1 and 0 <= iou <= 1 and 0 < len(entries) <= MOST_PICTURES):
                raise ValueError(f"{len(entries)} pictures, thresholds {score} and {iou}")
            witnesses = tuple(_witness(entry, spec) for entry in entries)
            return cls(convention_of(stored["input"]), score, iou, witnesses)
        except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
            raise ArtifactError(
                f"{spec.name}: its evidence is damaged ({type(error).__name__}: {error}): export "
                "the checkpoint again"
            ) from error


def gather(spec: ModelSpec, pictures: Sequence[Picture], inputs: Array, outputs: Array) -> Evidence:
    """Return evidence of the checkpoint's raw ``outputs`` (N, A, width) for ``inputs``."""
    task = task_of(spec)
    judge, decoded, found = _found(spec, outputs)
    threshold = judge.thresholds.score
    for one in found:
        if len(one) > MOST_DETECTIONS:
            threshold = max(threshold, float(np.nextafter(one.scores[MOST_DETECTIONS], 2)))
    count = MOST_NUMBERS // (len(pictures) * outputs.shape[2])
    rows = [
        _chosen(task.scores(one, spec).max(-1), spec, min(max(count, FEWEST_ROWS), MOST_ROWS))
        for one in decoded
    ]
    ys, xs = grid_of(spec.height, spec.width)
    witnesses = (
        Witness(
            picture,
            np.ascontiguousarray(inputs[i][:, ys, xs].T),
            rows[i],
            outputs[i][rows[i]],
            found[i][found[i].scores >= threshold],
        )
        for i, picture in enumerate(pictures)
    )
    return Evidence(spec.input, threshold, judge.thresholds.iou, tuple(witnesses))


def drawn() -> list[Picture]:
    """Return the pictures that ship with this package, in the order in which they are verified."""
    return [Picture(path.name, sha256_of(path)) for path in find_images([ASSETS])]


def handful(spec: ModelSpec, outputs: Array) -> list[int]:
    """Return which pictures to enclose, by the checkpoint's raw outputs: those that show most."""
    counts = [len(found) for found in _found(spec, outputs)[2]]
    order = sorted(range(len(counts)), key=lambda i: (counts[i] > CROWD, -counts[i], i))
    return sorted(order[:ENCLOSED])


def enclosed(image: NDArray[np.uint8], spec: ModelSpec, number: int) -> Picture:
    """Return a picture (h, w, 3) uint8 BGR, shrunk and compressed so that a handful is small."""
    content = b""
    for scale, quality in ((scale, quality) for scale in SCALES for quality in QUALITIES):
        ratio = scale * min(spec.height / image.shape[0], spec.width / image.shape[1])
        size = [max(1, round(side * min(ratio, 1))) for side in image.shape[1::-1]]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        content = encoded.tobytes()
        if len(content) <= ENCLOSED_BYTES // ENCLOSED:
            break
    return Picture(f"enclosed_{number}.jpg", hashlib.sha256(content).hexdigest(), content)


def grid_of(height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and the columns of the input's pixels that are sampled."""
    ys, xs = ((2 * np.arange(GRID) + 1) * side // (2 * GRID) for side in (height, width))
    return np.repeat(ys, GRID), np.tile(xs, GRID)


def _found(spec: ModelSpec, outputs: Array) -> tuple[Judge, Array, list[Candidates]]:
    """Return the judge of the artifact's thresholds, the decoded outputs, and what is detected."""
    task = task_of(spec)
    judge = Judge(spec, next(iter(task.tolerances.values())))
    decoded = task.decoder(replace(judge.decoded.spec, output="raw")).decode(outputs)
    return judge, decoded, judge.detections(decoded)


def _chosen(scores: Array, spec: ModelSpec, count: int) -> NDArray[np.int64]:
    """Return ``count`` rows: half of them strong ones, the others from all levels alike."""
    order = np.argsort(-scores, kind="stable")
    strong = order[: int((scores >= STRONG).sum())]
    picked = (
        [strong[np.linspace(0, len(strong) - 1, count // 2).astype(int)]] if len(strong) else []
    )
    start = 0
    for stride in spec.strides:
        end = start + (spec.height // stride) * (spec.width // stride)
        share = max(1, count // (2 * len(spec.strides)))
        # Not from end to end: a level's corners see the border of the picture alone.
        picked.append(np.linspace(start, end - 1, share + 2)[1:-1].astype(int))
        start = end
    return np.unique(np.concatenate(picked)).astype(np.int64)


def _as_graph_rows(found: Candidates, spec: ModelSpec) -> Array:
    """Return candidates as the rows that a suppression in the graph would give."""
    columns = task_of(spec).graph_columns(spec)
    rows = np.zeros((len(found), max(part.stop for part in columns.values())), np.float32)
    known: dict[str, NDArray[Any]] = {
        "xyxy": found.xyxy,
        "score": found.scores,
        "class_id": found.class_ids,
        **found.arrays,
    }
    for name, values in known.items():
        rows[:, columns[name]] = values.reshape(rows[:, columns[name]].shape)
    return rows


def _witness(entry: Mapping[str, Any], spec: ModelSpec) -> Witness:
    task = task_of(spec)
    name, digest, content = entry["name"], entry["sha256"], entry.get("content")
    if not isinstance(name, str) or not SHA256.fullmatch(digest):
        raise ValueError(f"a picture {name!r:.60} of SHA-256 {digest!r:.60}")
    if content is not None:
        if len(content) > 2 * ENCLOSED_BYTES:
            raise ValueError(f"a picture of {len(content)} bytes")
        content = base64.b64decode(content, validate=True)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"the picture {name} has another SHA-256")
    most = MOST_ROWS + len(spec.strides)
    rows = _unpacked(entry["rows"], INTEGER, 1, most)[:, 0].astype(np.int64)
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= spec.num_anchors:
        raise ValueError(f"rows outside of 0..{spec.num_anchors - 1}")
    values = _unpacked(entry["values"], FLOAT, task.width(spec), len(rows))
    pixels = _unpacked(entry["pixels"], FLOAT, 3, GRID * GRID)
    if len(values) != len(rows) or len(pixels) != GRID * GRID:
        raise ValueError(f"{len(values)} of {len(rows)} rows and {len(pixels)} pixels")
    found = _unpacked(entry["found"], FLOAT, task.graph_width(spec), MOST_DETECTIONS)
    class_ids = found[:, task.graph_columns(spec)["class_id"]]
    if not (np.isfinite(found).all() and ((class_ids >= 0) & (class_ids < spec.num_classes)).all()):
        raise ValueError("detections that are no numbers, or of classes that the model has not")
    return Witness(
        Picture(name, digest, content), pixels, rows, values, task.from_graph(found, spec)
    )


def _packed(array: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()


def _unpacked(text: Any, kind: str, width: int, most: int) -> NDArray[Any]:
    """Return the numbers in ``text`` as rows of ``width``; raises ``ValueError`` for more rows."""
    size = width * np.dtype(kind).itemsize
    if not isinstance(text, str) or len(text) > 4 * (most * size // 3 + 1):
        raise ValueError(f"more than {most} rows of {width} numbers")
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error
    if len(data) % size:
        raise ValueError(f"{len(data)} bytes are no rows of {width} numbers")
    return np.frombuffer(data, kind).reshape(-1, width)
