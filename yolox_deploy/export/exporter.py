"""One checkpoint to its artifacts: what the targets of one export share."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import onnx

from yolox_deploy.export.front import with_front
from yolox_deploy.export.onnx import Hub, make_hub
from yolox_deploy.export.options import ExportOptions, artifact_name
from yolox_deploy.export.precision import flushed, to_fp16, underflow
from yolox_deploy.export.prepare import prepare
from yolox_deploy.export.reference import Reference
from yolox_deploy.export.results import ExportResult
from yolox_deploy.export.tails import with_tail
from yolox_deploy.export.targets import HUB, Target
from yolox_deploy.files import check_space, full_disk_reported, put, reported_as_output_error
from yolox_deploy.models.checkpoint import Checkpoint
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.registry import BACKENDS
from yolox_deploy.spec import ModelSpec
from yolox_deploy.verification.verify import Verification, verify

UNVERIFIED = ".unverified"
# Pictures on which the cost of flushed FP16 weights is measured: it is a note, not a verdict.
FLUSHED_PICTURES = 3

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

    def __post_init__(self) -> None:
        self.hubs: dict[int | None, Hub] = {}
        self.verified_graphs: dict[str, Verification] = {}
        self.halves: dict[int | None, tuple[onnx.ModelProto, str]] = {}
        _, note = self.checkpoint.input_is_legacy(self.options.hints.legacy)
        self.input_notes = (note,) if note else ()
        self.input_problem = self.reference.input_problem() if self.reference else None

    def hub(self, batch: int | None) -> Hub:
        """Return the ONNX graph with raw output for ``batch`` pictures, traced the first time."""
        if batch not in self.hubs:
            self.report("tracing the network to ONNX")
            options, spec = (
                self.options,
                replace(self.spec, batch=batch, output="raw", pixels=False),
            )
            network = prepare(self.checkpoint.network, spec.input, scale_stem=options.scale_stem)
            self.hubs[batch] = make_hub(
                network, spec, opset=options.opset, simplify=options.simplify
            )
        return self.hubs[batch]

    def export(self, row: Target, output: Path) -> ExportResult:
        """Write one target's artifact, verify it, and move it into the folder ``output``."""
        start = perf_counter()
        spec = self.spec if row.batches else replace(self.spec, batch=1)
        hub = self.hub(spec.batch)
        notes = [*self.checkpoint.notes, *self.input_notes, *hub.notes]
        if not self.checkpoint.knows_names and self.options.hints.names is None:
            notes.append(
                f"{self.checkpoint.path.name} does not name its {spec.num_classes} classes: they "
                "are called class_0, class_1, ...; give the names with --names"
            )
        if spec.batch != self.spec.batch:
            notes.append(f"{row.name} has no batches: the runtime loops over the pictures")
        self.report(f"converting to {row.name}")
        graph = hub.model
        if spec.precision == "fp16" and row.fp16_in_graph:
            graph, note = self.half(graph, spec)
            notes += [note] if note else []
        graph = with_front(with_tail(graph, spec), spec)
        main = self.place / f"{artifact_name(spec.name, spec.precision)}{row.suffix}"
        size = graph.ByteSize()
        with full_disk_reported(output, size), reported_as_output_error(output):
            row.convert(graph, spec, main)
            spec = replace(spec, tools=_tool_versions(row))
            row.embed(main, spec)
            verification = self.verify(row, main, graph, output / main.name)
            spec = replace(spec, verification=verification.record())
            row.embed(main, spec)
            if verification.status == "failed":
                # A converter may not have noticed that it could not write everything.
                check_space(output, size)
            ok = verification.status != "failed" or self.options.allow_unverified
            path, size = self.move(row, main, output, "" if ok else UNVERIFIED)
        seconds = perf_counter() - start
        return ExportResult(row.name, path, size, seconds, spec, verification, tuple(notes), ok)

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
        with self.on_onnxruntime(half, spec) as opened:
            honest = opened.infer(inputs)
        with self.on_onnxruntime(flushed(half), spec) as opened:
            change, verdict = (verify(opened, inputs, outputs) for outputs in (honest, expected))
        c = change.comparison
        assert c is not None
        return (
            f"; an engine that flushes them to zero would move scores by up to "
            f"{c['score_difference']:.1e}, those of detections by {c['score_mean']:.1e} on "
            f"average, and would {'fail' if verdict.status == 'failed' else 'pass'} verification"
        )

    @contextmanager
    def on_onnxruntime(self, graph: onnx.ModelProto, spec: ModelSpec) -> Iterator[Runtime]:
        """Open a graph on ONNX Runtime; its file is removed at the end."""
        file = self.place / "source.onnx"
        HUB.convert(graph, spec, file)
        HUB.embed(file, spec)
        with BACKENDS[HUB.backend].runtime_class()(file) as opened:
            yield opened
        file.unlink()

    def verify_graph(self, graph: onnx.ModelProto) -> Verification:
        """Verify a graph on ONNX Runtime, or return what was found the first time."""
        key = _content(graph)
        if key not in self.verified_graphs:
            with self.on_onnxruntime(graph, self.spec) as opened:
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
        if self.input_problem:
            problems = (self.input_problem, *found.problems)
            return replace(found, status="failed", problems=problems)
        return found

    def move(self, row: Target, main: Path, output: Path, mark: str) -> tuple[Path, int]:
        """Rename the artifact's files into ``output``, with ``mark`` before their suffixes.

        Returns the main file's new path, and the size of all files in bytes.
        """
        stem = main.name.removesuffix(row.suffix)
        # The main file last: an artifact is there when its main file is.
        files = row.files(main)
        size = sum(file.stat().st_size for file in files)
        for file in files:
            put(file, output / (stem + mark + file.name.removeprefix(stem)))
        return output / f"{stem}{mark}{row.suffix}", size


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
