"""Watching a build: its progress, and an interrupt that ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from yolox_deploy.export.targets.base import Advance


def progress_monitor(trt: Any, advance: Advance, interrupted: threading.Event) -> Any:
    """Return a progress monitor that tells ``advance``, and stops the build when interrupted."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            advance(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self.steps.get(phase_name, 0)
            advance(phase_name, min(step + 1, total), total)
            return not interrupted.is_set()

        def phase_finish(self, phase_name: str) -> None:
            total = self.steps.pop(phase_name, 0)
            advance(phase_name, total, total)

    return Monitor()


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Hold an interrupt back until the builder has returned, and tell it through the event.

    An exception that passes through the builder's own frames would end the process.
    """
    interrupted = threading.Event()
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def remember(number: int, frame: FrameType | None) -> None:
        told.append(number)
        interrupted.set()

    # Whatever a program turns into an exception, such as SIGTERM on the command line.
    held = {n for n in signal.valid_signals() if callable(signal.getsignal(n))}
    before: dict[int, Any] = {n: signal.signal(n, remember) for n in held | {signal.SIGINT}}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    if signal.SIGINT in told:
        raise KeyboardInterrupt
    for number in told:
        signal.raise_signal(number)
