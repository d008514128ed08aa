"""Sentences of advice, each only where the numbers carry it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from yolox_deploy.benchmarks.machine.exchange import fastest, levels
from yolox_deploy.benchmarks.measure.loop import STAGES, Series
from yolox_deploy.benchmarks.published import BY_COST
from yolox_deploy.benchmarks.measure.statistics import ratio_interval
from yolox_deploy.benchmarks.measure.systems import SystemInfo

if TYPE_CHECKING:
    from yolox_deploy.benchmarks.scenarios.latency.scenario import LatencyResult

HOST_SHARE = 0.4
# Of one state of the machine; and the factor in time from which a change of it matters.
FEWEST_ALIKE = 5
LOST = 1.05
FIRST_CALL_FACTOR = 10
UNSTABLE_CV = 0.25
# Below this share of the machine's peak a small model leaves cores waiting.
LOW_SHARE = 0.25
FRAME_SECONDS = 1 / 30
FASTER = 0.9
BF16_SETS = {"avx512_bf16", "amx_bf16"}


def latency_advice(result: LatencyResult, systems: Sequence[SystemInfo]) -> list[str]:
    """Return the advice for all systems."""
    return [
        *(
            text
            for i, system in enumerate(systems)
            for text in _of_one(result, i, system, result.series[i])
        ),
        *_precisions(result, systems),
        *_untried(result, systems),
        *_frame_rate(result, systems),
    ]


def placement_doubts(result: LatencyResult, systems: Sequence[SystemInfo]) -> list[str]:
    """Return what each system lost while the processors exchanged data more slowly.

    None where that did not change during the run, or for too few rounds to say.
    """
    if not result.exchange:
        return []
    states = levels(result.exchange, fastest(result.exchange))
    near, far = np.flatnonzero(states == 0), np.flatnonzero(states > 0)
    if min(len(near), len(far)) < FEWEST_ALIKE:
        return []
    ratio = np.median(np.take(result.exchange, far)) / np.median(np.take(result.exchange, near))
    found = []
    for system, series in zip(systems, result.series, strict=True):
        if system.device == "cpu" and system.threads != 1:
            quick, slow = (float(np.median(series.within(x).total)) * 1e3 for x in (near, far))
            if slow < LOST * quick:
                continue
            found.append(
                f"in {len(far)} of {len(states)} rounds the processors exchanged data {ratio:.1f} "
                f"times as slowly, as when the host of a virtual machine moves them: "
                f"{system.label} took {slow:.1f} ms there, {quick:.1f} ms in the others "
                "(--threads 1 does not depend on it)"
            )
    return found


def _of_one(result: LatencyResult, i: int, system: SystemInfo, series: Series) -> Iterator[str]:
    label, median = system.label, float(np.median(series.total))
    shares = np.nan_to_num(np.median(series.stages, 0)) / median
    by_stage = dict(zip(STAGES, shares, strict=True))
    if by_stage["letterbox"] > HOST_SHARE:
        yield (
            f"{label}: the letterbox takes {by_stage['letterbox']:.0%} of the time: feed pictures "
            "near the input's size, or let the camera or decoder scale"
        )
    after = by_stage["decode"] + by_stage["nms"]
    if after > HOST_SHARE and not system.random_weights:
        yield (
            f"{label}: decode and NMS take {after:.0%} of the time: a higher score threshold "
            "leaves fewer boxes"
        )
    if system.device == "cpu" and system.threads and system.threads > max(result.cores, 1):
        yield (
            f"{label}: {system.threads} threads on {result.cores:g} allowed processors: try "
            f"--threads {max(int(result.cores), 1)}"
        )
    if result.cold_starts[i]:
        first = float(np.median([start.first_s for start in result.cold_starts[i]]))
        if first > FIRST_CALL_FACTOR * median:
            yield (
                f"{label}: the first inference takes {first * 1e3:.0f} ms, {first / median:.0f} "
                "times the usual: run one picture before the first that matters"
            )
    cv = float(series.total.std() / series.total.mean())
    if cv > UNSTABLE_CV:
        p99 = float(np.percentile(series.total, 99))
        yield (
            f"{label}: times scatter by {cv:.0%}; a deadline must be set by the p99, "
            f"{p99 * 1e3:.1f} ms, and not by the median"
        )
    cost, limit = result.costs[i], result.limit_of(system)
    if cost and limit and limit.gflops and system.batch == 1:
        speed = cost.gflops / float(np.median(series.stages[:, STAGES.index("inference")]))
        if speed < LOW_SHARE * limit.gflops:
            yield (
                f"{label}: one picture uses {speed / limit.gflops:.0%} of what the machine can "
                "compute; where throughput counts, measure --batch 8"
            )


def _precisions(result: LatencyResult, systems: Sequence[SystemInfo]) -> Iterator[str]:
    """Say where a lower precision of the same model and engine is surely faster."""
    for i, base in enumerate(systems):
        if base.precision != "fp32":
            continue
        for j, other in enumerate(systems):
            if other.precision == "fp32" or not _same_model(base, other):
                continue
            a, b = result.series[i], result.series[j]
            ratio, interval = ratio_interval((a.total, a.rounds), (b.total, b.rounds))
            if interval.high < FASTER:
                verified = (
                    f"the artifact's verification in fp32: {other.verification}; check AP with "
                    f"yolox-eval --precision {other.asked_precision}"
                    if other.artifact_precision == "fp32"
                    else f"its verification: {other.verification}"
                )
                yield f"{other.label} takes {ratio:.2f} of the time of {base.label}; {verified}"


def _same_model(base: SystemInfo, other: SystemInfo) -> bool:
    """Whether two systems run one model, from one file or from artifacts of two precisions."""

    def what(s: SystemInfo) -> tuple[object, ...]:
        return s.architecture, s.height, s.width, s.num_classes, s.backend, s.device, s.batch

    from_two = base.architecture and base.artifact_precision != other.artifact_precision
    return what(base) == what(other) and bool(from_two or base.model == other.model)


def _untried(result: LatencyResult, systems: Sequence[SystemInfo]) -> Iterator[str]:
    """Say where the processor has instructions for bf16 that nobody has used."""
    if not BF16_SETS & set(result.instruction_sets):
        return
    for base in systems:
        kin = [s for s in systems if (s.model, s.backend) == (base.model, base.backend)]
        if (base.backend, base.device) == ("openvino", "cpu") and all(
            s.precision == "fp32" for s in kin
        ):
            yield f"{base.label}: this processor computes bf16; measure --precision fp32,bf16"


def _frame_rate(result: LatencyResult, systems: Sequence[SystemInfo]) -> Iterator[str]:
    """Say which models miss 30 frames a second on every engine, and which smaller one does not."""
    p95 = [float(np.percentile(series.total, 95)) for series in result.series]
    fastest: dict[str, int] = {}
    for i in sorted(range(len(systems)), key=lambda i: p95[i]):
        if systems[i].batch == 1:
            fastest.setdefault(systems[i].model, i)
    able = [i for i in fastest.values() if p95[i] <= FRAME_SECONDS]
    for i in fastest.values():
        if p95[i] <= FRAME_SECONDS:
            continue
        rank = _rank(systems[i])
        text = (
            f"{systems[i].label} cannot keep 30 frames a second: its p95 is {p95[i] * 1e3:.1f} ms, "
            "a frame lasts 33.3"
        )
        smaller = [j for j in able if _rank(systems[j]) < rank]
        if smaller:
            best = max(smaller, key=lambda j: _rank(systems[j]))
            yield f"{text}; the next smaller that can: {systems[best].label}"
        elif rank > 0:
            name = BY_COST[rank - 1]
            yield f"{text}; measure the next smaller, --model yolox_{name} --random-weights"
        else:
            yield f"{text}; a smaller --imgsz or a lower precision may"


def _rank(system: SystemInfo) -> int:
    return BY_COST.index(system.architecture) if system.architecture in BY_COST else -1
