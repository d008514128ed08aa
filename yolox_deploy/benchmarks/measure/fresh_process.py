"""The program of one cold start: it imports, opens a model and detects, and prints the seconds.

:mod:`~yolox_deploy.benchmarks.measure.cold_start` runs this file by its path and not with ``-m``,
which would import the package before the first line here, and so before the clock starts.
"""

import sys
import time


def main(given: str) -> None:
    """Print the fields of a ``ColdStart`` as JSON; ``given`` holds model, options and pictures."""
    start = time.perf_counter()
    import json

    from yolox_deploy import Detector
    from yolox_deploy.runtimes import BACKENDS

    model, options, picture, batch, later_calls = json.loads(given)
    BACKENDS[options["backend"]].runtime_class()
    imported = time.perf_counter()

    import numpy as np

    from yolox_deploy.benchmarks.machine.gpu import gpu_used
    from yolox_deploy.benchmarks.machine.memory import peak_bytes

    pictures = [np.load(picture)] * batch
    gpu_before = gpu_used()
    loading = time.perf_counter()
    detector = Detector(model, **options)
    loaded = time.perf_counter()
    detector.batch(pictures)
    first = time.perf_counter()
    for _ in range(later_calls):
        detector.batch(pictures)
    used = None if gpu_before is None else max((gpu_used() or 0) - gpu_before, 0)
    found = {"import_s": imported - start, "load_s": loaded - loading, "first_s": first - loaded}
    print(json.dumps({**found, "peak_bytes": peak_bytes(), "gpu_bytes": used}))


if __name__ == "__main__":
    main(sys.argv[1])
