"""Engines that compute with OpenMP, in a process that was forked from one that used them.

libgomp keeps its threads for the thread that started them, and a fork takes none of them along: the
child would wait for them for ever (ncnn and PyTorch, with more than one thread).  A thread that
begins in the child has none yet, and gets its own.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

STARTED_AS = os.getpid()


def call_after_fork(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that uses OpenMP, if need be in a thread that began in this process."""
    # Only the thread that forked goes on in the child, as its main thread.
    if os.getpid() == STARTED_AS or threading.current_thread() is not threading.main_thread():
        return function(*args, **kwargs)
    return _worker(os.getpid()).submit(function, *args, **kwargs).result()


@functools.cache
def _worker(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, f"yolox_deploy-{process}")
