"""Run the CUDA layer through a real binding over a driver on the host; print what happened.

``python check_real.py LIBRARY BINDING``: one JSON line a call that was made to fail (0: none), of
its name, the error that was raised, what was not given back and what was misused.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from typing import Any


def main(library: str, binding: str) -> None:
    """Load the driver before anybody looks for one, then let every call fail in turn."""
    driver = ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    for name in ("fake_books", "fake_wrong", "fake_refused"):
        getattr(driver, name).restype = ctypes.c_char_p

    from yolox_deploy.benchmarks.cuda_check import check_binding

    def report(number: int, error: str) -> None:
        texts = [
            getattr(driver, f)().decode() for f in ("fake_refused", "fake_books", "fake_wrong")
        ]
        print(json.dumps([number, texts[0], error, *texts[1:]]), flush=True)

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


if __name__ == "__main__":
    main(*sys.argv[1:])
