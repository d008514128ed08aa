"""From a float graph to the INT8 graph: calibration, search and the file that remembers both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from time import perf_counter

import onnx

from yolox_deploy.data.ap import CocoDataset, require_pycocotools
from yolox_deploy.errors import InputFileError, UsageError, VerificationError
from yolox_deploy.export.options import Int8Options
from yolox_deploy.export.quantization.calibration import (
    Pictures,
    calibration_pictures,
    find_ranges,
)
from yolox_deploy.export.quantization.graph import Quantizable
from yolox_deploy.export.quantization.layout import Layout
from yolox_deploy.export.quantization.plan import Plan, Search
from yolox_deploy.export.quantization.scoring import Scorer, agreement_scorer, annotated_scorer
from yolox_deploy.export.quantization.search import Trial, find_largest, most_trials
from yolox_deploy.export.quantization.speed import alternate
from yolox_deploy.models.checkpoint import Checkpoint
from yolox_deploy.pictures.images import MAX_PIXELS
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.spec import ModelSpec

# What one point of AP is in points of agreement, AP against the checkpoint's own detections, which
# are boxes to the pixel.  YOLOX-Nano on COCO: 5.8 for a drop of 0.17, 8.6 for 0.31 (docs/int8.md).
AGREEMENT = 20
# Rounds in which the time of a block is measured: it is a hint in a table, not a verdict.
ROUNDS = 5
# Rises when the same pictures give other ranges or graphs.
VERSION = 1

# Opens a graph on a backend, in a precision (``None``: its default).
Open = Callable[[onnx.ModelProto, ModelSpec, str, str | None], AbstractContextManager[Runtime]]
Advance = Callable[[str, int, int], None]


@dataclass
class Quantizer:
    """Makes INT8 graphs of one checkpoint; engines with the same layout share one search."""

    checkpoint: Checkpoint
    spec: ModelSpec
    options: Int8Options
    plan: Plan
    open: Open
    report: Callable[[str], None]
    advance: Advance
    max_pixels: int | None = MAX_PIXELS

    def prepare(self, layouts: Iterable[Layout]) -> None:
        """Read what a search needs, and refuse what it cannot use, before anything is written.

        Raises what :class:`~yolox_deploy.data.ap.CocoDataset` and the readers of pictures raise,
        and :class:`UsageError` for a given plan without one of the ``layouts``.
        """
        for layout in layouts if self.options.plan else ():
            known = self.plan.searches.get(layout.name)
            if known is None or known.floating is None:
                raise UsageError(
                    f"--quantization {self.options.plan}: it has no finished search for "
                    f"{layout.name}: give --calib FOLDER instead, and search"
                )
        if self.options.plan is None:
            require_pycocotools()
            if self.pictures.dataset is not None:
                _ = self.scorers

    def quantize(
        self, layout: Layout, model: onnx.ModelProto, spec: ModelSpec
    ) -> tuple[onnx.ModelProto, Search]:
        """Return the INT8 form of a float graph with raw output, after a search if need be."""
        graph = Quantizable.of(model, spec.strides, layout)
        found = self.search(graph, spec)
        assert found.floating is not None
        ranges = {name: (low, high) for name, (low, high) in found.ranges.items()}
        return graph.quantized(ranges, found.floating), found

    def search(self, graph: Quantizable, spec: ModelSpec) -> Search:
        """Return what was found for a graph's layout, from the plan or by searching."""
        name = graph.layout.name
        known = self.plan.searches.get(name)
        if self.options.plan is not None and known is not None:
            return known
        key = self.key(graph)
        if known is None or known.key != key:
            self.report("finding the range of each tensor")
            tensors = sorted(graph.rounded(()))
            how_far = lambda done, all_: self.advance("picture", done, all_)  # noqa: E731
            ranges = find_ranges(graph.model, tensors, self.pictures.ranges, how_far)
            known = Search(key, self.pictures.how, ranges)
            self.plan.searches[name] = known
            self.plan.write()
        if known.floating is None or known.limit != self.limit:
            self._search(graph, spec, known)
        return known

    def _search(self, graph: Quantizable, spec: ModelSpec, found: Search) -> None:
        """Finish a search; every trial is kept in the plan's file as soon as it is done."""
        layout, units = graph.layout, graph.names()
        self.report(f"searching what stays in floating point for {layout.name}")
        spec = self.trial_spec(spec)
        ranges = {name: (low, high) for name, (low, high) in found.ranges.items()}
        begun, known = perf_counter(), {tuple(t.quantized): t for t in found.trials}
        before = len(known)
        image = next(iter(self.pictures.search)).image

        def measure(quantized: Sequence[str], timed: bool) -> Trial:
            key = tuple(quantized)
            if key not in known:
                floating = set(units).difference(quantized)
                trial = graph.quantized(ranges, floating) if quantized else graph.model
                with self.open(trial, spec, layout.backend, None) as runtime:
                    ap = self.scorers[0](runtime)
                    saved = None
                    if timed and layout.timed:
                        both = {"trial": runtime, "float": floats}
                        times = alternate(both, image, ROUNDS, lambda done, all_: None)
                        pairs = zip(times["float"], times["trial"], strict=True)
                        saved = median(before - after for before, after in pairs)
                known[key] = Trial(list(quantized), ap, saved)
                found.trials = list(known.values())
                self.plan.write()
            self._tell(len(known) - before, most_trials(units) - before, begun)
            return known[key]

        with self.open(graph.model, spec, layout.backend, None) as floats:
            result = find_largest(units, self.limit, measure)
            if not result.float_ap:
                raise InputFileError(
                    "AP is 0 before anything is rounded: the annotations of --data are of other "
                    "classes or pictures than those of the checkpoint"
                )
            if len(result.floating) == len(units):
                raise VerificationError(
                    f"INT8 of every part of the network loses more than {self.options.max_drop:g} "
                    "points of AP: raise --max-ap-drop, or export without --int8"
                )
            self.report("judging the result on pictures that the search did not see")
            base = self.scorers[1](floats)
        final = graph.quantized(ranges, result.floating)
        with self.open(final, spec, layout.backend, None) as runtime:
            found.judged_drop = base - self.scorers[1](runtime)
        found.rows, found.floating = result.rows, result.floating
        found.float_ap, found.drop = result.float_ap, result.float_ap - result.ap
        found.limit = self.limit
        self.plan.write()

    def _tell(self, done: int, most: int, begun: float) -> None:
        """Show the progress, and the time that is left if every trial takes as long."""
        if done > 0:
            left = (perf_counter() - begun) / done * max(0, most - done)
            self.advance(f"at most {left / 60:.0f} min left, trial", done, max(done, most))

    @property
    def limit(self) -> float:
        """The drop of AP (0..1) that the search accepts."""
        factor = 1 if self.options.annotations else AGREEMENT
        return self.options.max_drop / 100 * factor

    @cached_property
    def pictures(self) -> Split:
        """The pictures, split by what they are for."""
        options = self.options
        assert options.calibration is not None
        found = calibration_pictures(options.calibration, self.spec, self.max_pixels)
        if options.annotations is None or options.images is None:
            return Split.of_unannotated(found)
        dataset = CocoDataset(options.annotations, options.images)
        return Split.of_dataset(found, dataset)

    @cached_property
    def scorers(self) -> tuple[Scorer, Scorer]:
        """What measures AP: on the pictures of the search, and on those that judge the result."""
        split, spec = self.pictures, self.trial_spec(self.spec)
        parts, dataset = (split.search, split.judge), split.dataset
        if dataset is not None:
            search, judge = (annotated_scorer(dataset, part) for part in parts)
        else:
            self.report("running the checkpoint on the pictures of the search")
            network = self.checkpoint.network
            search, judge = (agreement_scorer(network, spec, part) for part in parts)
        return search, judge

    def trial_spec(self, spec: ModelSpec) -> ModelSpec:
        """Return the spec of a trial: planes in, raw output, whatever the artifact will have."""
        return replace(spec, output="raw", score_threshold=None, iou_threshold=None, pixels=False)

    def key(self, graph: Quantizable) -> str:
        """Return the hash of what trials depend on: a search goes on only if it is the same."""
        split = self.pictures
        dataset = split.dataset
        given = [
            VERSION,
            graph.layout,
            hashlib.sha256(graph.model.SerializeToString()).hexdigest(),
            *(part.sha256() for part in (split.ranges, split.search, split.judge)),
            dataset and dataset.truth,
        ]
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Split:
    """Pictures for the ranges, for the search, and to judge what was found; no two share one.

    ``how`` says in one sentence which are which.
    """

    ranges: Pictures
    search: Pictures
    judge: Pictures
    how: str
    dataset: CocoDataset | None = None

    @classmethod
    def of_unannotated(cls, found: Pictures) -> Split:
        """Split the calibration pictures: a quarter, a half, a quarter."""
        ranges, search, judge = (found.part(places, 4) for places in ((0,), (1, 2), (3,)))
        how = (
            f"of {len(found)} calibration pictures the 1st, 5th, ... gave the ranges "
            f"({len(ranges)}), the 2nd, 3rd, 6th, 7th, ... were searched on ({len(search)}), the "
            f"4th, 8th, ... judged the result ({len(judge)}); AP against the checkpoint's own "
            "detections"
        )
        return cls(ranges, search, judge, how)

    @classmethod
    def of_dataset(cls, found: Pictures, dataset: CocoDataset) -> Split:
        """Take all calibration pictures for the ranges, and split the annotated ones in halves."""
        annotated = replace(found, files=dict(dataset.pictures))
        if len(annotated) < 2:
            raise InputFileError(f"{dataset.path}: INT8 needs at least 2 annotated pictures")
        search, judge = (annotated.part(places, 2) for places in ((0,), (1,)))
        how = (
            f"{len(found)} calibration pictures gave the ranges; of {len(annotated)} annotated "
            f"ones the 1st, 3rd, ... were searched on ({len(search)}), the 2nd, 4th, ... judged "
            f"the result ({len(judge)})"
        )
        return cls(found, search, judge, how, dataset)
