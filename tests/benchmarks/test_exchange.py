"""How fast processors exchange data, and when two such times differ."""

from __future__ import annotations

import os

import pytest

from yolox_deploy.benchmarks.machine import exchange
from yolox_deploy.benchmarks.machine.exchange import changes, exchange_seconds

binds = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="the system binds no threads to processors"
)


@binds
@pytest.mark.usefixtures("every_processor")
def test_reading_what_another_processor_wrote_takes_a_plausible_time() -> None:
    allowed = os.sched_getaffinity(0)
    found = exchange_seconds()
    assert os.sched_getaffinity(0) == allowed
    if len(allowed) == 1:
        assert found is None
    else:
        assert found is not None
        # Between 500 GB/s and 25 MB/s.
        assert 5e-7 < found < 1e-2


@binds
def test_one_processor_exchanges_nothing() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert exchange_seconds() is None
    finally:
        os.sched_setaffinity(0, allowed)


@binds
def test_a_system_that_refuses_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []

    def refuse(process: int, processors: set[int]) -> None:
        asked.append(set(processors))
        raise PermissionError

    monkeypatch.setattr(exchange.os, "sched_getaffinity", lambda _: {0, 1, 5})
    monkeypatch.setattr(exchange.os, "sched_setaffinity", refuse)
    assert exchange_seconds() is None
    # The last thing is to allow again what was allowed.
    assert asked[-1] == {0, 1, 5}


def test_a_system_without_the_call_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(exchange.os, "sched_setaffinity", raising=False)
    assert exchange_seconds() is None


def test_times_are_alike_where_nothing_moved() -> None:
    assert changes([17e-6, 21e-6, 18e-6]) == ""
    assert changes([None, 17e-6, None]) == ""
    for moved in ([17e-6, 35e-6], [35.7e-6, 17e-6, None], [17e-6, 20e-6, 35e-6]):
        assert "up to 2.1 times as slowly" in changes(moved)
