"""The front of a graph: the convolution that sees the picture first.

Its weights tell which pixels they were trained on, but only if the picture reaches it unchanged: a
graph may have a scale and a mean of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

# A first convolution has at most some ten thousand weights.  More are not read.
MOST_WEIGHTS = 1 << 20

# What only moves pixels, or stores them in another type; the names of layers are those of ONNX.
MOVES = {
    *("Cast", "Concat", "Crop", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth"),
    *("Split", "Squeeze", "Transpose", "Unsqueeze"),
}

Floats = NDArray[Any]


class Layer(NamedTuple):
    """One layer: its kind, and the names of the tensors that it takes and gives."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Stem(NamedTuple):
    """A first convolution: ``weight`` (O, I, k, k) and ``bias`` (O,), ``None`` if there is none.

    ``mean`` and ``variance`` (O,) are those of a batch normalisation behind it that is not folded
    into the weights.
    """

    weight: Floats
    bias: Floats | None = None
    mean: Floats | None = None
    variance: Floats | None = None


def find_stem(
    image: str, layers: Iterable[Layer], constant: Callable[[str], Floats | None]
) -> Stem | None:
    """Return the convolution that sees the picture first.

    ``layers`` are in the order of execution, ``image`` is the graph's input, and ``constant`` gives
    the values of a tensor that is part of the file, ``None`` for any other.  A factor in front of
    the convolution goes into its weights.  Returns ``None`` if something else changes the pixels
    before, or if the weights cannot be read.
    """
    factors = {image: 1.0}
    waiting = iter(layers)
    for kind, inputs, outputs in waiting:
        reached = [name for name in inputs if name in factors]
        if not reached:
            continue
        factor = factors[reached[0]]
        if kind == "Conv" and reached == [inputs[0]]:
            read = [constant(name) for name in inputs[1:]]
            if not read or any(values is None for values in read):
                return None
            weight, *bias = cast("list[Floats]", read)
            stem = Stem(weight * np.float32(factor), *bias)
            return _with_what_follows(stem, outputs[0], waiting, constant)
        if kind == "Mul" and len(reached) == 1 and len(inputs) == 2:
            (by,) = (constant(name) for name in inputs if name not in factors)
            if by is None or by.size != 1:
                return None
            factor *= float(by.item())
        elif kind not in MOVES:
            return None
        factors |= dict.fromkeys(outputs, factor)
    return None


def _with_what_follows(
    stem: Stem, output: str, layers: Iterable[Layer], constant: Callable[[str], Floats | None]
) -> Stem | None:
    """Return the convolution with a bias, or a batch normalisation, that is a layer of its own."""
    for kind, inputs, _ in layers:
        if output not in inputs or kind == "ShapeOf":
            continue
        if kind == "Add" and len(inputs) == 2:
            (bias,) = (constant(name) for name in inputs if name != output)
            return None if bias is None else stem._replace(bias=bias.reshape(-1))
        if kind == "BatchNormalization":
            read = [values for name in inputs[3:5] if (values := constant(name)) is not None]
            return stem._replace(mean=read[0], variance=read[1]) if len(read) == 2 else None
        return stem
    return stem
