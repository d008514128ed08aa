"""The only logger of a TensorRT module, which keeps TensorRT's errors for our own messages.

TensorRT keeps the first logger that a process gives it, uses that logger for every builder and
runtime, and does not own it.  So there is one logger per module, and it lives as long as the
process.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

KEPT = 50


@functools.cache
def log_of(trt: Any) -> Any:
    """Return the logger for the module ``trt``; its ``lines`` are TensorRT's latest errors."""
    errors = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=KEPT)

        def log(self, severity: Any, text: str) -> None:
            if severity in errors:
                self.lines.append(text)

    return Log()
