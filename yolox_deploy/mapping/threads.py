"""Work on many items in several threads, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

# Items that wait, per item that is worked on.
WAITING = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, *, ordered: bool
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` of each item, computed by several threads.

    At most three times as many items as there are workers are taken from ``items`` and not
    yielded yet.  An error comes when it is its item's turn.  Closing the generator waits for the
    items that are being worked on, and leaves out the others.
    """
    ahead = workers * (1 + WAITING)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, "yolox-map")
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            while pending and (len(pending) >= ahead or _ready(pending, ordered)):
                yield _next(pending, ordered)
        while pending:
            yield _next(pending, ordered)
    finally:
        pool.shutdown(cancel_futures=True)


def _ready(pending: deque[Future[Result]], ordered: bool) -> bool:
    return pending[0].done() if ordered else any(future.done() for future in pending)


def _next(pending: deque[Future[Result]], ordered: bool) -> Result:
    """Take the next result: the oldest one, or any that is there first."""
    if ordered:
        return pending.popleft().result()
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    future = next(future for future in pending if future in done)
    pending.remove(future)
    return future.result()


def in_chunks(items: Iterable[Item], size: int) -> Iterator[list[tuple[int, Item]]]:
    """Yield numbered items, ``size`` at a time."""
    chunk: list[tuple[int, Item]] = []
    for numbered in enumerate(items):
        chunk.append(numbered)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
