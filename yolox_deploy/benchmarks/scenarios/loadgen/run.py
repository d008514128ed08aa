"""One test by MLPerf LoadGen: the system under test, its pictures, and the test itself.

LoadGen decides when a query comes and measures; this side only answers.  Queries are answered in
the thread that issues them, one after the other: LoadGen counts from the time a query was scheduled
for, so the wait behind earlier ones is in its figures, as with a queue and one worker, but no
second Python thread disturbs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.detector import Detector
from yolox_deploy.errors import MissingPackageError, UsageError, YoloxDeployError
from yolox_deploy.files import make_folder
from yolox_deploy.pictures.images import read_image
from yolox_deploy.tasks.detections import Detections

Picture = NDArray[np.uint8]
# Pictures of a data set that are in memory at once.
LOADED_AT_ONCE = 128

_one_at_a_time = threading.Lock()


def require_loadgen() -> Any:
    """Return the module ``mlperf_loadgen``; raises :class:`MissingPackageError`."""
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise MissingPackageError(
            'this scenario is driven by MLPerf LoadGen: pip install "yolox-deploy[bench]"'
        ) from error
    return mlperf_loadgen


class Library(Protocol):
    """The pictures that queries ask for by number (LoadGen's query sample library)."""

    count: int

    def load(self, numbers: Sequence[int]) -> None:
        """Bring pictures into memory."""

    def unload(self, numbers: Sequence[int]) -> None:
        """Let them go."""

    def __getitem__(self, number: int) -> Picture: ...


class PicturesInMemory:
    """Pictures that are there all the time."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures
        self.count = len(pictures)

    def load(self, numbers: Sequence[int]) -> None:
        """Do nothing."""

    def unload(self, numbers: Sequence[int]) -> None:
        """Do nothing."""

    def __getitem__(self, number: int) -> Picture:
        return self.pictures[number]


class PicturesOnDisk:
    """Pictures that are read before the part of the test that needs them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.count = len(paths)
        self.loaded: dict[int, Picture] = {}

    def load(self, numbers: Sequence[int]) -> None:
        """Read pictures; raises :class:`ImageError`."""
        for number in numbers:
            self.loaded[number] = read_image(self.paths[number])

    def unload(self, numbers: Sequence[int]) -> None:
        """Forget pictures."""
        for number in numbers:
            self.loaded.pop(number, None)

    def __getitem__(self, number: int) -> Picture:
        return self.loaded[number]


class SystemUnderTest:
    """Answers queries with a detector, ``batch`` pictures at a time.

    An exception must not pass through LoadGen, which would end the process.  The first one is kept
    in ``error``; from then on every query is answered at once and empty, so that the test ends.
    """

    def __init__(
        self, detector: Detector, library: Library, batch: int = 1, *, with_data: bool = False
    ) -> None:
        self.loadgen = require_loadgen()
        self.detector = detector
        self.library = library
        self.batch = batch
        self.with_data = with_data
        self.error: BaseException | None = None

    def issue(self, queries: Sequence[Any]) -> None:
        """Answer ``queries``, LoadGen's ``QuerySample`` objects."""
        for first in range(0, len(queries), self.batch):
            part = queries[first : first + self.batch]
            arrays: list[NDArray[np.float32]] = []
            if self.error is None:
                try:
                    found = self._detect([self.library[query.index] for query in part])
                    arrays = [as_rows(f) for f in found] if self.with_data else []
                except BaseException as error:
                    self.error = error
                    arrays = []
            self._complete(part, arrays)

    def _detect(self, pictures: Sequence[Picture]) -> list[Detections]:
        if len(pictures) == 1:
            return [self.detector(pictures[0])]
        return self.detector.batch(pictures)

    def _complete(self, queries: Sequence[Any], arrays: Sequence[NDArray[np.float32]]) -> None:
        response = self.loadgen.QuerySampleResponse
        if arrays:
            answers = [
                response(query.id, array.ctypes.data, array.nbytes)
                for query, array in zip(queries, arrays, strict=True)
            ]
        else:
            answers = [response(query.id, 0, 0) for query in queries]
        # LoadGen has copied the arrays when this returns.
        self.loadgen.QuerySamplesComplete(answers)

    def load(self, numbers: Sequence[int]) -> None:
        """Load pictures for LoadGen."""
        try:
            self.library.load(numbers)
        except BaseException as error:
            self.error = self.error or error

    def unload(self, numbers: Sequence[int]) -> None:
        """Unload pictures for LoadGen."""
        self.library.unload(numbers)


def as_rows(found: Detections) -> NDArray[np.float32]:
    """Return detections as (n, 6) float32: xyxy, score, class id."""
    rows = np.empty((len(found), 6), np.float32)
    rows[:, :4], rows[:, 4], rows[:, 5] = found.xyxy, found.scores, found.class_ids
    return rows


def from_rows(data: bytes, names: Sequence[str]) -> Detections:
    """Return the detections of :func:`as_rows`."""
    rows = np.frombuffer(data, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), tuple(names))


def run_test(sut: SystemUnderTest, settings: Any, folder: Path) -> None:
    """Let LoadGen test ``sut``; its logs go to ``folder``.

    Raises what the system under test raised, after the test, and :class:`UsageError` while another
    test of this process runs: LoadGen's state is global.
    """
    loadgen = sut.loadgen
    make_folder(folder)
    for log in folder.glob("mlperf_log_*"):
        log.unlink()
    if not _one_at_a_time.acquire(blocking=False):
        raise UsageError("LoadGen can run one test at a time in a process, and one is running")
    logging = loadgen.LogSettings()
    logging.enable_trace = False
    logging.log_output.outdir = str(folder)

    def test() -> None:
        handle = loadgen.ConstructSUT(sut.issue, lambda: None)
        loaded = min(sut.library.count, LOADED_AT_ONCE)
        library = loadgen.ConstructQSL(sut.library.count, loaded, sut.load, sut.unload)
        try:
            # The default would be an audit.config of whatever folder the command runs in.
            audit = str(folder / "audit.config")
            loadgen.StartTestWithLogSettings(handle, library, settings, logging, audit)
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(handle)
            _one_at_a_time.release()

    # In a thread of its own, so that Ctrl-C need not wait for the end of the test.
    thread = threading.Thread(target=test, name="loadgen")
    thread.start()
    try:
        thread.join()
    except BaseException as error:
        sut.error = sut.error or error
        raise
    if sut.error is not None:
        if isinstance(sut.error, YoloxDeployError):
            raise sut.error
        text = " ".join(str(sut.error).split())
        raise YoloxDeployError(
            f"the system under test failed with {type(sut.error).__name__}: {text}; LoadGen's "
            f"verdict in {folder} means nothing"
        ) from sut.error
