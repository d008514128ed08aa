"""Tasks whose rows are a box, its objectness and its class scores, and perhaps more.

``xy = (raw_xy + grid) * stride``, ``wh = exp(raw_wh) * stride``, score = objectness times the best
class score (YOLOX, arXiv 2107.08430, and its reference implementation).

A task that finds more than boxes names its further columns (:meth:`BoxTask.more_columns`) and says
how they are decoded, brought back to the picture and compared; everything else is here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.base import Array, Task
from yolox_deploy.tasks.candidates import Candidates
from yolox_deploy.tasks.comparison import Comparison, Tolerance
from yolox_deploy.tasks.detections import Detections
from yolox_deploy.tasks.grid import grid_and_strides

BOX, OBJECTNESS = slice(0, 4), slice(4, 5)
# Squares of larger coordinates leave float32's range in the NMS.
LARGEST_COORDINATE = 1e6
# exp() of more gives boxes far beyond that, and soon leaves float32's range.
LARGEST_EXPONENT = np.float32(60)
ZERO = np.float32(0)
# Box differences are relative to the longer side, but not to less than this many pixels.
SMALLEST_SIDE = 32
# Nobody reads a row whose score is below this on both sides: COCO's AP is measured from here on.
FAINTEST = 0.001
# So many detections may be decided by rounding in any case.
MOST_BORDERLINE = 3

More = dict[str, NDArray[Any]]


class BoxTask(Task):
    """A task whose rows begin with a box, an objectness and one score per class.

    A subclass names its further columns, if it has any; see the methods that begin with ``more``.
    """

    def more_columns(self, spec: ModelSpec) -> dict[str, int]:
        """Return the further columns of a row by name, and how many there are of each."""
        return {}

    def more_decoded(self, more: More, grid: Array, stride: Array) -> More:
        """Return further columns (..., K, n), decoded, for cells of ``grid`` and ``stride``."""
        return more

    def more_to_picture(self, more: More, ratio: float) -> More:
        """Return further arrays of candidates in units of the picture."""
        return more

    def compare_more(self, found: Comparison, more: More, expected: More) -> None:
        """Add how the decoded further columns of the detected rows differ."""

    def more_problems(self) -> dict[str, tuple[str, str]]:
        """Return the named differences of further columns: its limit's name and a sentence."""
        return {}

    def columns(self, spec: ModelSpec) -> dict[str, slice]:
        classes = slice(OBJECTNESS.stop, OBJECTNESS.stop + spec.num_classes)
        return self._with_more({"box": BOX, "objectness": OBJECTNESS, "classes": classes}, spec)

    def graph_columns(self, spec: ModelSpec) -> dict[str, slice]:
        """Return picture, xyxy, score and class id, and then the further columns."""
        first = {"picture": slice(0, 1), "xyxy": slice(1, 5)}
        return self._with_more({**first, "score": slice(5, 6), "class_id": slice(6, 7)}, spec)

    def _with_more(self, columns: dict[str, slice], spec: ModelSpec) -> dict[str, slice]:
        (*_, last) = columns.values()
        end: int = last.stop
        for name, count in self.more_columns(spec).items():
            columns[name] = slice(end, end + count)
            end += count
        return columns

    def count_classes(self, width: int) -> int:
        """Return the number of classes of rows without further columns."""
        if width <= OBJECTNESS.stop:
            raise ValueError(f"a row needs more than {OBJECTNESS.stop} columns, got {width}")
        return width - OBJECTNESS.stop

    def decoder(self, spec: ModelSpec) -> BoxDecoder:
        return BoxDecoder(self, spec)

    def more_of(self, rows: Array, spec: ModelSpec) -> More:
        """Return the further columns of rows (..., width) by name."""
        columns = self.columns(spec)
        return {name: rows[..., columns[name]] for name in self.more_columns(spec)}

    def from_graph(self, rows: Array, spec: ModelSpec) -> Candidates:
        columns = self.graph_columns(spec)
        return Candidates(
            rows[:, columns["xyxy"]],
            rows[:, columns["score"].start],
            rows[:, columns["class_id"].start].astype(np.int64),
            **{name: rows[:, columns[name]] for name in self.more_columns(spec)},
        )

    def to_picture(
        self,
        found: Candidates,
        spec: ModelSpec,
        ratio: float,
        image_size: tuple[int, int],
        *,
        clip: bool,
    ) -> Detections:
        boxes = np.divide(found.xyxy, np.float32(ratio), order="C")
        if clip:
            height, width = image_size
            limits = np.array((width, height, width, height), np.float32)
            np.minimum(np.maximum(boxes, ZERO, out=boxes), limits, out=boxes)
        more: dict[str, Any] = self.more_to_picture(found.arrays, ratio) if found.arrays else {}
        values = {
            "xyxy": boxes,
            "scores": found.scores,
            "class_ids": found.class_ids,
            "names": spec.class_names,
            "image_size": image_size,
            **more,
        }
        # The decoder has seen every box, and the best score comes first.
        best = found.scores.item(0) if len(found) else ZERO
        if more or spec.output == "detections" or not best < np.inf:
            return self.result(**values)
        return self.result.unchecked(**values)

    def new_comparison(self) -> Comparison:
        """Return a comparison at nothing; units are those of the tolerances of detection.

        ``raw_absolute`` and ``raw_relative`` (to the reference's largest magnitude) are the largest
        differences of the output as the artifact returns it; ``box_pixels`` that of detected boxes'
        edges in pixels; ``shifted`` counts matched detections that lie elsewhere, ``borderline``
        those that one side has and the other has only just not.  ``raw_rms`` is over the rows that
        can become detections on either side, weighted by their scores, and ``faint_rms`` over the
        others, of which ``faint_probability`` is, too; ``raw_weight`` and ``faint_weight`` are the
        sums of the weights.
        """
        return Comparison(
            raw_absolute=0.0,
            raw_relative=0.0,
            raw_rms=0.0,
            faint_rms=0.0,
            score_mean=0.0,
            score_difference=0.0,
            probability_difference=0.0,
            faint_probability=0.0,
            box_pixels=0.0,
            box_difference=0.0,
            detections=0,
            missed=0,
            extra=0,
            shifted=0,
            borderline=0,
            lowest_iou=1.0,
            raw_weight=0,
            faint_weight=0,
            score_count=0,
            **dict.fromkeys(self.more_problems(), 0.0),
        )

    def compare_encoded(
        self,
        found: Comparison,
        decoded: Array,
        expected: Array,
        spec: ModelSpec,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Add the differences of boxes in cells and in logarithms of sizes.

        An error of a row that can become a detection matters as much as its score; what a row says
        that nobody reads may differ a lot, and does so in half precision.
        """
        _, stride = grid_and_strides(spec.height, spec.width, spec.strides)
        stride = stride if rows is None else stride[rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = np.log(decoded[..., 2:4] / expected[..., 2:4])
        changes = np.concatenate(((decoded[..., :2] - expected[..., :2]) / stride, sizes), -1)
        weights = np.maximum(*(self.scores(r, spec).max(-1) for r in (decoded, expected)))
        # NaN is no score that anyone reads; ``compare_rows`` finds it.
        read = weights >= FAINTEST
        found.add_to_rms("raw_rms", "raw_weight", changes[read], weights[read])
        found.add_to_rms("faint_rms", "faint_weight", changes[~read], np.ones(int((~read).sum())))

    def compare_rows(
        self,
        found: Comparison,
        rows: Array,
        expected: Array,
        spec: ModelSpec,
        score_threshold: float,
    ) -> None:
        """Compare every score, the factors of those that count, and the boxes that are detected."""
        columns = self.columns(spec)
        scores, expected_scores = (self.scores(r, spec) for r in (rows, expected))
        factors = slice(columns["objectness"].start, columns["classes"].stop)
        differences = np.abs(scores - expected_scores).max(1)
        found.largest(score_difference=differences.max())
        read = np.maximum(scores.max(1), expected_scores.max(1)) >= FAINTEST
        changes = np.abs(rows[:, factors] - expected[:, factors]).max(1)
        found.largest(
            probability_difference=changes[read].max(initial=0),
            faint_probability=changes[~read].max(initial=0),
        )
        detected = expected_scores.max(1) >= score_threshold
        found.add_to_mean("score_mean", "score_count", differences[detected])
        if detected.any():
            _compare_boxes(found, _corners(rows[detected]), _corners(expected[detected]))
            mine, theirs = (self.more_of(r[detected], spec) for r in (rows, expected))
            self.compare_more(found, mine, theirs)

    def scores(self, rows: Array, spec: ModelSpec) -> Array:
        columns = self.columns(spec)
        result: Array = rows[..., columns["objectness"]] * rows[..., columns["classes"]]
        return result

    def compare_found(self, found: Comparison, mine: Candidates, theirs: Candidates) -> None:
        changes = np.abs(mine.scores - theirs.scores)
        found.largest(score_difference=float(changes.max()))
        found.add_to_mean("score_mean", "score_count", changes)
        _compare_boxes(found, mine.xyxy, theirs.xyxy)
        self.compare_more(found, mine.arrays, theirs.arrays)

    def problems(self, found: Comparison, tolerance: Tolerance) -> list[str]:
        strays = int(tolerance["share"] * found["detections"])
        borderline = max(MOST_BORDERLINE, int(tolerance["borderline"] * found["detections"]))
        checks = [
            ("raw_rms", tolerance["raw"], "raw boxes differ by {:.2g} (RMS)"),
            ("faint_rms", tolerance["faint"], "raw boxes that nobody reads differ by {:.2g} (RMS)"),
            (
                "score_mean",
                tolerance["score_mean"],
                "scores of detections differ by {:.2g} on average",
            ),
            ("score_difference", tolerance["score"], "scores differ by up to {:.2g}"),
            (
                "probability_difference",
                tolerance["probability"],
                "objectness or class probabilities differ by up to {:.2g}",
            ),
            (
                "faint_probability",
                tolerance["faint_probability"],
                "objectness or class probabilities that nobody reads differ by up to {:.2g}",
            ),
            ("box_difference", tolerance["box"], "boxes differ by up to {:.2g} of their size"),
            *(
                (name, tolerance[limit], text)
                for name, (limit, text) in self.more_problems().items()
            ),
            ("missed", strays, "{} detections are missed"),
            ("extra", strays, "{} detections are extra"),
            ("shifted", strays, "{} detections lie elsewhere"),
            ("borderline", borderline, "{} detections differ at the thresholds"),
        ]
        return [
            f"{text.format(found[name])} (tolerated {limit:g})"
            # Written so that NaN fails.
            for name, limit, text in checks
            if not found[name] <= limit
        ]


class BoxDecoder:
    """Decodes the outputs of one model; the grid is made once."""

    def __init__(self, task: BoxTask, spec: ModelSpec) -> None:
        self.task = task
        self.spec = spec
        self.decoded = spec.output == "decoded"
        self.classes = task.columns(spec)["classes"]
        self.has_more = bool(task.more_columns(spec))
        self.grid, self.stride = grid_and_strides(spec.height, spec.width, spec.strides)
        # Column, row, twice the stride and twice half of it of every cell, as planes.
        half = self.stride / 2
        rows: Array = np.concatenate((self.grid, self.stride, self.stride, half, half), 1)
        self.cells = rows.T.copy()

    def decode(self, output: Array) -> Array:
        """Return all rows of an output (..., A, width) with boxes as centre and size (pixels).

        For comparing whole outputs; :meth:`candidates` decodes only the rows that matter.
        """
        if self.decoded:
            return output
        result = output.copy()
        result[..., :2] = (output[..., :2] + self.grid) * self.stride
        with np.errstate(over="ignore"):
            result[..., 2:4] = np.exp(output[..., 2:4]) * self.stride
        if self.has_more:
            columns = self.task.columns(self.spec)
            more = self.task.more_of(output, self.spec)
            for name, values in self.task.more_decoded(more, self.grid, self.stride).items():
                result[..., columns[name]] = values
        return result

    def candidates(self, output: Array, score_threshold: float) -> Candidates:
        """Return the boxes of one picture's output (A, width) with ``score >= score_threshold``.

        Rows whose objectness alone is below the threshold are never read further: class scores
        are at most 1.  Boxes beyond a million pixels, which only overflow makes, are dropped.
        """
        # As float32, which NumPy would otherwise make of it for every comparison.
        threshold = np.float32(score_threshold)
        rows = (output[:, 4] >= threshold).nonzero()[0]
        picked = output.take(rows, 0)
        classes = picked[:, self.classes]
        class_ids = classes.argmax(1)
        scores = picked[:, 4] * picked.take(class_ids + self._best_of(picked))
        good = (scores >= threshold).nonzero()[0]
        if len(good) < len(rows):
            rows, picked = rows.take(good), picked.take(good, 0)
            class_ids, scores = class_ids.take(good), scores.take(good)
        # As planes: NumPy takes many times as long for rows of two numbers.
        box = picked[:, BOX].T.copy()
        centre, half = box[:2], box[2:]
        if self.decoded:
            half /= 2
        else:
            cell = self.cells.take(rows, 1)
            centre += cell[:2]
            centre *= cell[2:4]
            np.exp(np.minimum(half, LARGEST_EXPONENT, out=half), out=half)
            half *= cell[4:]
        corners = np.concatenate((centre - half, centre + half))
        more = self._more(picked, rows) if self.has_more else {}
        found = Candidates(corners.T, scores, class_ids, **more)
        # False for NaN as well.
        if np.maximum.reduce(np.abs(corners), None, initial=ZERO) < LARGEST_COORDINATE:
            return found
        return found.take(np.flatnonzero((np.abs(corners) < LARGEST_COORDINATE).all(0)))

    def _best_of(self, picked: Array) -> NDArray[np.int64]:
        """Return where the class scores of rows (K, width) begin, counted in all their numbers."""
        start, width = self.classes.start, picked.shape[1]
        return np.arange(start, start + width * len(picked), width)

    def _more(self, picked: Array, rows: NDArray[np.int64]) -> More:
        more = self.task.more_of(picked, self.spec)
        if self.decoded:
            return more
        return self.task.more_decoded(more, self.grid[rows], self.stride[rows])


def iou(a: Array, b: Array) -> Array:
    """Return the IoU of every box of ``a`` (N, 4) xyxy with every box of ``b`` (M, 4), (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.maximum(high - low, 0).prod(2)
    areas = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None]
    result: Array = intersection / np.maximum(areas - intersection, np.float32(1e-9))
    return result


def _compare_boxes(found: Comparison, mine: Array, theirs: Array) -> None:
    """Compare boxes (N, 4) xyxy row by row."""
    pixels = np.abs(mine - theirs).max(1)
    sides = np.maximum((theirs[:, 2:] - theirs[:, :2]).max(1), SMALLEST_SIDE)
    found.largest(box_pixels=pixels.max(), box_difference=(pixels / sides).max())


def _corners(rows: Array) -> Array:
    half = rows[:, 2:4] / 2
    return np.concatenate((rows[:, :2] - half, rows[:, :2] + half), 1)
