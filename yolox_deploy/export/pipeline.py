"""From checkpoint to verified artifacts: the one function behind ``yolox-export``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox_deploy.errors import (
    InputFileError,
    MissingPackageError,
    ModelWarning,
    UsageError,
    YoloxDeployError,
    in_short,
    number_of,
    suggest,
)
from yolox_deploy.export.exporter import Exporter, Report
from yolox_deploy.export.onnx import check_opset
from yolox_deploy.export.options import ExportOptions, artifact_name, requested_spec
from yolox_deploy.export.quantization.plan import SUFFIX as PLAN_SUFFIX
from yolox_deploy.export.quantization.plan import Plan, read_plan
from yolox_deploy.export.reference import Reference
from yolox_deploy.export.results import (
    ExportResult,
    NotBuiltError,
    NotFasterError,
    UnverifiedError,
)
from yolox_deploy.export.targets import HUB, TARGETS, Target, all_settings, takers
from yolox_deploy.export.targets.base import Advance, ignore_progress
from yolox_deploy.files import workplace
from yolox_deploy.models.checkpoint import Checkpoint, load_checkpoint
from yolox_deploy.runtimes.registry import BACKENDS
from yolox_deploy.sinks.outputs import check_apart, check_folder, check_new
from yolox_deploy.spec import ModelSpec
from yolox_deploy.verification.verify import load_pictures


def export_model(
    checkpoint: Path,
    targets: Sequence[str],
    options: ExportOptions,
    output: Path,
    report: Report = lambda stage: None,
    advance: Advance = ignore_progress,
) -> list[ExportResult]:
    """Export ``checkpoint`` to every target in the folder ``output``, and verify each artifact.

    ``report`` is told each stage as it begins, ``advance`` how far a converter is, if it says so.
    Files get their names only when they are whole and verified, and replace no other files unless
    ``options.overwrite``.  An artifact that fails keeps a name with ``.unverified`` in it, unless
    ``options.allow_unverified``.

    Raises :class:`UnverifiedError` (with all results) if an artifact failed.  Whatever can be
    known beforehand is refused before anything is written.  A converter that fails raises
    :class:`~yolox_deploy.errors.ConversionError`; the artifacts of the targets before it stay.
    Where this machine cannot build what another one can, ONNX and the instructions for the other
    machine are written, and :class:`NotBuiltError` is raised at the end.
    """
    asked_for = [TARGETS.choose(name) for name in dict.fromkeys(targets)]
    if not asked_for:
        raise UsageError("no target was named")
    _check_settings(asked_for, options.settings)
    asked_for = [row.with_settings(options.settings, advance) for row in asked_for]
    check_opset(options.opset)
    not_built: dict[str, YoloxDeployError] = {}
    for row in asked_for:
        if reason := row.why_not_built():
            if options.int8:
                # The ONNX file for the other machine would have ONNX Runtime's layout.
                raise reason
            not_built[row.name] = reason
        else:
            row.load()
    # ONNX, once, instead of the targets that cannot be built here.
    instead = (HUB if row.name in not_built else row for row in asked_for)
    rows = list({row.name: row for row in instead}.values())
    if options.verify:
        for row in rows:
            _check_engine(row)
    report("reading the checkpoint")
    loaded = load_checkpoint(checkpoint, options.hints.architecture)
    spec = requested_spec(loaded, options)
    if not loaded.knows_names and options.hints.names is None:
        known = number_of(spec.num_classes, "class", "classes")
        warnings.warn(
            f"{loaded.path.name} has {known} and no names of classes: they are called "
            f"{in_short(spec.class_names)}; give names with --names",
            ModelWarning,
            stacklevel=2,
        )
    for row in asked_for:
        row.check(spec)
    check_folder(output)
    name = artifact_name(spec.name, spec.precision)
    files = [file for row in rows for file in row.files(output / f"{name}{row.suffix}")]
    check_apart({"--output": files}, [checkpoint])
    if not options.overwrite:
        check_new(files)
    plan = _plan(loaded, spec, options, output / f"{name}{PLAN_SUFFIX}") if options.int8 else None
    reference = None
    if options.verify:
        report("running the checkpoint on the verification pictures")
        pictures = load_pictures(options.pictures, options.max_pixels)
        reference = Reference(loaded.network, spec, pictures)
    with workplace(output) as place:
        exporter = Exporter(loaded, spec, options, reference, place, report, advance, plan)
        if exporter.quantizer:
            exporter.quantizer.prepare(row.int8 for row in rows if row.int8)
        results = [exporter.export(row, output) for row in rows]
    failed = [r for r in results if r.verification.status == "failed"]
    if failed and not options.allow_unverified:
        found = [f"{r.target}: {r.verification.summary}, kept as {r.path}" for r in failed]
        raise UnverifiedError("; ".join((*found, *map(str, not_built.values()))), results)
    if not all(result.kept for result in results):
        raise NotFasterError(results)
    if not_built:
        source = next(r for r in results if r.target == HUB.name)
        unexecuted = replace(source.spec, verification=source.verification.of_its_graph().record())
        elsewhere = [row for row in asked_for if row.name in not_built]
        ways_on = [row.hand_over(source.path, source.spec, unexecuted) for row in elsewhere]
        raise NotBuiltError([*not_built.values()], ways_on, results)
    return results


def _plan(loaded: Checkpoint, spec: ModelSpec, options: ExportOptions, file: Path) -> Plan:
    """Return what is known of the INT8 of a checkpoint: the file that was given, or an own one.

    Raises :class:`UsageError` for a given file of another checkpoint or input size, and
    :class:`OutputError` if another search's file is in the place of the own one.
    """
    assert options.int8 is not None
    new = Plan(file, loaded.sha256, (spec.height, spec.width))
    if options.int8.plan is not None:
        found = read_plan(options.int8.plan)
        if difference := found.difference(new):
            raise UsageError(f"--quantization {found.file}: {difference}")
        return found
    if not file.exists():
        return new
    with suppress(InputFileError):
        found = read_plan(file)
        if not found.difference(new):
            return found
    if not options.overwrite:
        check_new([file])
    return new


def _check_settings(rows: Sequence[Target], settings: Mapping[str, Any]) -> None:
    """Raise :class:`UsageError` for a setting that none of the targets takes."""
    known = all_settings()
    for name, value in settings.items():
        if name not in known:
            raise UsageError(
                f"unknown setting {name!r}: expected {', '.join(known)}" + suggest(name, known)
            )
        able = takers(name)
        if value != known[name].default and not any(row.name in able for row in rows):
            raise UsageError(
                f"{known[name].usage} is for --to {' or '.join(able)}, not for "
                f"{', '.join(row.name for row in rows)}"
            )


def _check_engine(row: Target) -> None:
    """Import the engine that verifies a target; raises :class:`MissingPackageError`."""
    backend = HUB.backend if row.why_not_executed() else row.backend
    available = BACKENDS[backend].availability(try_import=True)
    if not available.ok:
        raise MissingPackageError(
            f"verifying target {row.name} needs its engine: {available.reason}; or --no-verify"
        )
