"""The scenarios of ``yolox-bench``: what can be measured, one row for each.

**To add a scenario**, write one module like ``latency/scenario.py`` and add one row to
:data:`SCENARIOS` (a package of its own adds the row through the entry point group
``yolox_deploy.scenarios``).  The module has four names::

    RESULT: type[Result]                      # a dataclass: what is stored and shown
    def add_arguments(group) -> None          # the scenario's own options, if it has any
    def check(arguments) -> None              # raises UsageError, before a model is opened
    def measure(context) -> RESULT            # measures the opened systems

JSON, ``show``, Markdown and ``--plot`` then work.  Import heavy packages inside ``measure``.
"""

from __future__ import annotations

from yolox_deploy.benchmarks.scenarios.base import Scenario
from yolox_deploy.registry import Registry


def _row(name: str, module: str, question: str) -> Scenario:
    return Scenario(name, question, f"{__name__}.{module}.scenario")


SCENARIOS: Registry[Scenario] = Registry(
    "scenario",
    "yolox_deploy.scenarios",
    [
        _row("latency", "latency", "how long does each stage take, from picture to detections?"),
        _row("single-stream", "loadgen", "MLPerf: one picture after the other, p90 of latency"),
        _row("multi-stream", "loadgen", "MLPerf: several pictures per query, p99 of latency"),
        _row("server", "loadgen", "MLPerf: random arrivals, highest rate within a latency bound"),
        _row("offline", "loadgen", "MLPerf: all pictures at once, pictures per second"),
        _row("streaming", "streaming", "AP while a video goes on and does not wait (sAP)"),
    ],
)
