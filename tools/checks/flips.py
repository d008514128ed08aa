"""Flips the sign of single weights of an export, and counts what verification does not notice.

Three weights of each of 24 convolutions are flipped, one at a time: the largest, one that 90 % are
smaller than, and the median one.

    python -m tools.checks.flips --model yolox_nano.pth
    python -m tools.checks.flips --model my7.pth --fp16 --verify my_pictures/
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from yolox_deploy.cli.common import add_model_hints, model_hints, run
from yolox_deploy.cli.parser import add_options
from yolox_deploy.errors import VerificationError
from yolox_deploy.export import ExportOptions, export_model
from yolox_deploy.export.reference import Reference
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.terminal import print_table
from yolox_deploy.verification.verify import Verification, load_pictures, verify
from yolox_deploy.weights import find_model

LAYERS = 24
# Shares of a layer's weights that are smaller.
MAGNITUDES = (0.5, 0.9, 1.0)


class Flip(NamedTuple):
    """One weight with the other sign: its layer, its magnitude, and what verification found."""

    layer: str
    magnitude: float
    found: Verification


def flips(artifact: Path, reference: Reference) -> Iterator[Flip]:
    """Yield what verification finds for each flipped weight of the ONNX file ``artifact``."""
    model = onnx.load(artifact)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    chosen = np.linspace(0, len(convolutions) - 1, LAYERS).round().astype(int)
    edited = artifact.with_name("edited.onnx")
    for name in (convolutions[i] for i in chosen):
        weights = numpy_helper.to_array(tensors[name]).copy()
        order = np.abs(weights).ravel().argsort()
        for magnitude in MAGNITUDES:
            index = order[round(magnitude * (len(order) - 1))]
            weights.ravel()[index] *= -1
            tensors[name].CopyFrom(numpy_helper.from_array(weights, name))
            onnx.save(model, edited)
            weights.ravel()[index] *= -1
            kind = BACKENDS["onnxruntime"].runtime_class()
            with kind(edited, check_files=False) as runtime:
                yield Flip(name, magnitude, verify(runtime, reference.inputs, reference.outputs))
        tensors[name].CopyFrom(numpy_helper.from_array(weights, name))


def survey(arguments: argparse.Namespace) -> int:
    """Export, flip, and print the flips that were not noticed."""
    checkpoint = load_checkpoint(find_model(arguments.model))
    hints = model_hints(arguments)
    reference = Reference(
        checkpoint.network, checkpoint.spec(hints), load_pictures(arguments.verify)
    )
    options = ExportOptions(hints=hints, fp16=arguments.fp16, verify=False)
    with tempfile.TemporaryDirectory() as folder:
        (result,) = export_model(checkpoint.path, ["onnx"], options, Path(folder))
        found = list(flips(result.path, reference))
    missed = [flip for flip in found if flip.found.status != "failed"]
    rows = [[flip.layer, f"{flip.magnitude:.0%}", flip.found.summary] for flip in missed]
    print_table(["layer", "smaller weights", "not noticed"], rows)
    print(f"{len(found) - len(missed)} of {len(found)} flipped weights were noticed")
    if missed and not arguments.fp16:
        raise VerificationError("in FP32 every flipped weight has to be noticed")
    return 0


def main() -> int:
    """Read the arguments and make the survey."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(
        parser,
        """
        --model MODEL: checkpoint
        --verify FOLDER: folder of pictures (default: drawn pictures of this package)
        --fp16: flip weights of an export in half precision; exit with code 0 in any case
        """,
    )
    add_model_hints(parser)
    return run("flips", partial(survey, parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
