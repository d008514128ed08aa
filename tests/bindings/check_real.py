"""Run the CUDA layer through a real binding over a driver on the host; print what happened.

``python check_real.py LIBRARY BINDING``: one JSON line a call that was made to fail (0: none), of
its name, the error that was raised, what was not given back and what was misused.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np


def main(library: str, binding: str) -> None:
    """Load the driver before anybody looks for one, then let every call fail in turn."""
    driver = ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    for name in ("fake_books", "fake_wrong", "fake_refused"):
        getattr(driver, name).restype = ctypes.c_char_p

    sys.path.append(str(Path(__file__).parents[2]))
    from tools.checks.cuda import check_binding

    def report(number: int, error: str) -> None:
        texts = [
            getattr(driver, f)().decode() for f in ("fake_refused", "fake_books", "fake_wrong")
        ]
        print(json.dumps([number, texts[0], error, *texts[1:]]), flush=True)

    opened_here_closed_elsewhere(binding)
    threads = [threading.Thread(target=check_binding, args=(binding, 0, 2)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    driver.fake_fail_at(0)
    rows: list[Any] = check_binding(binding, 0, 2)
    total = driver.fake_calls()
    report(0, " ".join(rows))
    for number in range(1, total + 1):
        driver.fake_fail_at(number)
        error = ""
        try:
            check_binding(binding, 0, 2)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        report(number, error)
        if driver.fake_books() or driver.fake_wrong():
            # What was left over would count again.
            driver.fake_reset()


def opened_here_closed_elsewhere(binding: str) -> None:
    """Use a layer in two threads, and one inside another's context."""
    from yolox_deploy.runtimes.tensorrt.bindings import BINDINGS
    from yolox_deploy.runtimes.tensorrt.cuda import Cuda

    def use(cuda: Cuda) -> None:
        with cuda.current():
            host, memory = cuda.host_buffer((4,), np.dtype(np.float32)), cuda.device_buffer(16)
            stream, event = cuda.stream(), cuda.event()
            cuda.record(event, stream)
            cuda.copy_in(memory, host.array, stream)
            cuda.synchronize(stream)

    def use_and_close() -> None:
        use(outer)
        outer.close()

    outer = BINDINGS[binding](0)
    with outer.current():
        with BINDINGS[binding](0) as inner:
            use(inner)
        use(outer)
    thread = threading.Thread(target=use_and_close)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
