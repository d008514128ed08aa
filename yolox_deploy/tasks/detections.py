"""Detections: the boxes, scores and classes found in one picture, as arrays.

The result of another task is a subclass that names its further arrays in ``columns``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.data.categories import default_category_ids
from yolox_deploy.errors import UsageError
from yolox_deploy.packages import require
from yolox_deploy.pictures.drawing import Colour, DrawingOptions, draw_boxes
from yolox_deploy.pictures.images import ImageLike, as_bgr
from yolox_deploy.pictures.output import check_output, show_picture, write_picture
from yolox_deploy.tasks.bounds import bound, shapes_expected
from yolox_deploy.tasks.classes import Classes, class_ids_of
from yolox_deploy.timing import StageSeconds

if TYPE_CHECKING:
    import supervision


class Detection(NamedTuple):
    """One detection: ``xyxy`` (4,) float32 pixels, its score, class id and class name."""

    xyxy: NDArray[np.float32]
    score: float
    class_id: int
    name: str


class Column(NamedTuple):
    """What one array of a result holds per detection: its shape and its dtype."""

    shape: tuple[int, ...]
    dtype: type[np.generic]


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one picture, best score first.

    ``xyxy`` (N, 4) float32, pixels of the original picture; ``scores`` (N,) float32 in 0..1;
    ``class_ids`` (N,) int64, indices into ``names``, the model's class names; ``image_size``
    (height, width) of the picture where it is known; ``seconds`` the time of the call that the
    picture went through, for all pictures of that call together; ``track_ids`` (N,) int64 what a
    tracker calls each object, -1 for one that is not followed yet (``None``: nothing was tracked).

    An integer gives one :class:`Detection`, as iterating does.  A slice, a list or a mask gives
    ``Detections``:

    >>> found = Detections([[0, 0, 9, 9], [5, 5, 8, 8]], [0.9, 0.3], [1, 0], ("cat", "dog"))
    >>> len(found[found.scores > 0.5])
    1
    >>> found[0].name
    'dog'
    >>> [d.name for d in found]
    ['dog', 'cat']

    Raises :class:`UsageError` where the arrays do not belong together.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    names: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    seconds: StageSeconds | None = None
    track_ids: NDArray[np.int64] | None = None

    # Every array with one entry per detection.
    columns: ClassVar[Mapping[str, Column]] = {
        "xyxy": Column((4,), np.float32),
        "scores": Column((), np.float32),
        "class_ids": Column((), np.int64),
    }
    # The columns of a table with one row per detection, see :meth:`to_rows`.
    header: ClassVar[tuple[str, ...]] = ("name", "class_id", "score", "x1", "y1", "x2", "y2")

    def __post_init__(self) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        together, count = True, 0
        for name, column in self.columns.items():
            try:
                array = np.asarray(getattr(self, name), column.dtype)
            except (TypeError, ValueError, OverflowError) as error:
                raise UsageError(f"detections must be arrays of numbers: {error}") from error
            if not array.size:
                array = array.reshape(0, *column.shape)
            if not arrays:
                count = len(array) if array.ndim else 0
            together &= array.shape == (count, *column.shape)
            arrays[name] = array
        if self.track_ids is not None:
            arrays["track_ids"] = np.asarray(self.track_ids, np.int64)
            together &= arrays["track_ids"].shape == (count,)
        if not together:
            shapes = {name: column.shape for name, column in self.columns.items()}
            raise UsageError(shapes_expected(shapes, arrays))
        for name, column in self.columns.items():
            if column.dtype is np.float32 and not np.isfinite(arrays[name]).all():
                raise UsageError("detections must be finite numbers, got NaN or infinity")
        ids = arrays["class_ids"]
        # As unsigned numbers, negative ones are the largest.
        if count and np.maximum.reduce(ids.view(np.uint64)) >= (len(self.names) or 1 << 63):
            if ids.min() < 0:
                raise UsageError(f"class ids must not be negative, got {ids.min()}")
            raise UsageError(f"class id {ids.max()} has no name: there are {len(self.names)} names")
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        if type(self.names) is not tuple:
            object.__setattr__(self, "names", tuple(self.names))

    @classmethod
    def empty(cls, names: Sequence[str] = (), image_size: tuple[int, int] | None = None) -> Self:
        """Return detections of nothing."""
        arrays: dict[str, Any] = {
            name: np.empty((0, *column.shape), column.dtype) for name, column in cls.columns.items()
        }
        return cls(**arrays, names=tuple(names), image_size=image_size)

    @classmethod
    def unchecked(cls, **values: Any) -> Self:
        """Return a result of values that are known to belong together, in a tenth of the time."""
        result = object.__new__(cls)
        result.__dict__.update(values)
        return result

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every array with one entry per detection, by name."""
        found = {name: getattr(self, name) for name in self.columns}
        return found if self.track_ids is None else {**found, "track_ids": self.track_ids}

    def moved(self, xyxy: NDArray[np.float32]) -> Self:
        """Return the same detections with other boxes (N, 4).

        A subclass whose further arrays are places in the picture moves them along.
        """
        return replace(self, xyxy=xyxy)

    def timed(self, seconds: StageSeconds) -> Self:
        """Note the time of the call that made this result, and return it."""
        # In place: a copy would check every array again.
        object.__setattr__(self, "seconds", seconds)
        return self

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return map(self._one, range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Detection: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Self: ...

    def __getitem__(self, index: Any) -> Detection | Self:
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            if not -len(self) <= index < len(self):
                raise IndexError(f"index {index} is out of range for {len(self)} detections")
            return self._one(int(index))
        return replace(self, **{name: array[index] for name, array in self.arrays().items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and (
            self.names == other.names
            and (mine := self.arrays()).keys() == (others := other.arrays()).keys()
            and all(np.array_equal(array, others[name]) for name, array in mine.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{d.name} {d.score:.3f}" for d in self[:8])
        more = ", ..." if len(self) > 8 else ""
        return f"{type(self).__name__}({len(self)}: {shown}{more})"

    def _one(self, index: int) -> Detection:
        class_id = int(self.class_ids[index])
        return Detection(
            self.xyxy[index], float(self.scores[index]), class_id, self.name_of(class_id)
        )

    def name_of(self, class_id: int) -> str:
        """Return the class' name, or ``class_<id>`` where there are no names."""
        return self.names[class_id] if self.names else f"class_{class_id}"

    def to_dict(self) -> list[dict[str, Any]]:
        """Return one plain dictionary per detection, ready for JSON."""
        rows: list[dict[str, Any]] = [
            {
                "name": d.name,
                "class_id": d.class_id,
                "score": round(d.score, 6),
                "xyxy": [round(float(v), 3) for v in d.xyxy],
            }
            for d in self
        ]
        for row, track_id in zip(
            rows, self.track_ids if self.track_ids is not None else (), strict=False
        ):
            row["track_id"] = int(track_id)
        return rows

    def to_rows(self) -> list[tuple[Any, ...]]:
        """Return one tuple per detection with what ``header`` names, for tables such as CSV."""
        return [(d["name"], d["class_id"], d["score"], *d["xyxy"]) for d in self.to_dict()]

    def to_coco(
        self, image_id: int, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Return COCO result entries, ``bbox`` as x, y, width, height in pixels.

        ``category_ids`` maps class ids to category ids.  The default is
        :func:`~yolox_deploy.data.categories.default_category_ids` of the class names.
        """
        ids = default_category_ids(self.names) if category_ids is None else category_ids
        if len(self) and len(ids) and self.class_ids.max() >= len(ids):
            raise UsageError(
                f"class id {self.class_ids.max()} has no category: {len(ids)} category ids given"
            )
        return [
            {
                "image_id": image_id,
                "category_id": int(ids[class_id]) if len(ids) else class_id + 1,
                "bbox": [round(v, 3) for v in box],
                "score": score,
            }
            for box, score, class_id in zip(
                self.xywh.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True
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
        reason = "to_supervision needs the package supervision"
        require("supervision", reason, "pip install supervision")
        import supervision

        names = np.array([self.name_of(i) for i in self.class_ids.tolist()], dtype=object)
        return supervision.Detections(
            xyxy=self.xyxy.copy(),
            confidence=self.scores.copy(),
            class_id=self.class_ids.copy(),
            tracker_id=None if self.track_ids is None else self.track_ids.copy(),
            data={"class_name": names.astype(str) if len(names) else np.empty(0, str)},
        )

    @property
    def xywh(self) -> NDArray[np.float32]:
        """The boxes (N, 4) float32 as left, top, width and height, in pixels of the picture.

        >>> Detections([[10, 20, 40, 25]], [0.9], [0]).xywh
        array([[10., 20., 30.,  5.]], dtype=float32)
        """
        return np.concatenate((self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]), 1)

    def filter(
        self,
        classes: Classes | None = None,
        *,
        min_score: float | None = None,
        min_area: float | None = None,
        max_area: float | None = None,
    ) -> Self:
        """Return the detections that meet every condition, in the same order.

        ``classes`` is a name, an id, or a list of them; ``min_score`` lies in 0..1; ``min_area``
        and ``max_area`` bound a box's area in square pixels.  ``None`` sets no condition.

        >>> found = Detections([[0, 0, 9, 9], [5, 5, 8, 8]], [0.9, 0.3], [1, 0], ("cat", "dog"))
        >>> found.filter(["cat", "dog"], min_score=0.5, min_area=50)
        Detections(1: dog 0.900)

        Raises :class:`UsageError` for a class that there is not, and for bounds that make no sense.
        """
        kept = np.ones(len(self), bool)
        if classes is not None:
            kept &= np.isin(self.class_ids, class_ids_of(classes, self.names))
        if min_score is not None:
            kept &= self.scores >= bound("min_score", min_score, 1)
        if min_area is not None or max_area is not None:
            areas = self.xywh[:, 2:].prod(1)
            if min_area is not None:
                kept &= areas >= bound("min_area", min_area)
            if max_area is not None:
                kept &= areas <= bound("max_area", max_area)
        return self[kept]

    def draw(
        self,
        image: ImageLike,
        *,
        thickness: int | None = None,
        font_scale: float | None = None,
        labels: bool = True,
        colours: Colour | Mapping[int | str, Colour] | None = None,
    ) -> NDArray[np.uint8]:
        """Return ``image`` as (h, w, 3) uint8 BGR with boxes, names and scores drawn in.

        ``image`` is the picture that was detected, of any kind that a detector takes; it is not
        changed.  ``thickness`` is that of the lines in pixels, ``font_scale`` OpenCV's scale of the
        text (1: capitals of about 21 pixels); by default both grow with the picture.  With
        ``labels=False`` there are boxes only.  ``colours`` is one colour (blue, green, red in
        0..255) for all, or a mapping of class names or ids to colours; every other class has its
        own colour, always the same one.  Labels for which there is no room are left out.

        >>> found = Detections([[20, 30, 60, 70]], [0.9], [0], ("dog",))
        >>> found.draw(np.zeros((100, 120, 3), np.uint8), colours={"dog": (0, 255, 0)}).shape
        (100, 120, 3)

        Raises :class:`UsageError` for a picture of another size than the one that was detected, and
        for options that make no sense.
        """
        canvas = as_bgr(image)
        if len(self) and self.image_size not in (None, canvas.shape[:2]):
            raise UsageError(
                f"the detections are those of a picture of size {self.image_size} (height, width), "
                f"this one is {canvas.shape[:2]}: draw on the picture that was detected"
            )
        chosen: Any = colours
        if isinstance(colours, Mapping):
            chosen = {class_ids_of(key, self.names)[0]: c for key, c in colours.items()}
        return draw_boxes(
            canvas,
            self.xyxy,
            self.class_ids,
            self.labels() if labels else (),
            thickness=thickness,
            font_scale=font_scale,
            colours=chosen,
        )

    def save(
        self,
        path: str | os.PathLike[str],
        image: ImageLike,
        **options: Unpack[DrawingOptions],
    ) -> Path:
        """Draw into a copy of ``image``, write it to ``path``, and return the path.

        The suffix decides the format: .jpg, .png, .webp, .bmp or .tif.  ``options`` are those of
        :meth:`draw`.  What stood at ``path`` is replaced in one step or not at all.

        >>> found.save("found.jpg", "street.jpg", thickness=3)  # doctest: +SKIP

        Raises :class:`~yolox_deploy.errors.OutputError` for another suffix, where ``path`` is
        ``image`` itself, and where the file cannot be written.
        """
        file = check_output(path, image)
        return write_picture(file, self.draw(image, **options))

    def show(self, image: ImageLike, **options: Unpack[DrawingOptions]) -> None:
        """Draw into a copy of ``image`` and show it: in the notebook, a window or a viewer.

        OpenCV's window closes with any key; until then the call does not return.  Where OpenCV was
        built without windows (``opencv-python-headless``) the system's viewer of pictures opens.
        ``options`` are those of :meth:`draw`.

        Raises :class:`~yolox_deploy.errors.OutputError` where nothing can be opened; ``save`` works
        everywhere.
        """
        show_picture(self.draw(image, **options))

    def labels(self) -> list[str]:
        """Return what is written beside each box: its name, its score, and the id of its track."""
        ids = [-1] * len(self) if self.track_ids is None else self.track_ids
        names = (f"{d.name} #{i}" if i >= 0 else d.name for d, i in zip(self, ids, strict=True))
        return [f"{name} {score:.2f}" for name, score in zip(names, self.scores, strict=True)]
