"""The one logger of a TensorRT module: it keeps what went wrong, for messages of ours.

TensorRT registers the first logger a process gives it, uses that one for every builder and runtime
from then on, and does not own it.  So there is one a module, and it lives as long as the process.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

KEPT = 50


@functools.cache
def log_of(trt: Any) -> Any:
    """Return the logger for ``trt``, whose ``lines`` are the latest errors it was told."""
    errors = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=KEPT)

        def log(self, severity: Any, text: str) -> None:
            if severity in errors:
                self.lines.append(text)

    return Log()
