"""What every runtime shares: checks of input and output, batching, errors, closing."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple, Self, final

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ArtifactError, UsageError, YoloxDeployError, suggest
from yolox_deploy.processors import threads_allowed
from yolox_deploy.spec import ModelSpec, SpecHints
from yolox_deploy.tasks import task_of
from yolox_deploy.tasks.foreign import inferred_spec
from yolox_deploy.timing import EngineSeconds

Array = NDArray[np.float32]
Shape = tuple[int | None, ...]


class Opened(NamedTuple):
    """What an engine says of the artifact it opened; ``None`` in a shape is a dynamic dimension.

    ``spec_json`` is the embedded spec, ``None`` where there is none.
    """

    spec_json: str | None
    input_shape: Shape
    output_shape: Shape


class Runtime(ABC):
    """An artifact opened by one engine: ``(N, 3, H, W)`` to ``(N, A, 5 + C)``, both float32.

    A subclass opens, infers for a batch its engine accepts, and closes; everything else is here.
    One instance serves one thread at a time (``Detector`` takes care of that).

    ``device`` and ``precision`` are one of the subclass' ``devices`` and ``precisions`` (the
    first is the default); ``threads`` is the number of CPU threads, ``None`` the engine's choice
    within what this process may use.

    Raises :class:`UsageError` for arguments the engine does not have and :class:`ArtifactError`
    for a file it cannot open.
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    # Of the last call, all its batches together; None where the engine has no clock of its own.
    engine_seconds: EngineSeconds | None = None
    # Sentences that a person should read when the artifact is opened; ``Detector`` says them.
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        path: Path,
        *,
        device: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        hints: SpecHints = SpecHints(),  # noqa: B008 (frozen)
    ) -> None:
        self.path = path
        self.hints = hints
        self.device = self._choose("device", device, self.devices)
        self.precision = self._choose("precision", precision, self.precisions)
        if threads is not None and not 1 <= threads <= 4096:
            raise UsageError(f"threads must lie in 1..4096, got {threads}")
        self.threads = threads
        self.closed = False
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file")
        if not path.stat().st_size:
            raise ArtifactError(f"{path}: the file is empty")
        try:
            opened = self._open()
            self.spec = self._settle_spec(opened)
        except YoloxDeployError:
            self._close_quietly()
            raise
        except Exception as error:
            # Engines raise types of their own, some of them bare RuntimeError.
            self._close_quietly()
            raise ArtifactError(f"{path}: {self.name} cannot open it: {one_line(error)}") from error

    def _choose(self, what: str, given: str | None, known: tuple[str, ...]) -> str:
        if given is None:
            return known[0]
        # "cuda:1" and "GPU.0" name one of several devices of a known kind.
        kind, *index = given.lower().replace(".", ":").split(":")
        if kind not in known or (index and (what != "device" or kind == "cpu")):
            raise UsageError(
                f"{self.name} has no {what} {given!r}: expected {', '.join(known)}"
                + suggest(kind, known)
            )
        return given.lower()

    def threads_within(self, choice: int | None = None) -> int | None:
        """Return the number of threads to set, ``None`` to leave it to the engine.

        ``choice`` is what the engine would take by itself, where it says so.
        """
        allowed = threads_allowed()
        if self.threads or allowed is None:
            return self.threads
        return min(allowed, choice) if choice else allowed

    def device_kind_and_index(self) -> tuple[str, int]:
        """Return ("cuda", 1) for the device "cuda:1"; raises :class:`UsageError`."""
        kind, *index = self.device.replace(".", ":").split(":")
        if len(index) > 1 or not all(i.isdecimal() and len(i) < 4 for i in index):
            raise UsageError(f"device {self.device!r}: expected {kind} or {kind}:0, {kind}:1, ...")
        return kind, int(index[0]) if index else 0

    def _settle_spec(self, opened: Opened) -> ModelSpec:
        """Return the embedded spec, or one inferred from shapes, checked against the shapes."""
        if opened.spec_json is None:
            spec = inferred_spec(
                self.path.stem, opened.input_shape, opened.output_shape, self.hints.imgsz
            )
        else:
            spec = ModelSpec.from_json(opened.spec_json, str(self.path))
            expected_input: Shape = (spec.batch, 3, spec.height, spec.width)
            expected_output = task_of(spec).output_shape(spec)
            if not _shapes_agree(opened.input_shape, expected_input) or not _shapes_agree(
                opened.output_shape, expected_output
            ):
                raise ArtifactError(
                    f"{self.path}: its spec says {expected_input} to {expected_output}, the model "
                    f"itself takes {opened.input_shape} and returns {opened.output_shape}; "
                    "the two do not belong together, export the checkpoint again"
                )
        return self.hints.apply(spec)

    @final
    def infer(self, images: Array) -> Array:
        """Return the output for ``images`` (N, 3, H, W), float32 as the spec's input demands.

        (N, A, 5 + C) for raw and decoded output, (K, 7) for detections.  Any N is served: it is
        cut into the artifact's batches, the last one filled up with zeros.  The array may be
        overwritten by the next call.

        Raises :class:`UsageError` for another shape or dtype, or after ``close``.
        """
        if self.closed:
            raise UsageError(f"{self.path} was closed: open it again")
        expected = (3, self.spec.height, self.spec.width)
        if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != expected:
            raise UsageError(
                f"{self.path} takes float32 (N, {', '.join(map(str, expected))}), got "
                f"{images.dtype} {images.shape}"
            )
        if not len(images):
            raise UsageError("a batch needs at least one picture")
        self.engine_seconds = None
        batch = self.spec.batch
        if batch is None or len(images) == batch:
            return self._run(images)
        parts = []
        for start in range(0, len(images), batch):
            chunk = images[start : start + batch]
            count = len(chunk)
            if count < batch:
                filler = np.zeros((batch - count, *expected), np.float32)
                chunk = np.concatenate((chunk, filler))
            result = self._run(chunk)
            parts.append(self._part(result, start, count))
        return np.concatenate(parts)

    def add_engine_seconds(self, copy_in: float, compute: float, copy_out: float) -> None:
        """Note what one batch took on the device; for subclasses."""
        sofar = self.engine_seconds or EngineSeconds(0, 0, 0)
        self.engine_seconds = EngineSeconds(
            sofar.copy_in + copy_in, sofar.compute + compute, sofar.copy_out + copy_out
        )

    def _part(self, result: Array, start: int, count: int) -> Array:
        """Return a copy of the rows that belong to the chunk's ``count`` real pictures."""
        if self.spec.output == "detections":
            part = result[result[:, 0] < count].copy()
            part[:, 0] += start
            return part
        return result[:count].copy()

    def _run(self, images: Array) -> Array:
        """Run one batch and check what comes back."""
        spec, count = self.spec, len(images)
        try:
            # Engines read memory from the pointer on: strides are ignored, PyTorch wants to write.
            result = self._infer(np.require(images, requirements=("C", "W")))
        except YoloxDeployError:
            raise
        except Exception as error:
            raise ArtifactError(
                f"{self.path}: {self.name} failed on {count} pictures: {one_line(error)}"
            ) from error
        _, *expected = task_of(spec).output_shape(spec)
        varies = spec.output == "detections"
        if list(result.shape[1:]) != expected or not (varies or len(result) == count):
            raise ArtifactError(
                f"{self.path} returned an array of shape {result.shape} for {count} pictures, its "
                f"spec promises rows of shape {' x '.join(map(str, expected))}"
                + ("" if varies else " per picture")
            )
        return result

    @final
    def close(self) -> None:
        """Free the engine's memory; calling it twice is fine.

        Raises :class:`ArtifactError` where the engine refuses; all that could go is gone then.
        """
        if self.closed:
            return
        self.closed = True
        try:
            self._close()
        except Exception as error:
            raise ArtifactError(
                f"{self.path}: {self.name} could not free everything: {one_line(error)}"
            ) from error

    def _close_quietly(self) -> None:
        """Close after an error, which says more than what closing may still raise."""
        with contextlib.suppress(Exception):
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.close()
        else:
            self._close_quietly()

    @abstractmethod
    def _open(self) -> Opened:
        """Open ``self.path`` and say what is in it."""

    @abstractmethod
    def _infer(self, images: Array) -> Array:
        """Run the engine on a batch that the artifact accepts, C-contiguous."""

    def _close(self) -> None:  # noqa: B027 (not every engine holds something)
        """Drop what ``_open`` made, which may be missing when it failed."""


def _shapes_agree(found: Shape, expected: Shape) -> bool:
    """Whether a model of shape ``found`` can be served as ``expected``; it may state less."""
    return len(found) == len(expected) and all(
        a is None or a == b for a, b in zip(found, expected, strict=True)
    )


def one_line(error: BaseException) -> str:
    """Return an engine's error as one line of at most 300 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
