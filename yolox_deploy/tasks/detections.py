"""Detections: the boxes, scores and classes found in one picture, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.categories import COCO_CATEGORY_IDS, COCO_NAMES
from yolox_deploy.errors import MissingPackageError, UsageError

if TYPE_CHECKING:
    import supervision

    from yolox_deploy.pictures.images import ImageLike


class Detection(NamedTuple):
    """One detection: ``xyxy`` (4,) float32 pixels, its score, class id and class name."""

    xyxy: NDArray[np.float32]
    score: float
    class_id: int
    name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one picture, best score first.

    ``xyxy`` (N, 4) float32, pixels of the original picture; ``scores`` (N,) float32 in 0..1;
    ``class_ids`` (N,) int64, indices into ``names``, the model's class names; ``image_size``
    (height, width) of the picture where it is known.

    Indexes like an array, with an integer, a slice, a list or a mask, and always gives
    ``Detections``:

    >>> found = Detections([[0, 0, 9, 9], [5, 5, 8, 8]], [0.9, 0.3], [1, 0], ("cat", "dog"))
    >>> len(found[found.scores > 0.5])
    1
    >>> [d.name for d in found]
    ['dog', 'cat']

    Raises :class:`UsageError` where the arrays do not belong together.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    names: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        try:
            xyxy = np.asarray(self.xyxy, np.float32)
            scores = np.asarray(self.scores, np.float32)
            class_ids = np.asarray(self.class_ids, np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"detections must be arrays of numbers: {error}") from error
        if xyxy.size == 0:
            xyxy = xyxy.reshape(0, 4)
        count = len(np.atleast_1d(xyxy))
        if xyxy.shape != (count, 4) or scores.shape != (count,) or class_ids.shape != (count,):
            raise UsageError(
                "detections need xyxy (N, 4), scores (N,) and class_ids (N,), got "
                f"{xyxy.shape}, {scores.shape} and {class_ids.shape}"
            )
        if not (np.isfinite(xyxy).all() and np.isfinite(scores).all()):
            raise UsageError("detections must be finite numbers, got NaN or infinity")
        if count and class_ids.min() < 0:
            raise UsageError(f"class ids must not be negative, got {class_ids.min()}")
        if self.names and count and class_ids.max() >= len(self.names):
            raise UsageError(
                f"class id {class_ids.max()} has no name: there are {len(self.names)} names"
            )
        for field, value in (("xyxy", xyxy), ("scores", scores), ("class_ids", class_ids)):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "names", tuple(self.names))

    @classmethod
    def empty(
        cls, names: Sequence[str] = (), image_size: tuple[int, int] | None = None
    ) -> Detections:
        """Return detections of nothing."""
        return cls(
            np.empty((0, 4), np.float32),
            np.empty(0, np.float32),
            np.empty(0, np.int64),
            tuple(names),
            image_size,
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, class_id in zip(self.xyxy, self.scores, self.class_ids, strict=True):
            yield Detection(box, float(score), int(class_id), self.name_of(int(class_id)))

    def __getitem__(self, index: Any) -> Detections:
        if isinstance(index, (int, np.integer)):
            if not -len(self) <= index < len(self):
                raise IndexError(f"index {index} is out of range for {len(self)} detections")
            index = [index]
        return Detections(
            self.xyxy[index],
            self.scores[index],
            self.class_ids[index],
            self.names,
            self.image_size,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Detections) and (
            self.names == other.names
            and np.array_equal(self.xyxy, other.xyxy)
            and np.array_equal(self.scores, other.scores)
            and np.array_equal(self.class_ids, other.class_ids)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{d.name} {d.score:.3f}" for d in self[:8])
        return f"Detections({len(self)}: {shown}{', ...' if len(self) > 8 else ''})"

    def name_of(self, class_id: int) -> str:
        """Return the class' name, or ``class_<id>`` where there are no names."""
        return self.names[class_id] if self.names else f"class_{class_id}"

    def to_dict(self) -> list[dict[str, Any]]:
        """Return one plain dictionary a detection, ready for JSON."""
        return [
            {
                "name": d.name,
                "class_id": d.class_id,
                "score": round(d.score, 6),
                "xyxy": [round(float(v), 3) for v in d.xyxy],
            }
            for d in self
        ]

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Return COCO result entries, ``bbox`` as x, y, width, height in pixels.

        ``category_ids`` maps class ids to category ids.  The default is
        :func:`default_category_ids` of
        the class names.
        """
        ids = default_category_ids(self.names) if category_ids is None else category_ids
        if len(self) and len(ids) and self.class_ids.max() >= len(ids):
            raise UsageError(
                f"class id {self.class_ids.max()} has no category: {len(ids)} category ids given"
            )
        boxes = np.concatenate((self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]), 1)
        return [
            {
                "image_id": image_id,
                "category_id": int(ids[class_id]) if len(ids) else class_id + 1,
                "bbox": [round(v, 3) for v in box],
                "score": score,
            }
            for box, score, class_id in zip(
                boxes.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True
            )
        ]

    def to_yolo(self) -> list[str]:
        """Return YOLO text lines: class id, centre x and y, width, height (0..1), score.

        Raises :class:`UsageError` where the picture's size is not known.
        """
        if self.image_size is None:
            raise UsageError("YOLO's relative boxes need the picture's size: set image_size")
        height, width = self.image_size
        size = np.array([width, height], np.float32)
        centres = (self.xyxy[:, :2] + self.xyxy[:, 2:]) / 2 / size
        sizes = (self.xyxy[:, 2:] - self.xyxy[:, :2]) / size
        return [
            f"{class_id} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}"
            for class_id, (x, y), (w, h), score in zip(
                self.class_ids, centres, sizes, self.scores, strict=True
            )
        ]

    def to_supervision(self) -> supervision.Detections:
        """Return the same as ``supervision.Detections`` (``pip install supervision``)."""
        try:
            import supervision
        except ImportError as error:
            raise MissingPackageError(
                "to_supervision needs the package supervision: pip install supervision"
            ) from error
        names = np.array([self.name_of(i) for i in self.class_ids.tolist()], dtype=object)
        return supervision.Detections(
            xyxy=self.xyxy.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_ids.copy(),
            data={"class_name": names.astype(str) if len(names) else np.empty(0, str)},
        )

    def draw(self, image: ImageLike) -> NDArray[np.uint8]:
        """Return ``image`` as (h, w, 3) uint8 BGR with boxes, names and scores drawn in."""
        from yolox_deploy.pictures.drawing import draw_detections

        return draw_detections(image, self)


def default_category_ids(names: Sequence[str]) -> Sequence[int]:
    """Return COCO's ids (1..90 with gaps) for COCO's names, else 1, 2, ... in order."""
    return COCO_CATEGORY_IDS if tuple(names) == COCO_NAMES else range(1, len(names) + 1)
