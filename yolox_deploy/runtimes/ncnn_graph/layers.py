"""The layers of an NCNN graph: which numbers they may have, and the shapes of what they return.

A layer with a number out of range, or with blobs that do not fit it, makes ncnn divide by zero or
read beyond its memory.  The rules cover what detectors are made of; the shape of what another layer
returns is unknown (``None``), and so is everything behind it.

Shapes are those of ncnn, without a batch: (channels, height, width), (height, width) or (width,).
The parameters: https://github.com/Tencent/ncnn/wiki/operators
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

Shape = tuple[int, ...]

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
INTEGER = re.compile(r"[-+]?\d{1,10}")
# Arrays have numbers from here down: -23303=2,1.5,3 is parameter 3.
ARRAYS = -23300
# Of a blob; 1 GiB in float32.
MOST_ELEMENTS = 1 << 28
LARGEST = 1 << 20
# "As large as needed" in sizes, and "so that the size stays" in paddings.
OPEN = -233
STAYS = (-233, -234)


@dataclass
class Layer:
    """One line of a param file; ``params`` has the text behind the ``=`` by the number before."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    params: dict[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = f"{len(self.inputs)} {len(self.outputs)}"
        params = (f"{key}={value}" for key, value in self.params.items())
        return " ".join((self.kind, self.name, counts, *self.inputs, *self.outputs, *params))

    def integer(self, key: int, default: int = 0) -> int:
        """Return a parameter; raises ``ValueError`` unless it is an integer."""
        text = self.params.get(key, str(default))
        if not INTEGER.fullmatch(text):
            raise ValueError(f"{key}={text} is no integer")
        return int(text)

    def sides(self, height_key: int, width_key: int, default: int) -> tuple[int, int]:
        """Return (height, width), where the height is that of the width if it is not stated."""
        width = self.integer(width_key, default)
        return self.integer(height_key, width), width

    def array(self, key: int) -> list[float]:
        """Return the numbers of an array, none if it is not stated."""
        return [float(number) for number in self.params.get(ARRAYS - key, "0").split(",")[1:]]


def _convolution_limits(weight_bytes: int) -> dict[int, tuple[int, int]]:
    one_up = dict.fromkeys((1, 2, 3, 11, 12, 13), (1, 4096))
    padding = dict.fromkeys((4, 14, 15, 16), (-234, 4096))
    # A weight takes one byte at least.
    return {
        **one_up, **padding, 0: (1, LARGEST), 5: (0, 1), 6: (1, weight_bytes), 7: (1, LARGEST),
        8: (0, 102), 9: (0, 6),
    }  # fmt: skip


# How many numbers an activation inside a layer (parameter 9) takes from the array 10.
ACTIVATION_NUMBERS = {2: 1, 3: 2, 6: 2}
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise")
REQUIRED = {**dict.fromkeys(CONVOLUTIONS, (0, 1, 6)), "InnerProduct": (0, 2), "Reorg": (0,)}


def check_numbers(layer: Layer, weight_bytes: int) -> None:
    """Raise ``ValueError`` for a number out of range; the weights are in ``weight_bytes`` bytes."""
    limits: dict[int, tuple[int, int]] = {}
    if layer.kind in CONVOLUTIONS:
        limits = _convolution_limits(weight_bytes)
    elif layer.kind == "InnerProduct":
        limits = {0: (1, LARGEST), 1: (0, 1), 2: (1, weight_bytes), 8: (0, 102), 9: (0, 6)}
    elif layer.kind == "Pooling":
        one_up = dict.fromkeys((1, 2, 11, 12), (1, 4096))
        limits = {**one_up, **dict.fromkeys((3, 13, 14, 15), (0, 4096)), 0: (0, 1), 5: (0, 3)}
    elif layer.kind == "Reorg":
        limits = {0: (1, 64), 1: (0, 1)}
    for key in REQUIRED.get(layer.kind, ()):
        if key not in layer.params:
            raise ValueError(f"it has no parameter {key}")
    for key, (low, high) in limits.items():
        if key in layer.params and not low <= layer.integer(key) <= high:
            raise ValueError(f"{key}={layer.params[key]}, expected {low} to {high}")
    if 9 in limits and len(layer.array(10)) < ACTIVATION_NUMBERS.get(layer.integer(9), 0):
        raise ValueError(f"its activation {layer.integer(9)} needs numbers that are not there")


def shapes_of(layer: Layer, given: list[Shape | None]) -> list[Shape | None]:
    """Return the shapes of the outputs from those of the inputs; ``None`` where it is unknown.

    Raises ``ValueError`` if the inputs do not fit the layer.
    """
    rule = RULES.get(layer.kind)
    known = [shape for shape in given if shape is not None]
    if rule is None or len(known) < len(given):
        return [None] * len(layer.outputs)
    found = rule(layer, known)
    if len(found) != len(layer.outputs):
        raise ValueError(f"it has {len(layer.outputs)} outputs, expected {len(found)}")
    for shape in found:
        if shape is not None and not (min(shape) > 0 and math.prod(shape) <= MOST_ELEMENTS):
            raise ValueError(f"it would return {shape}")
    return found


Rule = Callable[[Layer, list[Shape]], "list[Shape | None]"]


def _one(given: list[Shape], dimensions: tuple[int, ...] = (1, 2, 3)) -> Shape:
    if len(given) != 1 or len(given[0]) not in dimensions:
        raise ValueError(f"it gets {given}")
    return given[0]


def _same(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    return [_one(given)]


def _split(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    return [_one(given)] * len(layer.outputs)


def _windows(sides: Shape, kernel: Shape, stride: Shape, padding: Shape, up: bool = False) -> Shape:
    """Return how many windows fit beside and below each other."""
    free = [s + p - k for s, p, k in zip(sides, padding, kernel, strict=True)]
    if min(free) < 0:
        raise ValueError(f"its kernel {kernel} is larger than its padded input {sides}")
    return tuple((f + (s - 1 if up else 0)) // s + 1 for f, s in zip(free, stride, strict=True))


def _convolution(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    channels, *sides = _one(given, (3,))
    outputs, group = layer.integer(0), layer.integer(7, 1)
    kernel, dilation = layer.sides(11, 1, 0), layer.sides(12, 2, 1)
    if layer.kind == "Convolution":
        group = 1
    elif channels % group or outputs % group:
        raise ValueError(f"{channels} and {outputs} channels in {group} groups")
    weights = outputs * channels // group * math.prod(kernel)
    if layer.integer(6) != weights:
        raise ValueError(f"it has {layer.integer(6)} weights, {channels} channels need {weights}")
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    stride = layer.sides(13, 3, 1)
    left = layer.integer(4)
    right, top = layer.integer(15, left), layer.integer(14, left)
    bottom = layer.integer(16, top)
    if left in STAYS or top in STAYS:
        size = tuple(-(-side // s) for side, s in zip(sides, stride, strict=True))
    else:
        size = _windows(tuple(sides), extent, stride, (top + bottom, left + right))
    return [(outputs, *size)]


def _pooling(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    channels, *sides = _one(given, (3,))
    if layer.integer(4):
        return [(channels,)]
    if layer.integer(7):
        return [None]
    kernel, stride, mode = layer.sides(11, 1, 0), layer.sides(12, 2, 1), layer.integer(5)
    if min(kernel) < 1:
        raise ValueError("it has no kernel")
    if mode > 1:
        return [(channels, *(-(-side // s) for side, s in zip(sides, stride, strict=True)))]
    left = layer.integer(3)
    top, right = layer.integer(13, left), layer.integer(14, left)
    padding = (top + layer.integer(15, top), left + right)
    return [(channels, *_windows(tuple(sides), kernel, stride, padding, up=mode == 0))]


def _interp(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    channels, *sides = _one(given, (3,))
    size = [layer.integer(3), layer.integer(4)]
    if 0 in size:
        scales = [float(layer.params.get(key, "1")) for key in (1, 2)]
        if not all(0 < scale <= 64 for scale in scales):
            raise ValueError(f"it resizes by {scales}")
        size = [int(side * scale) for side, scale in zip(sides, scales, strict=True)]
    return [(channels, *size)]


def _binary(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    if len(given) == 1 and layer.integer(1) == 1:
        return [given[0]]
    if len(given) != 2:
        raise ValueError(f"it gets {len(given)} inputs")
    larger, smaller = sorted(given, key=lambda shape: (len(shape), shape), reverse=True)
    if len(larger) == len(smaller):
        pairs = list(zip(*given, strict=True))
        if any(a != b and 1 not in (a, b) for a, b in pairs):
            raise ValueError(f"it gets {given[0]} and {given[1]}")
        return [tuple(map(max, pairs))]
    # A number for each channel, row or element; which one is meant depends on ncnn's version.
    return [larger]


def _concat(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    dimensions, axis = len(given[0]), layer.integer(0)
    axis += dimensions if axis < 0 else 0
    if {len(shape) for shape in given} != {dimensions} or not 0 <= axis < dimensions:
        raise ValueError(f"it joins {given} along axis {axis}")
    if len({shape[:axis] + shape[axis + 1 :] for shape in given}) > 1:
        raise ValueError(f"it joins {given} along axis {axis}")
    first, total = given[0], sum(shape[axis] for shape in given)
    return [(*first[:axis], total, *first[axis + 1 :])]


def _slice(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    shape, axis, parts = _one(given), layer.integer(1), layer.array(0)
    axis += len(shape) if axis < 0 else 0
    if not 0 <= axis < len(shape) or len(parts) != len(layer.outputs):
        return [None] * len(layer.outputs) if not parts else _refuse(f"it cuts {shape}")
    rest, sizes = shape[axis], []
    for index, part in enumerate(parts):
        size = rest // (len(parts) - index) if part == OPEN else int(part)
        rest -= size
        sizes.append(size)
    if rest < 0:
        raise ValueError(f"it cuts {shape[axis]} into {sizes}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _reshape(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    shape = _one(given)
    if 6 in layer.params or 11 in layer.params:
        return [None]
    width, height, channels = (layer.integer(key, OPEN) for key in (0, 1, 2))
    wanted = [side for side in (channels, height, width) if side != OPEN]
    # 0 stands for the side of the input, -1 for what is left.
    sides = dict(zip(("w", "h", "c"), reversed(shape), strict=False))
    names = ("c", "h", "w")[3 - len(wanted) :]
    resolved = [
        sides.get(name, 1) if side == 0 else side for name, side in zip(names, wanted, strict=True)
    ]
    known = math.prod(side for side in resolved if side != -1)
    if resolved.count(-1) == 1 and known > 0:
        resolved = [math.prod(shape) // known if side == -1 else side for side in resolved]
    if not resolved or min(resolved) < 1 or math.prod(resolved) != math.prod(shape):
        raise ValueError(f"it makes {resolved} of {shape}")
    return [tuple(resolved)]


# https://github.com/Tencent/ncnn/wiki/operators#permute, in our order of dimensions.
PERMUTED = {
    2: ((0, 1), (1, 0)),
    3: ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
}


def _permute(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    shape, order = _one(given, (2, 3)), layer.integer(0)
    if not 0 <= order < len(PERMUTED[len(shape)]):
        raise ValueError(f"order {order} of {shape}")
    return [tuple(shape[axis] for axis in PERMUTED[len(shape)][order])]


def _reorg(layer: Layer, given: list[Shape]) -> list[Shape | None]:
    channels, height, width = _one(given, (3,))
    stride = layer.integer(0)
    return [(channels * stride**2, height // stride, width // stride)]


def _refuse(reason: str) -> list[Shape | None]:
    raise ValueError(reason)


UNCHANGED = (
    "Swish", "Sigmoid", "ReLU", "HardSwish", "HardSigmoid", "Mish", "TanH", "ELU", "GELU", "Clip",
    "Dropout", "Noop", "UnaryOp", "Softplus",
)  # fmt: skip
RULES: dict[str, Rule] = {
    **dict.fromkeys(UNCHANGED, _same),
    "Split": _split,
    "Convolution": _convolution,
    "ConvolutionDepthWise": _convolution,
    "Pooling": _pooling,
    "Interp": _interp,
    "BinaryOp": _binary,
    "Concat": _concat,
    "Slice": _slice,
    "Reshape": _reshape,
    "Permute": _permute,
    "Reorg": _reorg,
}
