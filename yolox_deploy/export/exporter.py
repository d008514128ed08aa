"""One checkpoint to its artifacts: what the targets of one export share."""

from __future__ import annotations

import hashlib
import importlib.metadata
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx

from yolox_deploy.export.front import with_front
from yolox_deploy.export.onnx import Hub, make_hub
from yolox_deploy.export.options import ExportOptions, artifact_name
from yolox_deploy.export.precision import flushed, to_fp16, underflow
from yolox_deploy.export.prepare import prepare
from yolox_deploy.export.quantization.plan import Plan
from yolox_deploy.export.quantization.quantizer import Quantizer
from yolox_deploy.export.quantization.speed import Ratio, compare_speed
from yolox_deploy.export.reference import Reference
from yolox_deploy.export.results import ExportResult
from yolox_deploy.export.tails import with_tail
from yolox_deploy.export.targets import HUB, Target
from yolox_deploy.export.targets.base import Advance, ignore_progress
from yolox_deploy.files import check_space, full_disk_reported, put, reported_as_output_error
from yolox_deploy.models.checkpoint import Checkpoint
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.content import put_into_onnx
from yolox_deploy.runtimes.registry import BACKENDS
from yolox_deploy.spec import ModelSpec
from yolox_deploy.verification.verify import Verification, verify

UNVERIFIED = ".unverified"
# Pictures on which the cost of flushed FP16 weights is measured: it is a note, not a verdict.
FLUSHED_PICTURES = 3
# The precisions that INT8 has to beat.
FLOATING = ("fp32", "bf16")
NOT_MEASURED = "its engine does not run here, or not in them"

Report = Callable[[str], None]


@dataclass
class Exporter:
    """Writes and verifies the artifacts of one checkpoint, one target after the other.

    The targets share graphs, which depend on the batch only, and the checkpoint's own outputs on
    the verification pictures.  ``place`` is a folder for files that are not finished; ``reference``
    is ``None`` where verification is turned off.
    """

    checkpoint: Checkpoint
    spec: ModelSpec
    options: ExportOptions
    reference: Reference | None
    place: Path
    report: Report
    advance: Advance = ignore_progress
    plan: Plan | None = None

    def __post_init__(self) -> None:
        self.hubs: dict[int | None, Hub] = {}
        self.verified_graphs: dict[str, Verification] = {}
        self.halves: dict[int | None, tuple[onnx.ModelProto, str]] = {}
        _, note = self.checkpoint.input_is_legacy(self.options.hints.legacy)
        self.input_notes = (note,) if note else ()
        self.input_problem = self.reference.input_problem() if self.reference else None
        self.evidence: dict[str, Any] | None = None
        self.evidence_notes: list[str] = []
        if self.reference:
            own, enclose = self.options.pictures is not None, self.options.enclose
            evidence = self.reference.evidence(own=own, enclose=enclose)
            self.evidence = evidence.record(self.spec)
            if own and enclose:
                self.evidence_notes.append(
                    f"the artifacts carry {evidence.summary()}, as evidence for yolox-verify; "
                    "--no-enclose leaves your pictures out"
                )

    def hub(self, batch: int | None) -> Hub:
        """Return the ONNX graph with raw output for ``batch`` pictures, traced the first time."""
        if batch not in self.hubs:
            self.report("tracing the network to ONNX")
            options = self.options
            spec = replace(self.spec, batch=batch, output="raw", pixels=False)
            network = prepare(self.checkpoint.network, spec.input, scale_stem=options.scale_stem)
            made = make_hub(network, spec, opset=options.opset, simplify=options.simplify)
            self.hubs[batch] = made
        return self.hubs[batch]

    def export(self, row: Target, output: Path) -> ExportResult:
        """Write one target's artifact, verify it, and move it into the folder ``output``."""
        start = perf_counter()
        spec = self.spec if row.batches else replace(self.spec, batch=1)
        hub = self.hub(spec.batch)
        notes = [*self.checkpoint.notes, *self.input_notes, *hub.notes, *self.evidence_notes]
        if spec.batch != self.spec.batch:
            notes.append(f"{row.name} has no batches: the runtime loops over the pictures")
        self.report(f"converting to {row.name}")
        graph = hub.model
        if spec.precision == "fp16" and row.fp16_in_graph:
            graph, note = self.half(graph, spec)
            notes += [note] if note else []
        search = None
        if self.quantizer and row.int8:
            graph, search = self.quantizer.quantize(row.int8, graph, spec)
            spec = replace(spec, quantization=search.summary())
        graph = with_front(with_tail(graph, spec), spec)
        main = self.place / f"{artifact_name(spec.name, spec.precision)}{row.suffix}"
        size = graph.ByteSize()
        with full_disk_reported(output, size), reported_as_output_error(output):
            row.convert(graph, spec, main)
            spec = replace(spec, tools=_tool_versions(row))
            row.embed(main, spec)
            problem = search.problem() if search else ""
            verification = self.verify(row, main, graph, output / main.name).failed_by(problem)
            spec = replace(spec, verification=verification.record(), evidence=self.evidence)
            row.embed(main, spec)
            if verification.status == "failed":
                # A converter may not have noticed that it could not write everything.
                check_space(output, size)
            ok = verification.status != "failed" or self.options.allow_unverified
            speed = self.speed(row, main, hub.model, spec) if search and ok else ()
            anyway = self.options.int8 is not None and self.options.int8.keep_anyway
            kept = anyway or all(r.surely_faster for r in speed)
            size = sum(file.stat().st_size for file in row.files(main))
            path = output / main.name
            if kept:
                path = self.move(row, main, output, "" if ok else UNVERIFIED)
        notes += map(str, speed)
        if search and not speed:
            notes.append(f"{path.name} was not measured beside other precisions: {NOT_MEASURED}")
        seconds = perf_counter() - start
        return ExportResult(
            *(row.name, path, size, seconds, spec, verification, tuple(notes)),
            ok=ok,
            kept=kept,
            speed=speed,
            search=search,
        )

    @cached_property
    def quantizer(self) -> Quantizer | None:
        """What makes INT8 graphs, if they were asked for."""
        if not self.options.int8 or self.plan is None:
            return None
        return Quantizer(
            self.checkpoint,
            self.spec,
            self.options.int8,
            self.plan,
            open=self.opened,
            report=self.report,
            advance=self.advance,
            max_pixels=self.options.max_pixels,
        )

    def speed(
        self, row: Target, main: Path, model: onnx.ModelProto, spec: ModelSpec
    ) -> tuple[Ratio, ...]:
        """Return how an INT8 artifact's time compares with that of other precisions, measured here.

        Nothing for an artifact whose engine cannot run the ONNX graph in its place.
        """
        if not (row.int8 and row.int8.timed) or row.why_not_executed():
            return ()
        self.report(f"measuring {row.name} beside other precisions")
        kind = BACKENDS[row.backend].runtime_class()
        float_spec = replace(spec, precision="fp32", quantization=None, verification=None)
        graph = with_front(with_tail(model, float_spec), float_spec)
        # The time does not depend on what the picture shows.
        shape = (spec.batch or 1, *spec.input_shape[1:])
        images = np.full(shape, spec.input.pad_value, np.uint8 if spec.pixels else np.float32)
        with ExitStack() as stack:
            others = {}
            for precision in FLOATING:
                if precision in kind.precisions:
                    opened = self.opened(graph, float_spec, row.backend, precision)
                    runtime = stack.enter_context(opened)
                    # A processor without BF16 computes in FP32 instead.
                    if runtime.facts().precision == precision:
                        others[precision] = runtime
            int8 = stack.enter_context(kind(main))
            how_far = partial(self.advance, "round")
            return tuple(compare_speed(int8, others, images, how_far))

    def half(self, graph: onnx.ModelProto, spec: ModelSpec) -> tuple[onnx.ModelProto, str]:
        """Return the raw-output graph in FP16, and a note on its weights that FP16 barely holds."""
        if spec.batch not in self.halves:
            half, count = to_fp16(graph), underflow(graph)
            cost = self.cost_of_flushing(half, spec) if count.small and self.reference else ""
            self.halves[spec.batch] = half, f"{count}{cost}" if count.small else ""
        return self.halves[spec.batch]

    def cost_of_flushing(self, half: onnx.ModelProto, spec: ModelSpec) -> str:
        """Return what is lost on an engine that flushes FP16's subnormal weights to zero."""
        assert self.reference is not None
        inputs = self.reference.inputs[:FLUSHED_PICTURES]
        expected = self.reference.outputs[:FLUSHED_PICTURES]
        spec = replace(spec, output="raw", score_threshold=None, iou_threshold=None, pixels=False)
        with self.opened(half, spec) as opened:
            honest = opened.infer(inputs)
        with self.opened(flushed(half), spec) as opened:
            change, verdict = (verify(opened, inputs, outputs) for outputs in (honest, expected))
        c = change.comparison
        assert c is not None
        return (
            f"; an engine that flushes them to zero would move scores by up to "
            f"{c['score_difference']:.1e}, those of detections by {c['score_mean']:.1e} on "
            f"average, and would {'fail' if verdict.status == 'failed' else 'pass'} verification"
        )

    @contextmanager
    def opened(
        self,
        graph: onnx.ModelProto,
        spec: ModelSpec,
        backend: str = HUB.backend,
        precision: str | None = None,
    ) -> Iterator[Runtime]:
        """Open a graph on an engine that reads ONNX; its file is removed at the end."""
        file = self.place / f"{secrets.token_hex(8)}.onnx"
        HUB.convert(graph, spec, file)
        # Without hashes, which nobody but this export would compare.
        file.write_bytes(put_into_onnx(file, spec.to_json()))
        with BACKENDS[backend].runtime_class()(file, precision=precision) as runtime:
            yield runtime
        file.unlink()

    def verify_graph(self, graph: onnx.ModelProto) -> Verification:
        """Verify a graph on ONNX Runtime, or return what was found the first time."""
        key = _content(graph)
        if key not in self.verified_graphs:
            with self.opened(graph, self.spec) as opened:
                found = self.compared(opened)
            self.verified_graphs[key] = found
        return self.verified_graphs[key]

    def compared(self, opened: Runtime) -> Verification:
        """Compare an opened artifact with the checkpoint."""
        assert self.reference is not None
        reference = self.reference
        inputs = reference.inputs_of(opened.spec)
        return verify(opened, inputs, reference.outputs, self.options.pictures)

    def verify(self, row: Target, main: Path, graph: onnx.ModelProto, final: Path) -> Verification:
        """Verify an artifact, or if it cannot run here the ``graph`` that it is made from."""
        if self.reference is None:
            return Verification("not run", notes=("turned off with --no-verify",))
        self.report(f"verifying {row.name}")
        why_not = row.why_not_executed()
        if why_not:
            note = (
                f"{final.name} was not executed ({why_not}): its ONNX graph was verified in its "
                f"place; to finish on the target machine: {row.finish_command(final)}"
            )
            found = self.verify_graph(graph).of_its_graph(note)
        else:
            with BACKENDS[row.backend].runtime_class()(main) as opened:
                found = self.compared(opened)
            if row.name == HUB.name:
                self.verified_graphs[_content(graph)] = found
        # The spec keeps what is not proven.
        found = replace(found, notes=(*found.notes, *self.input_notes))
        return found.failed_by(self.input_problem)

    def move(self, row: Target, main: Path, output: Path, mark: str) -> Path:
        """Rename the artifact's files into ``output``, with ``mark`` before their suffixes.

        Returns the main file's new path.
        """
        stem = main.name.removesuffix(row.suffix)
        # The main file last: an artifact is there when its main file is.
        for file in row.files(main):
            put(file, output / (stem + mark + file.name.removeprefix(stem)))
        return output / f"{stem}{mark}{row.suffix}"


def _content(graph: onnx.ModelProto) -> str:
    """Return a graph's SHA-256."""
    return hashlib.sha256(graph.SerializeToString()).hexdigest()


def _tool_versions(row: Target) -> dict[str, str]:
    """Return the versions of the packages that made an artifact."""
    versions = {}
    for package in ("yolox-deploy", "torch", "onnx", "onnxsim", row.package):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
