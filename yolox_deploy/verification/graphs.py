"""Where two ONNX graphs part: weights that differ, and the first tensor that does (needs ONNX)."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolox_deploy.packages import install_line, require
from yolox_deploy.verification.compare import Array

# Of a tensor's largest magnitude: what reordered float32 sums may change, and what FP16 may.
NOISE = {"fp32": 1e-4, "fp16": 2e-2}
# So many changed tensors and values of one tensor are shown.
SHOWN = 5
# Share of names that two graphs of one exporter have in common.
SAME_EXPORTER = 0.8


def graph_differences(a: Path, b: Path, inputs: tuple[Array, Array], precision: str) -> list[str]:
    """Return in words which weights of two ONNX files differ, and where their graphs part.

    ``inputs`` are (1, 3, H, W) float32, one for each.  Raises
    :class:`~yolox_deploy.errors.MissingPackageError` without ``onnx`` and ``onnxruntime``.
    """
    for package, extra in (("onnx", "export"), ("onnxruntime", "onnxruntime")):
        require(package, f"comparing graphs needs {package}", install_line(extra))
    import onnx

    models = onnx.load(a), onnx.load(b)
    found = weight_differences(*models)
    limit = NOISE.get(precision, NOISE["fp16"])
    return [*found, *first_difference(models, inputs, limit)]


def weight_differences(a: Any, b: Any) -> list[str]:
    """Return in words which weights of the same name differ, and in which values."""
    from onnx import numpy_helper

    mine, theirs = ({t.name: t for t in model.graph.initializer} for model in (a, b))
    common = [name for name in mine if name in theirs]
    if len(common) < SAME_EXPORTER * max(len(mine), len(theirs), 1):
        return []
    words, changed = [], 0
    for name in common:
        one, other = (numpy_helper.to_array(tensors[name]) for tensors in (mine, theirs))
        if one.shape != other.shape:
            words.append(f"{name} is {one.shape} in A and {other.shape} in B")
            continue
        differs = np.flatnonzero(one.ravel() != other.ravel())
        if not len(differs):
            continue
        changed += 1
        if changed > SHOWN:
            continue
        text = f"weights {name} differ in {len(differs):,} of {one.size:,} values"
        if len(differs) <= SHOWN:
            places = (np.unravel_index(int(i), one.shape) for i in differs)
            text += ": " + ", ".join(
                f"[{', '.join(map(str, place))}] is {one[place]:.6g} in A and {other[place]:.6g} "
                "in B"
                for place in places
            )
        words.append(text)
    if changed > SHOWN:
        words.append(f"{changed} of {len(common)} tensors of weights differ in all")
    return words


def first_difference(
    models: tuple[Any, Any], inputs: tuple[Array, Array], limit: float
) -> list[str]:
    """Return in words the first tensor, in the order of the graph, that is not the same."""
    tensors = [dict(every_tensor(m, x)) for m, x in zip(models, inputs, strict=True)]
    agreed = 0
    for one, other in _aligned(*tensors):
        mine, theirs = tensors[0][one], tensors[1][other]
        change, largest = _difference(mine, theirs)
        if change <= limit * largest:
            agreed += 1
            continue
        name = one if one == other else f"{one} (in B {other})"
        return [
            f"the graphs part at the tensor {name}, made by {_maker(models[0], one)}: they differ "
            f"by up to {change:.2g}, the largest value is {largest:.2g}; {agreed} tensors before "
            "it agree"
        ]
    return []


def every_tensor(model: Any, images: Array) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and the value of every tensor of floats that a graph computes, in order."""
    import onnx
    import onnxruntime

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in copy.graph.output}
    names = [name for node in copy.graph.node for name in node.output if name]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    first = session.get_inputs()[0]
    batch = first.shape[0] if isinstance(first.shape[0], int) else 1
    values = session.run(names, {first.name: np.repeat(images[:1], batch, 0)})
    for name, value in zip(names, values, strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 1:
            yield name, value


def _aligned(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> Iterator[tuple[str, str]]:
    """Yield the names of tensors that stand for each other: by name, else by shape and order."""
    same = [name for name in a if name in b and a[name].shape == b[name].shape]
    if len(same) >= SAME_EXPORTER * max(len(a), len(b)):
        yield from ((name, name) for name in same)
        return
    names = list(a), list(b)
    mine, theirs = ([value.shape for value in side.values()] for side in (a, b))
    blocks = SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks()
    for block in blocks:
        for i in range(block.size):
            yield names[0][block.a + i], names[1][block.b + i]


def _difference(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Return the largest difference and the largest magnitude.

    Our exports scale the first layer by a power of two and undo it behind it, so tensors that
    differ by such a factor alone are the same.
    """
    one, other = one.astype(np.float64), other.astype(np.float64)
    largest = max(float(np.abs(one).max(initial=0)), 1e-30)
    factor = float((one * other).sum() / max(float((one * one).sum()), 1e-30))
    power = 2.0 ** round(np.log2(factor)) if factor > 0 and np.isfinite(factor) else 1.0
    changes = (np.abs(other - one).max(), np.abs(other / power - one).max())
    return float(min(changes)), largest


def _maker(model: Any, name: str) -> str:
    node = next(node for node in model.graph.node if name in node.output)
    return f"{node.op_type} {node.name}".strip()
