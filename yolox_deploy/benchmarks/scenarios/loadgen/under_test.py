"""One test by MLPerf LoadGen: the system under test, its pictures, and the test itself.

LoadGen decides when a query comes, and measures; this side only answers.  The thread that issues a
query answers it, one query after the other.  LoadGen counts from the time that a query was
scheduled for, so its figures include the wait behind earlier queries, as with a queue and one
worker, and no second Python thread disturbs the measurement.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolox_deploy.benchmarks.measure.systems import ImageArray
from yolox_deploy.benchmarks.needs import require
from yolox_deploy.errors import UsageError, YoloxDeployError
from yolox_deploy.files import make_folder
from yolox_deploy.pictures.images import MAX_PIXELS, read_image
from yolox_deploy.tasks.detections import Detections

Detect = Callable[[Sequence[ImageArray]], list[Detections]]
Encode = Callable[[int, Detections], bytes]
# Pictures of a data set that are in memory at once.
LOADED_AT_ONCE = 128

_one_at_a_time = threading.Lock()


def require_loadgen() -> Any:
    """Return the module ``mlperf_loadgen``; raises :class:`MissingPackageError`."""
    return require("mlperf_loadgen", "this scenario is driven by MLPerf LoadGen")


class Library:
    """The pictures that queries ask for by number (LoadGen's query sample library), in memory."""

    def __init__(self, pictures: Sequence[ImageArray]) -> None:
        self.pictures = pictures
        self.count = len(pictures)

    def load(self, numbers: Sequence[int]) -> None:
        """Bring pictures into memory before the part of the test that needs them."""

    def unload(self, numbers: Sequence[int]) -> None:
        """Forget pictures."""

    def __getitem__(self, number: int) -> ImageArray:
        return self.pictures[number]


class LibraryOnDisk(Library):
    """Pictures that are read when they are needed."""

    def __init__(self, paths: Sequence[Path], max_pixels: int = MAX_PIXELS) -> None:
        super().__init__(())
        self.max_pixels = max_pixels
        self.paths = paths
        self.count = len(paths)
        self.loaded: dict[int, ImageArray] = {}

    def load(self, numbers: Sequence[int]) -> None:
        """Read pictures; raises :class:`ImageError`."""
        for number in numbers:
            self.loaded[number] = read_image(self.paths[number], self.max_pixels)

    def unload(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.loaded.pop(number, None)

    def __getitem__(self, number: int) -> ImageArray:
        return self.loaded[number]


class SystemUnderTest:
    """Answers queries by calling ``detect`` with up to ``batch`` pictures at a time.

    ``encode`` makes an answer of a picture's number and result (``None``: answers are empty).  An
    exception that passes through LoadGen would end the process.  So the first exception is kept in
    ``error``, and all later queries are answered at once and empty until the test ends.
    """

    def __init__(
        self, detect: Detect, library: Library, batch: int = 1, encode: Encode | None = None
    ) -> None:
        self.loadgen = require_loadgen()
        self.detect = detect
        self.library = library
        self.batch = batch
        self.encode = encode
        self.error: BaseException | None = None

    def issue(self, queries: Sequence[Any]) -> None:
        """Answer ``queries``, LoadGen's ``QuerySample`` objects."""
        response = self.loadgen.QuerySampleResponse
        for first in range(0, len(queries), self.batch):
            part = queries[first : first + self.batch]
            answers = [np.empty(0, np.uint8)] * len(part)
            if self.error is None:
                try:
                    numbers = [query.index for query in part]
                    found = self.detect([self.library[number] for number in numbers])
                    if self.encode:
                        data = map(self.encode, numbers, found)
                        answers = [np.frombuffer(bytes(one), np.uint8) for one in data]
                except BaseException as error:
                    self.error = error
            pairs = zip(part, answers, strict=True)
            # LoadGen has copied the answers when this returns.
            self.loadgen.QuerySamplesComplete(
                [response(query.id, a.ctypes.data, a.nbytes) for query, a in pairs]
            )

    def load(self, numbers: Sequence[int]) -> None:
        """Load pictures for LoadGen."""
        try:
            self.library.load(numbers)
        except BaseException as error:
            self.error = self.error or error


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
        library = loadgen.ConstructQSL(sut.library.count, loaded, sut.load, sut.library.unload)
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
    if isinstance(sut.error, YoloxDeployError):
        raise sut.error
    if sut.error is not None:
        text = " ".join(str(sut.error).split())
        raise YoloxDeployError(
            f"the system under test failed with {type(sut.error).__name__}: {text}; LoadGen's "
            f"verdict in {folder} means nothing"
        ) from sut.error
