"""From checkpoint to verified artifacts: the one function behind ``yolox-export``."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import onnx

from yolox_deploy.errors import (
    MissingPackageError,
    UsageError,
    VerificationError,
    YoloxDeployError,
)
from yolox_deploy.export.onnx import DEFAULT_OPSET, Hub, check_opset, make_hub
from yolox_deploy.export.precision import flushed, to_fp16, underflow
from yolox_deploy.export.prepare import prepare
from yolox_deploy.export.tails import with_tail
from yolox_deploy.export.targets import TARGETS, OnnxTarget, Target, TensorRTTarget, target
from yolox_deploy.export.tensorrt import Advance, EngineSettings, trtexec_line
from yolox_deploy.export.verify import Pictures, Reference, Verification, verify
from yolox_deploy.files import reported_as_output_error, workplace, write_atomically
from yolox_deploy.models.checkpoint import Checkpoint, load_checkpoint
from yolox_deploy.postprocess import IOU_THRESHOLD, SCORE_THRESHOLD
from yolox_deploy.runtimes.base import Runtime
from yolox_deploy.runtimes.registry import BACKENDS
from yolox_deploy.runtimes.tensorrt.compatibility import finish_command
from yolox_deploy.runtimes.tensorrt.sidecar import write_sidecar
from yolox_deploy.spec import ModelSpec, SpecHints

UNVERIFIED = ".unverified"
# What the settings of an engine are called on the command line.
SETTINGS = {
    "workspace": "--workspace",
    "profile": "--batch MIN,OPT,MAX",
    "targets": "--targets",
    "hardware_compatible": "--hardware-compatible",
    "version_compatible": "--version-compatible",
}
# Pictures on which the cost of flushed FP16 weights is measured: it is a note, not a verdict.
FLUSHED_PICTURES = 3

Report = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """What ``yolox-export`` can be asked for.

    ``batch`` is the number of pictures an artifact takes, any number with ``dynamic``.
    ``decode`` puts box decoding into the graph, ``nms`` also the suppression at the two
    thresholds.  ``pictures`` is a folder for the verification (``None``: the drawn ones that
    ship with the package).  ``scale_stem`` and ``simplify`` can be turned off to study their
    effect.  ``engine`` is for TensorRT's engines alone.
    """

    hints: SpecHints = field(default_factory=SpecHints)
    batch: int = 1
    dynamic: bool = False
    opset: int = DEFAULT_OPSET
    fp16: bool = False
    decode: bool = False
    nms: bool = False
    score_threshold: float = SCORE_THRESHOLD
    iou_threshold: float = IOU_THRESHOLD
    simplify: bool = True
    scale_stem: bool = True
    verify: bool = True
    pictures: Path | None = None
    allow_unverified: bool = False
    engine: EngineSettings = field(default_factory=EngineSettings)


@dataclass(frozen=True)
class ExportResult:
    """One artifact: its main file, all its files' size in bytes, and what verification found."""

    target: str
    path: Path
    size: int
    seconds: float
    spec: ModelSpec
    verification: Verification
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the artifact stands under the requested name."""
        return not self.path.name.removesuffix(target(self.target).suffix).endswith(UNVERIFIED)


class UnverifiedError(VerificationError):
    """Some artifacts failed their verification; ``results`` has them all."""

    def __init__(self, message: str, results: list[ExportResult]) -> None:
        super().__init__(message)
        self.results = results


class EngineNotBuiltError(YoloxDeployError):
    """An engine that cannot be built here; everything for building it elsewhere is there.

    ``results`` has what was exported; the exit code is that of the reason.
    """

    def __init__(self, reason: YoloxDeployError, way_on: str, results: list[ExportResult]) -> None:
        super().__init__(f"{reason}. {way_on}")
        self.exit_code = reason.exit_code
        self.results = results


def export_model(
    checkpoint: Path,
    targets: Sequence[str],
    options: ExportOptions,
    output: Path,
    report: Report = lambda stage: None,
    advance: Advance = lambda phase, done, total: None,
) -> list[ExportResult]:
    """Export ``checkpoint`` to every target in the folder ``output`` and verify each.

    ``report`` is told each stage as it begins, ``advance`` how far an engine's builder is (its
    phase, steps done, steps in all).  Files appear under their names only when they are
    whole and verified; an artifact that fails keeps a name with ``.unverified`` in it unless
    ``options.allow_unverified``.

    Raises :class:`UnverifiedError` (with all results) when an artifact failed.  Anything that can
    be known beforehand is refused before anything is written; a converter that fails raises
    :class:`~yolox_deploy.errors.ConversionError` and leaves the targets before it in place.
    Where TensorRT or its GPU is missing, :class:`EngineNotBuiltError` is raised at the end, and
    ONNX and the command for the target machine are there.
    """
    rows = [target(name) for name in dict.fromkeys(targets)]
    if not rows:
        raise UsageError("no target was named")
    _check_settings(rows, options.engine)
    rows = [row.with_settings(options.engine, advance) for row in rows]
    check_opset(options.opset)
    not_built: YoloxDeployError | None = None
    asked_for = rows
    for row in rows:
        try:
            row.load()
        except YoloxDeployError as error:
            if not isinstance(row, TensorRTTarget):
                raise
            not_built = error
    if not_built:
        rows = _with_onnx_for_trt(rows)
    if options.verify:
        for row in rows:
            _check_engine(row)
    report("reading the checkpoint")
    loaded = load_checkpoint(checkpoint, options.hints.architecture)
    spec = requested_spec(loaded, options)
    for row in asked_for:
        row.check(spec)
    if options.verify:
        report("running the checkpoint on the verification pictures")
    reference = _reference(loaded, spec, options)
    with workplace(output) as place:
        exporter = _Exporter(loaded, spec, options, reference, place, report)
        results = [exporter.export(row, output) for row in rows]
    failed = [r for r in results if r.verification.status == "failed"]
    if failed and not options.allow_unverified:
        found = [f"{r.target}: {r.verification.summary}, kept as {r.path}" for r in failed]
        raise UnverifiedError(
            "; ".join((*found, *([str(not_built)] if not_built else []))), results
        )
    if not_built:
        source = next(r for r in results if r.target == OnnxTarget.name)
        raise EngineNotBuiltError(not_built, _hand_on(source, options), results)
    return results


def _check_settings(rows: Sequence[Target], settings: EngineSettings) -> None:
    """Raise :class:`UsageError` for a setting that none of the targets takes."""
    for name, option in SETTINGS.items():
        asked = getattr(settings, name) != getattr(EngineSettings(), name)
        if asked and not any(name in row.takes for row in rows):
            able = " or ".join(row.name for row in TARGETS.values() if name in row.takes)
            raise UsageError(
                f"{option} is for --to {able}, not for {', '.join(row.name for row in rows)}"
            )


def _with_onnx_for_trt(rows: Sequence[Target]) -> list[Target]:
    """Return the targets with ONNX, once, in the place of the engine that cannot be built."""
    names = dict.fromkeys(
        OnnxTarget.name if isinstance(row, TensorRTTarget) else row.name for row in rows
    )
    by_name = {OnnxTarget.name: OnnxTarget(), **{row.name: row for row in rows}}
    return [by_name[name] for name in names]


def _hand_on(source: ExportResult, options: ExportOptions) -> str:
    """Write beside an ONNX file how it becomes an engine elsewhere; returns it as sentences.

    The engine's sidecar is written too, so that what ``trtexec`` makes can be opened.
    """
    engine = source.path.with_suffix(TensorRTTarget.suffix)
    line = trtexec_line(source.path.name, engine.name, source.spec, options.engine)
    recipe = source.path.with_suffix(".trtexec.txt")
    finish = finish_command(Path(engine.name))
    write_atomically(
        recipe,
        "# On the machine that shall run the engine, TensorRT 10 and newer\n"
        "# (8.6: --fp16, or nothing for an FP32 model, in the place of --stronglyTyped):\n"
        f"{line}\n"
        f"# Then, with {engine.name}.json beside the engine, prove what it detects:\n"
        f"{finish}\n",
    )
    # What is there belongs to an engine that was built: leave it alone.
    if not engine.exists():
        verification = replace(source.verification, executed=False)
        write_sidecar(engine, replace(source.spec, verification=verification.record()), None)
    return (
        f"Either install what is missing, or build it there from {source.path} "
        f"({'verified' if source.verification.status == 'passed' else 'not verified'}): "
        f"{line} (also in {recipe.name})"
    )


def requested_spec(checkpoint: Checkpoint, options: ExportOptions) -> ModelSpec:
    """Return the spec that an artifact of ``checkpoint`` shall have, not yet verified."""
    for word, value in (("score", options.score_threshold), ("IoU", options.iou_threshold)):
        if not 0 <= value <= 1:
            raise UsageError(f"the {word} threshold must lie in 0..1, got {value}")
    if options.dynamic and options.batch != 1:
        raise UsageError("--dynamic takes any batch, --batch fixes it: give one of them")
    return replace(
        checkpoint.spec(options.hints),
        batch=None if options.dynamic else options.batch,
        output="detections" if options.nms else "decoded" if options.decode else "raw",
        precision="fp16" if options.fp16 else "fp32",
        score_threshold=options.score_threshold if options.nms else None,
        iou_threshold=options.iou_threshold if options.nms else None,
    )


def artifact_name(spec: ModelSpec) -> str:
    """Return the artifact's file name without suffix: the checkpoint's, and what is unusual."""
    parts = [spec.name]
    if spec.precision != "fp32":
        parts.append(spec.precision)
    return "_".join(parts)


def _check_engine(row: Target) -> None:
    """Import the engine that verifies a target; raises :class:`MissingPackageError`."""
    backend = OnnxTarget.backend if row.why_not_executed() else row.backend
    available = BACKENDS[backend].availability(try_import=True)
    if not available.ok:
        raise MissingPackageError(
            f"verifying target {row.name} needs its engine: {available.reason}; or --no-verify"
        )


def _reference(checkpoint: Checkpoint, spec: ModelSpec, options: ExportOptions) -> Reference | None:
    """Return what artifacts are compared with, ``None`` where verification is turned off."""
    if not options.verify:
        return None
    return Reference(checkpoint.network, spec, Pictures.load(options.pictures))


class _Exporter:
    """Holds what the targets of one export share: hubs by batch, and the reference outputs."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        spec: ModelSpec,
        options: ExportOptions,
        reference: Reference | None,
        place: Path,
        report: Report,
    ) -> None:
        self.checkpoint = checkpoint
        self.spec = spec
        self.options = options
        self.place = place
        self.report = report
        self.hubs: dict[int | None, Hub] = {}
        self.verified_graphs: dict[str, Verification] = {}
        self.halves: dict[int | None, tuple[onnx.ModelProto, str]] = {}
        self.reference = reference
        self.input_problem = reference.input_problem() if reference else None

    def hub(self, batch: int | None) -> Hub:
        if batch not in self.hubs:
            self.report("tracing the network to ONNX")
            network = prepare(
                self.checkpoint.network, self.spec.input, scale_stem=self.options.scale_stem
            )
            self.hubs[batch] = make_hub(
                network,
                replace(self.spec, batch=batch, output="raw"),
                opset=self.options.opset,
                simplify=self.options.simplify,
            )
        return self.hubs[batch]

    def export(self, row: Target, output: Path) -> ExportResult:
        start = perf_counter()
        spec = self.spec if row.batches else replace(self.spec, batch=1)
        hub = self.hub(spec.batch)
        notes = [*self.checkpoint.notes, *hub.notes]
        if not self.checkpoint.knows_names and self.options.hints.names is None:
            notes.append(
                f"{self.checkpoint.path.name} does not name its {spec.num_classes} classes: they "
                "are called class_0, class_1, ...; give --names"
            )
        if spec.batch != self.spec.batch:
            notes.append(f"{row.name} has no batches: the runtime loops over the pictures")
        self.report(f"converting to {row.name}")
        graph = hub.model
        if spec.precision == "fp16" and row.fp16_in_graph:
            graph, note = self.half(graph, spec)
            notes += [note] if note else []
        graph = with_tail(graph, spec)
        main = self.place / f"{artifact_name(spec)}{row.suffix}"
        with reported_as_output_error(output):
            row.convert(graph, spec, main)
            spec = replace(spec, tools=_tool_versions(row))
            row.embed(main, spec)
            verification = self.verify(row, main, graph, output / main.name)
            spec = replace(spec, verification=verification.record())
            row.embed(main, spec)
            path, size = self.move(row, main, output, verification)
        seconds = perf_counter() - start
        return ExportResult(row.name, path, size, seconds, spec, verification, tuple(notes))

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
        reference = self.reference.first(FLUSHED_PICTURES)
        spec = replace(spec, output="raw", score_threshold=None, iou_threshold=None)
        with self.on_onnxruntime(half, spec) as opened:
            honest = reference.with_outputs(opened.infer(reference.inputs))
        with self.on_onnxruntime(flushed(half), spec) as opened:
            change, verdict = (verify(opened, r, "fp16") for r in (honest, reference))
        c = change.comparison
        assert c is not None
        return (
            f"; an engine that flushes them to zero would move scores by up to "
            f"{c['score_difference']:.1e}, those of detections by {c['score_mean']:.1e} on "
            f"average, and would {'fail' if verdict.status == 'failed' else 'pass'} verification"
        )

    @contextmanager
    def on_onnxruntime(self, graph: onnx.ModelProto, spec: ModelSpec) -> Iterator[Runtime]:
        """Open a graph that no artifact is of."""
        file = self.place / "source.onnx"
        source = OnnxTarget()
        source.convert(graph, spec, file)
        source.embed(file, spec)
        with BACKENDS[source.backend].runtime_class()(file) as opened:
            yield opened
        file.unlink()

    def verify_graph(self, graph: onnx.ModelProto) -> Verification:
        """Verify a graph on ONNX Runtime, once."""
        assert self.reference is not None
        key = _content(graph)
        if key not in self.verified_graphs:
            with self.on_onnxruntime(graph, self.spec) as opened:
                found = verify(opened, self.reference, self.spec.precision)
            self.verified_graphs[key] = found
        return self.verified_graphs[key]

    def verify(self, row: Target, main: Path, graph: onnx.ModelProto, final: Path) -> Verification:
        """Verify an artifact, or where it cannot run here the ``graph`` that it is made from."""
        precision = self.spec.precision
        if self.reference is None:
            return Verification("not run", (), None, 0, precision, ("turned off",))
        self.report(f"verifying {row.name}")
        why_not = row.why_not_executed()
        if why_not:
            note = (
                f"{final.name} was not executed ({why_not}): its ONNX graph was verified in its "
                f"place; to finish on the target machine: {finish_command(final)}"
            )
            found = self.verify_graph(graph)
            found = replace(found, executed=False, notes=(*found.notes, note))
        else:
            with BACKENDS[row.backend].runtime_class()(main) as opened:
                found = verify(opened, self.reference, precision)
            if isinstance(row, OnnxTarget):
                self.verified_graphs[_content(graph)] = found
        if self.input_problem:
            problems = (self.input_problem, *found.problems)
            return replace(found, status="failed", problems=problems)
        return found

    def move(
        self, row: Target, main: Path, output: Path, verification: Verification
    ) -> tuple[Path, int]:
        """Rename the artifact's files into ``output``, the main file last."""
        stem = main.name.removesuffix(row.suffix)
        new_stem = stem
        if verification.status == "failed" and not self.options.allow_unverified:
            new_stem += UNVERIFIED
        files = row.files(main)
        size = sum(file.stat().st_size for file in files)
        for file in files:
            file.replace(output / (new_stem + file.name.removeprefix(stem)))
        return output / f"{new_stem}{row.suffix}", size


def _content(graph: onnx.ModelProto) -> str:
    """Return what tells a graph from others."""
    return hashlib.sha256(graph.SerializeToString()).hexdigest()


def _tool_versions(row: Target) -> dict[str, str]:
    """Return the versions of what made an artifact."""
    packages = dict.fromkeys(("yolox-deploy", "torch", "onnx", "onnxsim", row.package))
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
