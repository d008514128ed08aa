"""What could be taken on this machine, and what it has to meet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yolox_deploy.benchmarks.measure.opening import requests
from yolox_deploy.benchmarks.measure.systems import SystemRequest
from yolox_deploy.errors import UsageError, number_of
from yolox_deploy.export.cache import target_for
from yolox_deploy.export.options import ExportOptions, Int8Options, artifact_name
from yolox_deploy.files import cache_folder, is_whole, one_at_a_time, seal, sha256_of
from yolox_deploy.pictures.images import find_images
from yolox_deploy.processors import allowed_cores, physical_cores, threads_allowed
from yolox_deploy.records import Amount, Record, Share, Side
from yolox_deploy.runtimes import BACKENDS, CHECKPOINT_SUFFIXES
from yolox_deploy.spec import SpecHints
from yolox_deploy.weights import find_model


@dataclass(frozen=True)
class Candidate(Record):
    """One of the choices; ``precision`` is what the engine computes in.

    ``threads`` is ``None`` where the engine runs on no CPU.
    """

    model: str
    height: Side
    width: Side
    backend: str
    precision: str
    threads: int | None

    @property
    def group(self) -> tuple[object, ...]:
        """What AP depends on.

        Threads do not change it, nor does the engine in FP32: every export is verified.
        """
        engine = "" if self.precision == "fp32" else self.backend
        return self.model, self.height, self.width, self.precision, engine

    def cells(self) -> dict[str, str]:
        """Return the columns of a table."""
        return {
            "model": self.model,
            "input": f"{self.height}x{self.width}",
            "engine": f"{self.backend} {self.precision}",
            "threads": str(self.threads or "-"),
        }

    def __str__(self) -> str:
        words = " ".join([*self.cells().values()][:3])
        return f"{words}, {number_of(self.threads, 'thread')}" if self.threads else words


@dataclass(frozen=True)
class Demand(Record):
    """What has to be met; ``None`` is no demand.

    ``p99_ms`` bounds the 99th percentile of the time until the pictures of all ``streams`` are
    detected in, one after the other; ``min_ap`` is COCO AP (0..1), ``memory_mb`` the most memory of
    a process (10^6 bytes).
    """

    p99_ms: Amount | None = None
    min_ap: Share | None = None
    memory_mb: Amount | None = None
    streams: Side = 1

    @property
    def seconds(self) -> float | None:
        """The longest time for one picture."""
        return None if self.p99_ms is None else self.p99_ms / 1e3 / self.streams

    def __str__(self) -> str:
        pictures = f" for {self.streams} pictures" if self.streams > 1 else ""
        texts = [
            f"p99 of at most {self.p99_ms:.1f} ms{pictures}" if self.p99_ms is not None else "",
            f"AP of at least {self.min_ap:g}" if self.min_ap is not None else "",
            f"memory of at most {self.memory_mb:g} MB" if self.memory_mb is not None else "",
        ]
        return ", ".join(filter(None, texts)) or "no demand"


def usual_threads() -> list[int]:
    """Return the numbers of threads that are tried: 1, half of the processors, and all of them."""
    most = threads_allowed() or physical_cores() or max(int(allowed_cores()), 1)
    return sorted({1, max(most // 2, 1), most})


def candidates(
    models: Sequence[str],
    sizes: Sequence[tuple[int, int] | None],
    backends: Sequence[str],
    precisions: Sequence[str],
    threads: Sequence[int],
    hints: SpecHints,
) -> tuple[list[SystemRequest], list[str]]:
    """Return what is to be opened, and notes on what is left out.

    PyTorch is left out unless it is named: it opens checkpoints, and an artifact is wanted.
    """
    found: dict[SystemRequest, None] = {}
    left_out: dict[str, None] = {}
    stems: dict[str, Path] = {}
    for model in models:
        path = find_model(model)
        if stems.setdefault(path.stem, path) != path:
            raise UsageError(f"{stems[path.stem]} and {path} have one name: rename one of them")
        if path.suffix.lower() not in CHECKPOINT_SUFFIXES:
            raise UsageError(
                f"--model {model}: expected a checkpoint ({', '.join(CHECKPOINT_SUFFIXES)}): each "
                "input size and engine needs an export of its own"
            )
        for size in sizes:
            for request in requests(
                [model], backends, precisions, hints=replace(hints, imgsz=size)
            ):
                if request.backend == "torch":
                    left_out["torch was left out: it opens checkpoints, and no artifact"] = None
                elif request.left_out:
                    text = f"{request.backend} {request.precision}"
                    left_out[f"{text} was left out: {request.left_out}"] = None
                else:
                    on_cpu = BACKENDS[request.backend].runtime_class().devices[0] == "cpu"
                    for count in threads if on_cpu else (None,):
                        found[replace(request, threads=count)] = None
    if not found:
        raise UsageError(f"nothing to measure: {'; '.join(left_out) or 'no candidate'}")
    return list(found), list(left_out)


def with_int8(
    wanted: Sequence[SystemRequest], calibration: Path, begin: Any
) -> Iterator[SystemRequest]:
    """Yield INT8 artifacts beside the FP32 requests of engines that have INT8.

    Each is searched for once and kept in the cache folder; an interrupted search goes on.
    """
    # Needs PyTorch.
    from yolox_deploy.export.pipeline import export_model

    pictures = hashlib.sha256("".join(map(sha256_of, find_images([calibration]))).encode())
    for request in wanted:
        target = target_for(request.backend)
        if target is None or target.int8 is None or request.precision not in (None, "fp32"):
            continue
        options = ExportOptions(
            hints=request.hints,
            int8=Int8Options(calibration, keep_anyway=True),
            overwrite=True,
        )
        given = f"{sha256_of(request.path)} {request.hints} {target.name} {pictures.hexdigest()}"
        folder = cache_folder() / "plans" / hashlib.sha256(given.encode()).hexdigest()[:24]
        name = artifact_name(request.path.stem, "int8") + target.suffix
        artifact = folder / name
        if not is_whole(artifact):
            begin(f"INT8 of {request.text}")
            wait: Callable[[], None] = lambda: None  # noqa: E731
            with one_at_a_time(folder, wait):
                if not is_whole(artifact):
                    export_model(request.path, [target.name], options, folder, begin, begin.advance)
                    seal(artifact, target.files(artifact))
        yield replace(request, path=artifact, precision=None, hints=SpecHints())
