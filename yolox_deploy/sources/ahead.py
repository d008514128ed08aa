"""Stages that work at the same time: one takes from a thread that is a little ahead of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from time import monotonic
from typing import Generic, TypeVar

from yolox_deploy.errors import SourceError

Item = TypeVar("Item")
# How often a wait looks whether it was interrupted, which a lock does not tell on Windows.
LOOK_S = 1.0


class _Handover(Generic[Item]):
    """Items on their way from one thread to another, ``depth`` of them at most.

    With ``newest`` the oldest gives way to a new one; otherwise the giver waits.
    """

    def __init__(self, depth: int, *, newest: bool) -> None:
        self.depth, self.newest = depth, newest
        self.items: deque[Item] = deque()
        self.dropped = 0
        self.ended = self.closed = False
        self.error: BaseException | None = None
        self.changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Hand over an item; returns whether more are wanted."""
        with self.changed:
            while len(self.items) >= self.depth and not self.closed:
                if self.newest:
                    self.items.popleft()
                    self.dropped += 1
                else:
                    self.changed.wait()
            self.items.append(item)
            self.changed.notify_all()
            return not self.closed

    def end(self, error: BaseException | None) -> None:
        """Say that nothing more comes, and why if it is an error."""
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def get(self, patience: float | None, name: str) -> tuple[Item, int] | None:
        """Return the next item and how many were dropped before it; ``None`` at the end."""
        until = None if patience is None else monotonic() + patience
        with self.changed:
            while not self.items and not self.ended:
                left = LOOK_S if until is None else until - monotonic()
                self.changed.wait(min(LOOK_S, max(0.0, left)))
                if left <= 0:
                    raise SourceError(f"{name}: nothing came for {patience:g} s")
            if not self.items:
                if self.error is not None:
                    raise self.error
                return None
            item, dropped, self.dropped = self.items.popleft(), self.dropped, 0
            self.changed.notify_all()
            return item, dropped

    def close(self) -> None:
        """Want no more."""
        with self.changed:
            self.closed = True
            self.items.clear()
            self.changed.notify_all()


def ahead(
    items: Iterable[Item],
    depth: int = 4,
    *,
    newest: bool = False,
    patience: float | None = None,
    name: str = "the source",
    close: Callable[[], None] | None = None,
) -> Generator[tuple[Item, int], None, None]:
    """Yield items, and how many were dropped before each, while a thread takes the next ones.

    The thread is at most ``depth`` items ahead, and in order.  With ``newest`` it never waits: of
    the items that nobody took, the oldest are dropped.  An error of ``items`` is raised in its
    place, and :class:`SourceError`, which begins with ``name``, if nothing comes for ``patience``
    seconds (``None``: no bound).  When the generator is closed, ``close`` is called, which should
    end a wait of ``items``, and the thread ends after the item that it is waiting for.
    """
    handover: _Handover[Item] = _Handover(depth, newest=newest)

    def work() -> None:
        error: BaseException | None = None
        try:
            iterator = iter(items)
            for item in iterator:
                if not handover.put(item):
                    break
            if isinstance(iterator, Generator):
                iterator.close()
        except BaseException as problem:
            error = problem
        handover.end(error)

    # A daemon: a camera that gives no frame must not keep the process from ending.
    thread = threading.Thread(target=work, name="yolox_deploy-ahead", daemon=True)
    thread.start()
    try:
        while (entry := handover.get(patience, name)) is not None:
            yield entry
    finally:
        handover.close()
        if close is not None:
            close()
        thread.join(LOOK_S)
