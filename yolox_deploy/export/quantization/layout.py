"""Where an engine wants its eight-bit numbers: the one thing about INT8 that differs by target."""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """Which tensors of an INT8 graph are rounded to eight bits, and how.

    ``dense`` rounds what every operator of a quantized block returns, because the engine computes
    only between two rounded tensors in INT8; otherwise the inputs of convolutions are rounded, and
    SiLU stays one operator in floating point that the engine fuses into the convolution.
    ``symmetric`` rounds activations to -127..127 without a zero point; otherwise they are 0..255
    with one, which suits SiLU, whose values begin at -0.28.  Weights are always -127..127, with one
    scale per output channel.  ``backend`` is what trials run on.
    """

    name: str
    backend: str
    dense: bool
    symmetric: bool

    @property
    def timed(self) -> bool:
        """Whether trials run on the very engine, so that their times mean something."""
        return self.name == self.backend


# ONNX Runtime has kernels for single operators on bytes, one of them a table for the sigmoid.
ONNX_RUNTIME = Layout("onnxruntime", "onnxruntime", dense=True, symmetric=False)
# OpenVINO fuses convolution and SiLU; bytes with a sign overflow on processors without VNNI.
OPENVINO = Layout("openvino", "openvino", dense=False, symmetric=False)
# TensorRT takes no zero points.  Its engines take minutes to build, and a GPU to run.
TENSORRT = Layout("tensorrt", "onnxruntime", dense=False, symmetric=True)
