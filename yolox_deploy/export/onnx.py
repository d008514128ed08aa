"""The hub: a prepared network as an ONNX graph, with the spec in its metadata.

Every other format is converted from this graph.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper

from yolox_deploy.errors import ConversionError, UsageError
from yolox_deploy.export.options import DEFAULT_OPSET
from yolox_deploy.export.prepare import PreparedNetwork
from yolox_deploy.runtimes.base import one_line
from yolox_deploy.spec import SPEC_KEY, ModelSpec
from yolox_deploy.tasks import task_of

INPUT_NAME = "images"
OUTPUT_NAME = "output"

OLDEST_OPSET = 11
# From here on PyTorch's current exporter writes the opset natively; it cannot go below.
DYNAMO_OPSET = 18


@dataclass(frozen=True)
class Hub:
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
    notes = []
    if simplify:
        model, note = simplified(model)
        if note:
            notes.append(note)
    _state_shapes(model, spec)
    onnx.checker.check_model(model, full_check=True)
    return Hub(model, tuple(notes))


def _traced(network: PreparedNetwork, spec: ModelSpec, opset: int) -> onnx.ModelProto:
    """Return the graph that the exporter of PyTorch writes which can write the opset."""
    images = torch.zeros(spec.batch or 2, 3, spec.height, spec.width)
    names: dict[str, Any] = {
        "input_names": [INPUT_NAME],
        "output_names": [OUTPUT_NAME],
        "opset_version": opset,
    }
    try:
        with _quiet(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "traced.onnx"
            if opset < DYNAMO_OPSET:
                axes = {INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}}
                torch.onnx.export(
                    network,
                    (images,),
                    file,
                    dynamo=False,
                    dynamic_axes=axes if spec.batch is None else None,
                    **names,
                )
            else:
                batch = {0: torch.export.Dim("batch", min=1, max=4096)}
                torch.onnx.export(
                    network,
                    (images,),
                    file,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                    dynamic_shapes=(batch,) if spec.batch is None else None,
                    **names,
                )
            return onnx.load_model(file)
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
    """Return the graph with its constants folded by onnxsim, and an empty note.

    Where that fails the graph is returned as it was, with a note that says why.

    onnxsim's fusions stay off: they would multiply the stem's scale back into its weights.
    """
    if importlib.util.find_spec("onnxsim") is None:
        return model, 'not simplified: onnxsim is missing, pip install "yolox-deploy[export]"'
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


def _state_shapes(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write the input's and output's shape as the spec knows them (exporters leave gaps)."""
    graph = model.graph
    shape = [spec.batch or "batch", 3, spec.height, spec.width]
    set_shape(graph.input[0], shape)
    set_shape(graph.output[0], output_shape(spec))


def output_shape(spec: ModelSpec) -> list[int | str]:
    """Return the output's shape; a word stands for a number that varies."""
    first, *rest = task_of(spec).output_shape(spec)
    word = "detections" if spec.output == "detections" else "batch"
    return [first or word, *(side or word for side in rest)]


def set_shape(value: onnx.ValueInfoProto, shape: list[int | str]) -> None:
    """State the shape of a graph's input or output."""
    value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))


def embed_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Write the spec into the graph's metadata, replacing an earlier one."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries[SPEC_KEY] = spec.to_json()
    del model.metadata_props[:]
    helper.set_model_props(model, entries)
