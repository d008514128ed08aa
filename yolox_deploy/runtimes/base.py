"""What every runtime shares: checks of input and output, batching, errors, closing."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sized
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, ParamSpec, Self, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.errors import ArtifactError, UsageError, YoloxDeployError
from yolox_deploy.processors import MOST_THREADS, threads_allowed
from yolox_deploy.runtimes.content import stored_spec
from yolox_deploy.runtimes.devices import parse_device
from yolox_deploy.runtimes.doubts import doubts
from yolox_deploy.runtimes.foreign.front import Stem
from yolox_deploy.runtimes.foreign.probe import Found, probe
from yolox_deploy.runtimes.forks import call_after_fork
from yolox_deploy.runtimes.texts import Shape, expectation, one_line, shape_text, shapes_agree
from yolox_deploy.spec import ModelSpec, SpecHints
from yolox_deploy.tasks import task_of
from yolox_deploy.tasks.foreign import inferred_spec
from yolox_deploy.timing import EngineSeconds

P = ParamSpec("P")
T = TypeVar("T")
Array = NDArray[np.float32]


class Opened(NamedTuple):
    """What an engine reports about an artifact; a shape has ``None`` for a dynamic dimension.

    ``spec_json`` is the spec that is embedded in the artifact, ``None`` if there is none.
    """

    spec_json: str | None
    input_shape: Shape
    output_shape: Shape
    input_type: str = "float32"


class EngineFacts(NamedTuple):
    """What an engine really does: the precision of most of its work, and its CPU threads.

    ``threads`` is ``None`` if the engine does not tell.
    """

    precision: str
    threads: int | None


class Runtime(ABC):
    """An artifact opened by one engine: ``(N, 3, H, W)`` in, the task's rows out, both float32.

    A subclass opens the artifact, runs a batch that its engine accepts, and frees what it made.
    Checks, batching and errors are here.  Use one instance in one thread at a time; ``Detector``
    takes care of that.

    ``device`` is one of the subclass' ``devices``, perhaps with a number (``cuda:1``; 1 alone means
    the same), and ``precision`` one of its ``precisions``; ``None`` is the first of them.
    ``threads`` is the number of CPU threads; with ``None`` the engine chooses, within what this
    process may use.
    ``settings`` are further choices that only this engine has, by name; the class attribute
    ``settings`` has the allowed values of each.  ``check_files`` is whether the files must be those
    that were exported, by the hashes in their spec.

    Raises :class:`UsageError` for an argument that the engine does not support, and
    :class:`ArtifactError` for a file that it cannot open.
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    # Why ``yolox-bench --precision all`` leaves out those that ``precisions_on`` does not return.
    why_not_measured: ClassVar[str] = "the engine does not gain by it on this device"
    settings: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # Whether several instances may divide the processor, each with threads of its own.
    divisible: ClassVar[bool] = True
    # Whether the engine computes with the threads of OpenMP, see ``forks.py``.
    openmp: ClassVar[bool] = False
    # The time of the last call, summed over its batches; None if the engine has no clock.
    engine_seconds: EngineSeconds | None = None
    # Sentences about the artifact that a user should read; ``Detector`` makes warnings of them.
    notes: tuple[str, ...] = ()
    # What was found out about an artifact that carries no spec.
    found: Found | None = None
    _compared = False

    def __init__(
        self,
        path: Path,
        *,
        device: str | int | None = None,
        threads: int | None = None,
        precision: str | None = None,
        settings: Mapping[str, str] | None = None,
        hints: SpecHints = SpecHints(),  # noqa: B008 (frozen)
        check_files: bool = True,
    ) -> None:
        self.path = path
        self.hints = hints
        self.check_files = check_files
        named = self.devices[0] if device is None else device
        self.placed = parse_device(named, self.devices, self.name)
        self.precision = self.precisions[0] if precision is None else precision.lower()
        if problem := self.lacks_precision(precision or self.precision):
            raise UsageError(problem)
        self.chosen_settings = dict(settings or {})
        for name, value in self.chosen_settings.items():
            if name not in self.settings:
                problem = f"{self.name} has no setting {name!r}"
                raise UsageError(problem + expectation(name, self.settings))
            if value not in self.settings[name]:
                problem = f"the setting {name} of {self.name} cannot be {value!r}"
                raise UsageError(problem + expectation(str(value), self.settings[name], " or "))
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads must lie in 1..{MOST_THREADS} here, got {threads}")
        self.threads = threads
        self.closed = False
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file")
        if not path.stat().st_size:
            raise ArtifactError(f"{path}: the file is empty")
        try:
            opened = self._call(self._open)
            if not self._compared:
                self.stored_spec()
            self.spec = self._settle_spec(opened)
            self.notes += tuple(doubts(self, named=precision is not None))
        except YoloxDeployError:
            self._close_quietly()
            raise
        except Exception as error:
            # Engines raise exceptions of their own, some of them bare RuntimeError.
            self._close_quietly()
            reason = one_line(error)
            if not str(path).isprintable() and isinstance(error, (TypeError, UnicodeError)):
                reason = "its name is not UTF-8: rename it"
            raise ArtifactError(f"{path}: {self.name} cannot open it: {reason}") from error

    def again(self, threads: int) -> Self:
        """Return the artifact opened once more, with that many threads and all else the same."""
        choices = {"precision": self.precision, "settings": self.chosen_settings}
        more: dict[str, Any] = {**choices, "hints": self.hints, "check_files": self.check_files}
        return type(self)(self.path, device=self.device, threads=threads, **more)

    @property
    def device(self) -> str:
        """The device that the engine runs on, such as ``cpu`` or ``cuda:1``."""
        return str(self.placed)

    @classmethod
    def precisions_on(cls, kind: str) -> tuple[str, ...]:
        """Return the precisions that a kind of device really computes in, and not slower than fp32.

        These are what ``yolox-bench --precision all`` measures.
        """
        return cls.precisions

    @classmethod
    def lacks_precision(cls, precision: str) -> str:
        """Return why the engine cannot be asked for a precision, nothing if it can."""
        if precision.lower() in cls.precisions:
            return ""
        problem = f"{cls.name} has no precision {precision!r}"
        return problem + expectation(precision.lower(), cls.precisions)

    def facts(self) -> EngineFacts:
        """Return the precision and the threads that the engine really uses.

        An engine may silently compute in another precision than it was asked for, if the
        processor lacks that one, and a measurement must not carry the wrong name.  So a subclass
        asks its engine, if the engine can tell.
        """
        return EngineFacts(
            self.spec.precision if self.precision == "fp32" else self.precision, self.threads
        )

    def demand_one_of_each(self, inputs: Sized, outputs: Sized, advice: str = "") -> None:
        """Raise :class:`ArtifactError` unless there are one input and one output."""
        if len(inputs) != 1 or len(outputs) != 1:
            raise ArtifactError(
                f"{self.path} has {len(inputs)} inputs and {len(outputs)} outputs: a YOLOX "
                f"detector has one of each{advice}"
            )

    def stored_spec(self) -> str | None:
        """Return the JSON of the spec that the artifact carries, ``None`` if there is none.

        For subclasses, before the engine sees the file; where a subclass does not ask, the files
        are compared after it has opened them.  Raises :class:`ArtifactError` for files that are not
        those that were exported.
        """
        self._compared = True
        return stored_spec(self.path, check=self.check_files)

    def demand_weights(self, model: str) -> Path:
        """Return the ``.bin`` beside the artifact, or raise :class:`ArtifactError`."""
        weights = self.path.with_suffix(".bin")
        if not weights.is_file():
            raise ArtifactError(
                f"{weights}: no such file; {model} is a pair of {self.path.suffix} and .bin with "
                "the same name"
            )
        return weights

    def threads_within(self, choice: int | None = None) -> int | None:
        """Return the number of threads to set, ``None`` to leave it to the engine.

        ``choice`` is the number that the engine would choose, if that is known.
        """
        allowed = threads_allowed()
        if self.threads or allowed is None:
            return self.threads
        return min(allowed, choice) if choice else allowed

    def _settle_spec(self, opened: Opened) -> ModelSpec:
        """Return the embedded spec, checked against the shapes, or one inferred from them."""
        if opened.spec_json is None:
            if opened.input_type != "float32":
                raise ArtifactError(f"{self.path} takes {opened.input_type}, expected float32")
            return self._probed_spec(opened)
        spec = ModelSpec.from_json(opened.spec_json, str(self.path))
        found = (opened.input_shape, opened.output_shape)
        stated = (spec.input_shape, task_of(spec).output_shape(spec))
        types = (spec.input_type, opened.input_type)
        if not all(map(shapes_agree, found, stated)) or types[0] != types[1]:
            sides = [
                f"{kind} {' and returns '.join(map(shape_text, pair))}"
                for kind, pair in zip(types, (stated, found), strict=True)
            ]
            raise ArtifactError(
                f"{self.path}: by its spec it takes {sides[0]}, but the model takes "
                f"{sides[1]}; the two do not belong together: export the checkpoint again"
            )
        return self.hints.apply(spec)

    def _probed_spec(self, opened: Opened) -> ModelSpec:
        """Return a spec for an artifact without one, from its shapes and from running it."""
        name, shape, hints = self.path.stem, opened.output_shape, self.hints
        if len(shape) == 3 and None in (*shape[1:], *opened.input_shape[2:]):
            # A grey picture shows the shape.
            guess = inferred_spec(name, opened.input_shape, (None, None, 85), hints.imgsz)
            size = (guess.batch or 1, 3, guess.height, guess.width)
            shape = self._infer(np.full(size, guess.input.pad_value, np.float32)).shape
        inferred = inferred_spec(name, opened.input_shape, shape, hints.imgsz)
        self.spec = hints.apply(inferred)
        self.found = probe(self.path, inferred, self.infer, self.read_stem)
        spec = self.found.apply(self.spec, hints)
        self.notes += (self.found.note(self.path.name, spec, hints),)
        return spec

    @final
    def infer(self, images: NDArray[Any]) -> Array:
        """Return the output for ``images`` (N, 3, H, W), float32, scaled as the spec demands.

        An artifact of pixels takes (N, H, W, 3), uint8, blue, green and red.
        The output is (N, A, width of a row), or (K, width of a row) if the artifact does its own
        NMS; the task says what the columns of a row mean.  N may be any number: the pictures are
        cut into batches of the artifact's size, and the last batch is filled up with zeros.  The
        next call may overwrite the array.

        Raises :class:`UsageError` for another shape or dtype, and after ``close``.
        """
        if self.closed:
            raise UsageError(f"{self.path} was closed: open it again")
        expected, kind = self.spec.input_shape[1:], self.spec.input_type
        if images.dtype != kind or images.ndim != 4 or images.shape[1:] != expected:
            raise UsageError(
                f"{self.path} takes {kind} (N, {', '.join(map(str, expected))}), got "
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
                filler = np.zeros((batch - count, *expected), kind)
                chunk = np.concatenate((chunk, filler))
            result = self._run(chunk)
            parts.append(self._part(result, start, count))
        return np.concatenate(parts)

    def new_input(self, count: int) -> NDArray[Any]:
        """Return memory for the input of ``count`` pictures, in the shape that the spec states.

        A subclass whose engine would copy the input returns memory that the engine reads in place.
        """
        return np.empty((count, *self.spec.input_shape[1:]), self.spec.input_type)

    def add_engine_seconds(self, copy_in: float, compute: float, copy_out: float) -> None:
        """Add the seconds that one batch took on the device; for subclasses."""
        before = self.engine_seconds or (0, 0, 0)
        new = (copy_in, compute, copy_out)
        self.engine_seconds = EngineSeconds(*map(sum, zip(before, new, strict=True)))

    def _part(self, result: Array, start: int, count: int) -> Array:
        """Return a copy of the rows of a batch's first ``count`` pictures, without the filler's."""
        if self.spec.output == "detections":
            picture = task_of(self.spec).graph_columns(self.spec)["picture"].start
            part = result[result[:, picture] < count].copy()
            part[:, picture] += start
            return part
        return result[:count].copy()

    def _run(self, images: Array) -> Array:
        """Run one batch and check the shape of the output."""
        spec, count = self.spec, len(images)
        try:
            if not (images.flags.c_contiguous and images.flags.writeable):
                # Engines ignore strides, and PyTorch wants memory that it may write to.
                images = np.require(images, requirements=("C", "W"))
            result = self._call(self._infer, images)
        except YoloxDeployError:
            raise
        except Exception as error:
            raise ArtifactError(
                f"{self.path}: {self.name} failed on {count} pictures: {one_line(error)}"
            ) from error
        first, *rest = task_of(spec).output_shape(spec)
        expected = (first if spec.output == "detections" else count, *rest)
        if not shapes_agree(expected, result.shape):
            raise ArtifactError(
                f"{self.path} returned {shape_text(result.shape)} for {count} pictures, by its "
                f"spec it returns {shape_text(expected)}"
            )
        return result

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.openmp:
            return call_after_fork(function, *args, **kwargs)
        return function(*args, **kwargs)

    @final
    def close(self) -> None:
        """Free the engine's memory; may be called twice.

        Raises :class:`ArtifactError` if the engine reports an error; the rest is freed.
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
        """Close after an error, without replacing it by an error of closing."""
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
        """Open ``self.path`` and return what it contains."""

    @abstractmethod
    def _infer(self, images: Array) -> Array:
        """Run the engine on a batch of a size that the artifact accepts, C-contiguous."""

    def read_stem(self) -> Stem | None:
        """Return the convolution that sees the picture first, ``None`` if it cannot be read.

        Only artifacts without a spec are asked: its weights tell which pixels it was trained on.
        """
        return None

    def _close(self) -> None:  # noqa: B027 (not every engine holds something)
        """Free what ``_open`` made; after an error some of it may be missing."""
