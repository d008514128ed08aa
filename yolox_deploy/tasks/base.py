"""The contract of a task: what the rows of an output mean, and how they become results.

A task is one object without state and without PyTorch.  Everything after the engine asks it: the
post-processing, the verification, AP, the sinks.  Two rooms add what needs their packages: the
torch head (``yolox_deploy.models.heads``) and the ONNX nodes (``yolox_deploy.export.tails``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.spec import ModelSpec
from yolox_deploy.tasks.candidates import Candidates
from yolox_deploy.tasks.comparison import Comparison, Tolerance
from yolox_deploy.tasks.detections import Detections
from yolox_deploy.tasks.merging import View, merged

Array = NDArray[np.float32]


class Decoder(Protocol):
    """Decodes the outputs of one model; holds constants only, so threads may share it."""

    def decode(self, output: Array) -> Array:
        """Return all rows of an output (..., A, width), decoded; for comparing whole outputs."""
        ...

    def candidates(self, output: Array, score_threshold: float) -> Candidates:
        """Return what one picture's output (A, width) holds with ``score >= score_threshold``."""
        ...


class Task(ABC):
    """What one kind of network finds.

    ``name`` is what ``spec.task`` says; ``result`` the class of a picture's result; ``metric`` the
    kind of AP that judges it, COCO's ``iouType``; ``tolerances`` how far an artifact may
    be from its checkpoint in each precision, from fine to coarse.
    """

    name: ClassVar[str]
    result: ClassVar[type[Detections]]
    metric: ClassVar[str]
    tolerances: ClassVar[Mapping[str, Tolerance]]

    @abstractmethod
    def columns(self, spec: ModelSpec) -> dict[str, slice]:
        """Return the columns of a row of raw or decoded output by name, in order."""

    @abstractmethod
    def graph_columns(self, spec: ModelSpec) -> dict[str, slice]:
        """Return the columns by name of a row that comes from the suppression in the graph.

        ``picture`` is the index of the picture within the batch.
        """

    @abstractmethod
    def count_classes(self, width: int) -> int:
        """Return the number of classes of a model without a spec whose rows have ``width``.

        Raises ``ValueError`` for a width that no such model has.
        """

    @abstractmethod
    def decoder(self, spec: ModelSpec) -> Decoder:
        """Return the decoder for raw or decoded output of this model."""

    @abstractmethod
    def scores(self, rows: Array, spec: ModelSpec) -> Array:
        """Return the score of every class of decoded rows (..., width)."""

    @abstractmethod
    def from_graph(self, rows: Array, spec: ModelSpec) -> Candidates:
        """Return one picture's rows of ``graph_columns`` as candidates."""

    @abstractmethod
    def to_picture(
        self,
        found: Candidates,
        spec: ModelSpec,
        ratio: float,
        image_size: tuple[int, int],
        *,
        clip: bool,
    ) -> Detections:
        """Return candidates in input pixels as a result in pixels of the picture.

        ``ratio`` is the letterbox's, ``image_size`` (height, width) of the picture; ``clip`` keeps
        boxes within the picture.
        """

    @abstractmethod
    def new_comparison(self) -> Comparison:
        """Return a comparison with every named difference of this task at nothing."""

    @abstractmethod
    def compare_rows(
        self,
        found: Comparison,
        rows: Array,
        expected: Array,
        spec: ModelSpec,
        score_threshold: float,
    ) -> None:
        """Add how one picture's decoded rows (A, width) differ from the expected ones."""

    @abstractmethod
    def compare_encoded(
        self,
        found: Comparison,
        decoded: Array,
        expected: Array,
        spec: ModelSpec,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Add how decoded rows (..., A, width) differ in the units that the network computes in.

        ``rows`` are the indices of the rows, if only some are given.
        """

    @abstractmethod
    def compare_found(self, found: Comparison, mine: Candidates, theirs: Candidates) -> None:
        """Add how matched candidates differ, one by one, where rows cannot be compared."""

    @abstractmethod
    def problems(self, found: Comparison, tolerance: Tolerance) -> list[str]:
        """Return what exceeds the tolerance, one sentence per finding."""

    def merge(
        self,
        views: Sequence[View],
        image_size: tuple[int, int],
        *,
        iou: float,
        class_agnostic: bool,
        clip: bool,
    ) -> Detections:
        """Return what several views of one picture show together, each object once.

        The arguments are those of :func:`~yolox_deploy.tasks.merging.merged`, by which boxes are
        merged; the further arrays of a box are those of its best piece.
        """
        return merged(views, image_size, iou=iou, class_agnostic=class_agnostic, clip=clip)

    def width(self, spec: ModelSpec) -> int:
        """Return the number of columns of a row of raw or decoded output."""
        return max(int(part.stop) for part in self.columns(spec).values())

    def graph_width(self, spec: ModelSpec) -> int:
        """Return the number of columns of a row of the suppression in the graph."""
        return max(int(part.stop) for part in self.graph_columns(spec).values())

    def output_shape(self, spec: ModelSpec) -> tuple[int | None, ...]:
        """Return the output's shape; ``None`` for a number that depends on the pictures."""
        if spec.output == "detections":
            return None, self.graph_width(spec)
        return spec.batch, spec.num_anchors, self.width(spec)
