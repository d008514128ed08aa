"""Sentences of advice on a latency report, each only if the numbers justify it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from yolox_deploy.architectures import ARCHITECTURES, BY_COST
from yolox_deploy.benchmarks.measure.loop import STAGES
from yolox_deploy.benchmarks.measure.statistics import ratio_interval
from yolox_deploy.benchmarks.measure.systems import SystemInfo
from yolox_deploy.benchmarks.scenarios.latency.figures import LatencyFigures
from yolox_deploy.runtimes import CHECKPOINT_SUFFIXES

HOST_SHARE = 0.4
FIRST_CALL_FACTOR = 10
UNSTABLE_CV = 0.25
# Below this share of the machine's peak a small model leaves processors waiting.
LOW_SHARE = 0.25
FASTER = 0.9
BF16_SETS = {"avx512_bf16", "amx_bf16"}


def latency_advice(result: LatencyFigures, systems: Sequence[SystemInfo]) -> list[str]:
    """Return the advice for all systems."""
    each = (text for i, system in enumerate(systems) for text in _on_one(result, i, system))
    return [
        *_fastest(result, systems),
        *each,
        *_precisions(result, systems),
        *_untried(result, systems),
    ]


def scatter_advice(result: LatencyFigures, systems: Sequence[SystemInfo]) -> list[str]:
    """Return one sentence on the times that scatter, if any do."""
    cvs = [float(series.total.std() / series.total.mean()) for series in result.series]
    worst, count = max(range(len(cvs)), key=cvs.__getitem__), sum(cv > UNSTABLE_CV for cv in cvs)
    if not count:
        return []
    p99 = f", {np.percentile(result.series[worst].total, 99) * 1e3:.1f} ms,"
    which = f", the most of the {count} that scatter" if count > 1 else ""
    return [
        f"{systems[worst].label}: the times scatter by {cvs[worst]:.0%}{which}: choose a deadline "
        f"by the p99{p99 if count == 1 else ''} and not by the median"
    ]


def _on_one(result: LatencyFigures, i: int, system: SystemInfo) -> Iterator[str]:
    series, threads = result.series[i], max(int(result.cores), 1)
    median = series.median
    shares = np.nan_to_num(np.median(series.stages, 0)) / median
    by_stage = dict(zip(STAGES, shares, strict=True))
    after = by_stage["decode"] + by_stage["nms"]
    first = float(np.median([start.first_s for start in result.cold_starts[i]] or [0]))
    speed = result.speed(i, system)
    share = speed.share if speed else None
    if by_stage["letterbox"] > HOST_SHARE:
        yield (
            f"{system.label}: the letterbox takes {by_stage['letterbox']:.0%} of the time: give "
            "pictures that are hardly larger than the model's input, or let the camera or the "
            "video decoder scale them"
        )
    if after > HOST_SHARE and not system.random_weights:
        yield (
            f"{system.label}: decode and NMS take {after:.0%} of the time: a higher score "
            "threshold leaves fewer boxes"
        )
    if system.device == "cpu" and system.threads and system.threads > max(result.cores, 1):
        yield (
            f"{system.label}: {system.threads} threads share {result.cores:g} allowed processors: "
            f"try --threads {threads}"
        )
    if first > FIRST_CALL_FACTOR * median:
        yield (
            f"{system.label}: the first inference takes {first * 1e3:.0f} ms, {first / median:.0f} "
            "times as long as a later one: detect in any picture once, before the first picture "
            "that matters"
        )
    if share is not None and share < LOW_SHARE and system.batch == 1:
        yield (
            f"{system.label}: one picture uses {share:.0%} of what the machine can compute: if "
            "pictures per second matter more than latency, measure --batch 8"
        )


def _precisions(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Iterator[str]:
    """Say which lower precision of the same model and engine is surely faster."""
    for i, base in enumerate(systems):
        if base.precision != "fp32":
            continue
        for j, other in enumerate(systems):
            if other.precision == "fp32" or not _same_model(base, other):
                continue
            a, b = result.series[i], result.series[j]
            ratio, interval = ratio_interval((a.total, a.rounds), (b.total, b.rounds))
            if interval.high < FASTER:
                verified = f"verification: {other.verification}"
                if other.verification != "passed":
                    verified += (
                        f"; check the AP with yolox-eval --precision {other.asked_precision}"
                    )
                yield f"{other.label} takes {ratio:.2f} of the time of {base.label}; {verified}"


def _same_model(base: SystemInfo, other: SystemInfo) -> bool:
    """Whether two systems run the same model, from one file or from files of two precisions."""

    def what(s: SystemInfo) -> tuple[object, ...]:
        return s.architecture, s.height, s.width, s.num_classes, s.backend, s.device, s.batch

    from_two = base.architecture and base.artifact_precision != other.artifact_precision
    return what(base) == what(other) and bool(from_two or base.model == other.model)


def _untried(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Iterator[str]:
    """Say which systems could compute in bf16 on this processor, and were not measured so."""
    if not BF16_SETS & set(result.instruction_sets):
        return
    for base in systems:
        key = (base.model, base.backend)
        tried = {s.precision for s in systems if (s.model, s.backend) == key}
        if (base.backend, base.device) == ("openvino", "cpu") and tried == {"fp32"}:
            yield f"{base.label}: this processor computes bf16: measure --precision fp32,bf16"


def _fastest(result: LatencyFigures, systems: Sequence[SystemInfo]) -> Iterator[str]:
    """Name the fastest system, or with --fps the fastest that holds the rate."""
    per_picture = [series.median / system.batch for system, series in result.each(systems)]
    order = sorted(range(len(systems)), key=per_picture.__getitem__)
    if not result.fps:
        if len(systems) > 1:
            best = per_picture[order[0]]
            speed = f"{best * 1e3:.1f} ms per picture, {1 / best:.0f} FPS"
            yield f"the fastest is {systems[order[0]].label}: {speed}{_but(result, systems, order)}"
        return
    frame = 1 / result.fps
    p95 = [float(np.percentile(series.total, 95)) for series in result.series]
    order = [i for i in order if systems[i].batch == 1]
    able = [i for i in order if p95[i] <= frame]
    rate = f"{result.fps:g} frames per second (a frame lasts {frame * 1e3:.1f} ms)"
    shown = [f"{s.label}, its p95 is {p * 1e3:.1f} ms" for s, p in zip(systems, p95, strict=True)]
    if able:
        yield f"the fastest that holds {rate} is {shown[able[0]]}{_but(result, systems, able)}"
        top = max(able, key=lambda i: (_published_ap(systems[i]), -p95[i]))
        if _published_ap(systems[top]) > _published_ap(systems[able[0]]):
            more = f"the most accurate that holds {result.fps:g} frames per second, by published AP"
            yield f"{more}, is {shown[top]}{_but(result, systems, [top])}"
    elif order:
        near = min(order, key=p95.__getitem__)
        text = f"none holds {rate}; the nearest is {shown[near]}"
        if name := _cheaper(result, systems, near, frame / p95[near]):
            text += f"; yolox_{name} has fewer operations and may: measure --model yolox_{name} "
            yield f"{text}--random-weights"
        else:
            yield f"{text}; {_smaller(systems, near)} may hold it"


def _smaller(systems: Sequence[SystemInfo], i: int) -> str:
    """Return what is faster than a system, without the precisions that were measured."""
    system = systems[i]
    free = system.random_weights or Path(system.model).suffix.lower() in CHECKPOINT_SUFFIXES
    size = "a smaller --imgsz" if free else "an export with a smaller --imgsz"
    # With --precision all, those of a run are all that there are.
    measured = any(s.precision != "fp32" for s in systems)
    return size if measured else f"{size} or a lower precision"


def _but(result: LatencyFigures, systems: Sequence[SystemInfo], order: Sequence[int]) -> str:
    """Return what limits the advice to take the first of ``order``, which is from fast to slow."""
    best, *others = order
    equal = []
    for i in others:
        a, b = result.series[best], result.series[i]
        _, interval = ratio_interval((a.total, a.rounds), (b.total, b.rounds))
        if interval.low * systems[best].batch > systems[i].batch:
            break
        equal.append(systems[i].label)
    text = f"; not surely slower: {', '.join(equal)}" if equal else ""
    system = systems[best]
    if system.verification != "passed" and not system.random_weights:
        text += f"; its verification: {system.verification}"
    return text


def _published_ap(system: SystemInfo) -> float:
    row = ARCHITECTURES.get(system.architecture or "")
    return (row.ap if row else None) or 0.0


def _cheaper(
    result: LatencyFigures, systems: Sequence[SystemInfo], i: int, share: float
) -> str | None:
    """Return the largest architecture that has at most ``share`` of a system's operations.

    Never one that was measured in this run, since none of those is fast enough.
    """
    cost, row = result.costs[i], ARCHITECTURES.get(systems[i].architecture or "")
    if row is None:
        return None
    most = share * (cost.gflops if cost else row.gflops or 0.0)
    measured = {system.architecture for system in systems}
    names = [n for n in BY_COST if (ARCHITECTURES[n].gflops or most) < most and n not in measured]
    return names[-1] if names else None
