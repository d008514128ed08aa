"""What two models detect differently on the same pictures, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import UsageError, number_of
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD, Postprocess, Thresholds
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks import Candidates, Comparison, Detections, task_of
from yolox_deploy.verification.compare import Array, Judge, pairs_of
from yolox_deploy.verification.diagnosis import (
    TRIED,
    as_inputs,
    input_fault,
    other_inputs,
    sampled,
    where,
    words_of,
)
from yolox_deploy.verification.verify import coarser, run_all

Image = NDArray[np.uint8]
# The arrays of a result that is nothing but boxes.
BOXES = ("xyxy", "scores", "class_ids")
# Boxes that lie this many pixels elsewhere, all in the same direction, are shifted.
SHIFTED = 1.0
# Two boxes have the same size if no side differs by more than this share.
LIKE = 0.15


class Only(NamedTuple):
    """A detection that one side alone has: ``side`` is A or B, ``place`` its index there."""

    picture: int
    side: str
    place: int
    score: float


@dataclass
class Side:
    """One model, what it is given, and what it finds.

    ``precision`` is what its engine computes in.  ``outputs`` are as the engine returns them, one
    per picture; ``decoded`` are the decoded rows (N, A, width), ``None`` behind NMS in the graph;
    ``found`` are the detections in pixels of the pictures, not clipped.
    """

    name: str
    runtime: Runtime
    precision: str
    inputs: NDArray[Any]
    outputs: list[Array]
    decoded: Array | None
    found: list[Detections]

    @classmethod
    def run(
        cls, name: str, runtime: Runtime, images: Sequence[Image], thresholds: Thresholds
    ) -> Side:
        """Run a model on pictures (h, w, 3) uint8 BGR."""
        spec = runtime.spec
        inputs = as_inputs(spec, images)
        outputs = run_all(runtime, inputs)
        letterbox = Letterbox(spec.height, spec.width, spec.input)
        postprocess, found = Postprocess(spec, thresholds), []
        for output, image in zip(outputs, images, strict=True):
            rows, size = output if spec.output == "detections" else output[None], image.shape[:2]
            found += postprocess(rows, [letterbox.ratio(*size)], [size])
        side = cls(name, runtime, runtime.facts().precision, inputs, outputs, None, found)
        side.decoded = side.decode(outputs)
        return side

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.runtime.spec

    def decode(self, outputs: list[Array]) -> Array | None:
        """Return the decoded rows of outputs (N, A, width), ``None`` behind NMS."""
        if self.spec.output == "detections":
            return None
        return task_of(self.spec).decoder(self.spec).decode(np.stack(outputs))


@dataclass
class Differences:
    """What was found: named reasons, what exceeds the tolerance, and what one side alone has.

    ``worst`` are the indices of pictures, the worst first; ``comparison`` is ``None`` where rows
    cannot be compared.
    """

    named: list[str]
    problems: list[str]
    only: list[Only]
    worst: list[int]
    comparison: Comparison | None
    matched: int


def common_thresholds(a: ModelSpec, b: ModelSpec) -> Thresholds:
    """Return thresholds that both can serve: those of an NMS in a graph, else the defaults.

    Raises :class:`UsageError` for two models that cannot be compared.
    """
    if (a.task, a.num_classes) != (b.task, b.num_classes):
        raise UsageError(
            f"A is a model for {a.task} with {number_of(a.num_classes, 'class', 'classes')}, B one "
            f"for {b.task} with {b.num_classes}: nothing can be compared"
        )
    scores = {s.score_threshold for s in (a, b) if s.score_threshold is not None}
    ious = {s.iou_threshold for s in (a, b) if s.iou_threshold is not None}
    if len(ious) > 1:
        raise UsageError(
            f"the NMS in A's graph has the IoU threshold {a.iou_threshold}, that in "
            f"B's {b.iou_threshold}: nothing can be compared"
        )
    score = max(scores, default=SCORE_THRESHOLD)
    return Thresholds(score, next(iter(ious), IOU_THRESHOLD), max_detections=None, clip=False)


def compare_sides(a: Side, b: Side, images: Sequence[Image]) -> Differences:
    """Return how B differs from A."""
    tolerances = task_of(a.spec).tolerances
    precision = "fp32"
    for side in (a, b):
        executed = coarser(side.spec.precision, side.precision, tolerances)
        precision = coarser(precision, executed, tolerances)
    pairs, only = _matched(a, b)
    named = stated(a.spec, b.spec)
    judge = Judge(replace(a.spec, batch=None), tolerances[precision])
    comparison: Comparison | None = None
    problems: list[str] = []
    same_size = (a.spec.height, a.spec.width) == (b.spec.height, b.spec.width)
    decoded = a.decoded is not None and b.decoded is not None
    same_rows = decoded and same_size and a.spec.strides == b.spec.strides
    if same_rows:
        comparison = _compare_decoded(judge, b.decoded, a.decoded)
    elif same_size and set(a.found[0].arrays()) == set(BOXES):
        comparison = _compare_found(judge, a, b, images)
    if comparison is not None:
        problems = task_of(a.spec).problems(comparison, judge.tolerance)
    else:
        margin = judge.thresholds.score + judge.tolerance.margin
        for name in "AB":
            clear = sum(one.side == name and one.score > margin for one in only)
            if clear:
                problems.append(f"{clear} detections are in {name} alone")
    same_input = a.inputs.shape == b.inputs.shape and not a.spec.pixels
    if same_input and a.spec.input == b.spec.input:
        sizes = [image.shape[:2] for image in images]
        fault, slight = input_fault(b.inputs, sampled(a.inputs), a.spec.input, sizes)
        if fault or slight:
            named.append(f"B is given other pixels: {fault or f'by {slight:.1f} levels'}")
    if problems and not named and same_rows:
        named += _tried(a, b, images, judge)
    if problems:
        named += _boxes(a, b, pairs, images)
        if same_rows and not named and a.spec.output == b.spec.output == "raw":
            rows = [np.arange(a.spec.num_anchors)] * len(images)
            if place := where(rows, a.outputs, b.outputs, a.spec):
                named.append(place)
    badness = np.zeros(len(images))
    for one in only:
        badness[one.picture] += one.score
    for picture, i, j in pairs:
        change = a.found[picture].scores[i] - b.found[picture].scores[j]
        badness[picture] += abs(float(change))
    worst = [int(i) for i in np.argsort(-badness, kind="stable") if badness[i] > 0]
    return Differences(named, problems, only, worst, comparison, len(pairs))


def _compare_decoded(judge: Judge, decoded: Array | None, expected: Array | None) -> Comparison:
    assert decoded is not None
    assert expected is not None
    found = judge.decoded.task.new_comparison()
    judge.compare(found, decoded, expected)
    return found


def _compare_found(judge: Judge, a: Side, b: Side, images: Sequence[Image]) -> Comparison:
    """Return how the detections of B differ from those of A, in pixels of the input."""
    found = judge.decoded.task.new_comparison()
    letterbox = Letterbox(a.spec.height, a.spec.width, a.spec.input)
    for image, mine, theirs in zip(images, b.found, a.found, strict=True):
        ratio = np.float32(letterbox.ratio(*image.shape[:2]))
        one, other = (
            Candidates(side.xyxy * ratio, side.scores, side.class_ids) for side in (mine, theirs)
        )
        judge.match(found, one, other, rows=False)
    return found


def stated(a: ModelSpec, b: ModelSpec) -> list[str]:
    """Return in words what the specs of A and B state differently of input and classes."""
    rows = [
        (name.replace("_", " "), words_of(getattr(a.input, name)), words_of(getattr(b.input, name)))
        for name in ("colour_order", "scale", "mean", "std", "pad_value")
    ]
    one, other = (f"{s.height}x{s.width} (height x width)" for s in (a, b))
    rows.append(("input size", one, other))
    found = [
        f"the {name} of A is {one}, that of B {other}" for name, one, other in rows if one != other
    ]
    if a.class_names != b.class_names:
        found.append("A and B have other class names")
    return found


def _matched(a: Side, b: Side) -> tuple[list[tuple[int, int, int]], list[Only]]:
    """Return matched detections as (picture, index in A, index in B), and those of one side."""
    pairs: list[tuple[int, int, int]] = []
    only: list[Only] = []
    for picture, (one, other) in enumerate(zip(a.found, b.found, strict=True)):
        for i, j, _ in pairs_of(one, other):
            if j < 0:
                only.append(Only(picture, "A", i, float(one.scores[i])))
            elif i < 0:
                only.append(Only(picture, "B", j, float(other.scores[j])))
            else:
                pairs.append((picture, i, j))
    return pairs, sorted(only, key=lambda one: -one.score)


def _tried(a: Side, b: Side, images: Sequence[Image], judge: Judge) -> list[str]:
    """Name the input with which B detects what A detects, if there is one."""
    expected, decoded = a.decoded, b.decoded
    assert expected is not None
    assert decoded is not None

    def differ(rows: Array, pictures: list[int]) -> bool:
        found = _compare_decoded(judge, rows, expected[pictures])
        return bool(judge.decoded.task.problems(found, judge.tolerance))

    failing = [i for i in range(len(images)) if differ(decoded[[i]], [i])][:TRIED]
    for name, inputs in other_inputs(b.spec, [images[i] for i in failing]) if failing else ():
        rows = b.decode(run_all(b.runtime, inputs))
        if rows is not None and not differ(rows, failing):
            return [f"B's graph takes another input: with {name} it detects what A detects"]
    return []


def _boxes(
    a: Side, b: Side, pairs: Sequence[tuple[int, int, int]], images: Sequence[Image]
) -> list[str]:
    """Name boxes that are clipped, or that all lie elsewhere by the same distance."""
    letterbox = Letterbox(a.spec.height, a.spec.width, a.spec.input)
    ratios = [letterbox.ratio(*image.shape[:2]) for image in images]
    if pairs:
        one = np.stack([a.found[picture].xyxy[i] for picture, i, _ in pairs])
        other = np.stack([b.found[picture].xyxy[j] for picture, _, j in pairs])
        borders = {
            "picture": [images[picture].shape[1::-1] * 2 for picture, *_ in pairs],
            "input": [
                np.array([a.spec.width, a.spec.height] * 2) / ratios[picture]
                for picture, *_ in pairs
            ],
        }
        for border, limits in borders.items():
            for clipped, free, name in ((other, one, "B"), (one, other, "A")):
                wanted = np.clip(free, 0, np.array(limits, np.float32))
                beyond = float(np.abs(wanted - free).max())
                if beyond > SHIFTED and np.abs(clipped - wanted).max() <= 0.02 * beyond + 0.5:
                    where_to = f"they end at the border of the {border}"
                    return [f"the boxes of {name} are clipped: {where_to}"]
    moves = np.concatenate(
        [
            _moves(one, other) * ratio
            for one, other, ratio in zip(a.found, b.found, ratios, strict=True)
        ]
    )
    if not len(moves):
        return []
    # The move that most pairs agree on.
    near = (np.abs(moves[:, None] - moves[None]).max(2) <= SHIFTED * 2).sum(1)
    best = moves[near.argmax()]
    enough = max(3, 0.3 * sum(map(len, a.found)))
    if near.max() < enough or np.abs(best).max() <= SHIFTED:
        return []
    right, down = best
    return [
        f"the boxes of B lie {abs(down):.0f} pixels of the input "
        f"{'lower' if down >= 0 else 'higher'} and {abs(right):.0f} further "
        f"{'right' if right >= 0 else 'left'} than those of A: a shifted letterbox"
    ]


def _moves(one: Detections, other: Detections) -> Array:
    """Return how far B's boxes lie from those of A of the same class and size, (K, 2)."""
    sizes, others = (found.xyxy[:, 2:] - found.xyxy[:, :2] for found in (one, other))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(np.log(sizes[:, None] / others[None])).max(2)
    alike = (ratio < LIKE) & (one.class_ids[:, None] == other.class_ids[None])
    i, j = np.nonzero(alike)
    centres, theirs = ((found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2 for found in (one, other))
    return np.asarray(theirs[j] - centres[i], np.float32)
