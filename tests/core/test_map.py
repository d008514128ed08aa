"""Many pictures at once: what is read ahead, what an error leaves, and what stays behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolox_deploy import Detector
from yolox_deploy.errors import ImageError, UsageError
from yolox_deploy.mapping.threads import in_threads

BLANK = np.zeros((20, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def detector(nano_onnx: Path) -> Iterator[Detector]:
    with Detector(nano_onnx, threads=2) as opened:
        yield opened


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("yolox-map")]


def test_it_reads_a_few_pictures_ahead_and_stops_when_it_is_closed(
    detector: Detector, dog: NDArray[np.uint8]
) -> None:
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield BLANK if taken % 2 else dog

    results = detector.map(endless(), streams=2)
    assert taken == 0
    counts = [len(next(results)) for _ in range(6)]
    assert counts == [0, 5] * 3
    assert 6 <= taken <= 6 + 6
    assert workers()
    results.close()
    assert not workers()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("streams", [1, 2])
def test_a_bad_picture_is_named_when_it_is_its_turn(
    streams: int, ordered: bool, detector: Detector, dog_path: Path, tmp_path: Path
) -> None:
    pictures = [BLANK, dog_path, tmp_path / "missing.jpg", BLANK]
    results: Any = detector.map(pictures, streams=streams, ordered=ordered)
    seen: list[Any] = []
    with pytest.raises(ImageError, match=r"picture 2 \(counted from 0\): .*missing\.jpg"):
        seen.extend(results)
    if ordered:
        assert [len(found) for found in seen] == [0, 5]
    assert not workers()
    assert len(detector(dog_path)) == 5


def test_an_error_of_the_source_ends_the_threads(detector: Detector) -> None:
    def source() -> Iterator[NDArray[np.uint8]]:
        yield BLANK
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        list(detector.map(source(), streams=1))
    assert not workers()


def test_the_thresholds_of_a_call_hold(detector: Detector, dog: NDArray[np.uint8]) -> None:
    from yolox_deploy.postprocess import Thresholds

    few = Thresholds(score=0.8)
    assert list(detector.map([dog], streams=1, thresholds=few)) == [detector(dog, few)]
    assert list(detector.map([], streams=2)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch"),
        ({"streams": 0}, "streams"),
        ({"streams": 1.5}, "1.5"),
        ({"thresholds": 0.5}, "Thresholds"),
        ({"pictures": BLANK}, "several pictures"),
    ],
)
def test_arguments_that_cannot_be_served_are_refused_at_once(
    arguments: dict[str, Any], message: str, detector: Detector
) -> None:
    with pytest.raises(UsageError, match=message):
        detector.map(**{"pictures": [BLANK], **arguments})


@pytest.mark.parametrize("ordered", [True, False])
def test_every_item_comes_once_whatever_takes_long(ordered: bool) -> None:
    first_may_end = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            first_may_end.wait(60)
        if item == 3:
            first_may_end.set()
        return item

    found = list(in_threads(work, range(20), 2, ordered=ordered))
    assert sorted(found) == list(range(20))
    assert (found == sorted(found)) == ordered
