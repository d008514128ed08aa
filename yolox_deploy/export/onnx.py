"""The hub: a prepared network as an ONNX graph, from which every other format is converted."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
from onnx import helper

from yolox_deploy.errors import ConversionError, OutputError, UsageError
from yolox_deploy.export.options import DEFAULT_OPSET
from yolox_deploy.export.prepare import PreparedNetwork
from yolox_deploy.packages import install_line, is_installed, why_broken
from yolox_deploy.runtimes.content import onnx_hashes
from yolox_deploy.runtimes.texts import one_line
from yolox_deploy.spec import LARGEST_BATCH, SPEC_KEY, ModelSpec
from yolox_deploy.tasks import task_of

INPUT_NAME = "images"
OUTPUT_NAME = "output"

OLDEST_OPSET = 11
# From here on PyTorch's current exporter writes the opset natively; it cannot go below.
DYNAMO_OPSET = 18


class Hub(NamedTuple):
    """An ONNX graph with raw output, and notes on how it was made."""

    model: onnx.ModelProto
    notes: tuple[str, ...]


def check_opset(opset: int) -> None:
    """Raise :class:`UsageError` for an opset that PyTorch and the installed ONNX cannot write."""
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise UsageError(f"opset must lie in {OLDEST_OPSET}..{newest}, got {opset}")


def make_hub(
    network: PreparedNetwork, spec: ModelSpec, *, opset: int = DEFAULT_OPSET, simplify: bool = True
) -> Hub:
    """Return the network as a checked ONNX graph of exactly the requested opset.

    Raises :class:`ConversionError` if the exporters of PyTorch cannot write that opset.
    """
    model = _traced(network, spec, opset)
    written = next(entry.version for entry in model.opset_import if not entry.domain)
    if written != opset:
        raise ConversionError(
            f"PyTorch {torch.__version__} wrote opset {written} instead of {opset}: choose --opset "
            f"{written} or another one"
        )
    model, note = simplified(model) if simplify else (model, "")
    # The exporters leave gaps in the shapes.
    set_shape(model.graph.input[0], [spec.batch or "batch", 3, spec.height, spec.width])
    set_shape(model.graph.output[0], output_shape(spec))
    onnx.checker.check_model(model, full_check=True)
    return Hub(model, (note,) if note else ())


def _traced(network: PreparedNetwork, spec: ModelSpec, opset: int) -> onnx.ModelProto:
    """Return the graph that the exporter of PyTorch writes which can write the opset."""
    images = torch.zeros(spec.batch or 2, 3, spec.height, spec.width)
    how: dict[str, Any] = {"input_names": [INPUT_NAME], "output_names": [OUTPUT_NAME]}
    dynamic = spec.batch is None
    if opset < DYNAMO_OPSET:
        axes = {INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}}
        how |= {"dynamo": False, "dynamic_axes": axes if dynamic else None}
    else:
        batch = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
        how |= {"dynamo": True, "external_data": False, "verbose": False}
        how["dynamic_shapes"] = (batch,) if dynamic else None
    try:
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "traced.onnx"
            torch.onnx.export(network, (images,), file, opset_version=opset, **how)
            return onnx.load_model(file)
    except OSError as error:
        raise OutputError(f"cannot write {tempfile.gettempdir()}: {error.strerror}") from error
    except Exception as error:
        raise ConversionError(
            f"PyTorch {torch.__version__} could not export opset {opset}: {one_line(error)}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back deprecation warnings and log lines that no user can act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def simplified(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Return the graph with its constants folded by onnxsim, or as it was and a note on why.

    onnxsim's fusions stay off: they would multiply the stem's scale back into its weights.
    """
    if not is_installed("onnxsim"):
        return model, f"not simplified: onnxsim is missing, {install_line('export')}"
    if broken := why_broken("onnxsim"):
        return model, f"not simplified: {broken}"
    import onnxsim

    try:
        with _quiet():
            smaller, checked = onnxsim.simplify(model, perform_optimization=False)
        if not checked:
            return model, "not simplified: onnxsim's result differs from its input"
    except Exception as error:
        return model, f"not simplified: onnxsim failed ({one_line(error)})"
    del smaller.metadata_props[:]
    return smaller, ""


def output_shape(spec: ModelSpec) -> list[int | str]:
    """Return the output's shape; a word stands for a number that varies."""
    first, *rest = task_of(spec).output_shape(spec)
    word = "detections" if spec.output == "detections" else "batch"
    return [first or word, *(side or word for side in rest)]


def set_shape(value: onnx.ValueInfoProto, shape: list[int | str]) -> None:
    """State the shape of a graph's input or output."""
    value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))


def embed_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write the spec into the graph's metadata, with the graph's hash, replacing an earlier one."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries[SPEC_KEY] = spec.to_json(onnx_hashes(model.SerializeToString()))
    del model.metadata_props[:]
    helper.set_model_props(model, entries)
