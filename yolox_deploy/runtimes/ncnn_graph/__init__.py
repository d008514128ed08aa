"""NCNN's param files: read and checked here, and written again for the engine.

ncnn trusts these files: with a wrong count, size or order it reads beyond its memory, which ends
the process or gives other numbers.  So a file is read line by line, the shape of every blob is
worked out for the size of the pictures, and ncnn gets a text that is written from what was checked.

The format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

from __future__ import annotations

import re

from yolox_deploy.runtimes.ncnn_graph.layers import (
    ARRAYS,
    CONVOLUTIONS,
    NUMBER,
    Layer,
    Shape,
    check_numbers,
    shapes_of,
)

MAGIC = "7767517"
LARGEST_PARAM_BYTES = 16 << 20
LONGEST_WORD = 255
# NCNN_MAX_PARAM_COUNT
MOST_PARAMETERS = 32
PARAMETER = re.compile(r"(-?\d{1,5})=(\S+)")
# Layers of the Android ports of YOLOX, which slice a picture as its stem expects it.
FOCUS = ("YoloV5Focus", "YoloXFocus")


class Graph:
    """The layers of a param file, in the order in which they run.

    Raises ``ValueError``, which names the line, for a text that is none.
    """

    def __init__(self, text: str) -> None:
        lines = [line.split() for line in text.splitlines()]
        if lines[:1] != [[MAGIC]]:
            raise ValueError(f"line 1 is not {MAGIC}, which begins every param file")
        layers, blobs = _counts(lines[1] if len(lines) > 1 else [])
        self.layers: list[Layer] = []
        made: set[str] = set()
        for number, words in enumerate(lines[2:], 3):
            if not words:
                continue
            try:
                layer = _layer(words)
                _demand_blobs(layer, made)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            made.update(layer.outputs)
            self.layers.append(layer)
        if len(self.layers) != layers or len(made) > blobs:
            raise ValueError(
                f"it announces {layers} layers and {blobs} blobs and has {len(self.layers)} and "
                f"{len(made)}: it may be cut off"
            )

    def __str__(self) -> str:
        blobs = sum(len(layer.outputs) for layer in self.layers)
        head = f"{MAGIC}\n{len(self.layers)} {blobs}"
        return "\n".join((head, *map(str, self.layers), ""))

    def replace_focus(self) -> list[str]:
        """Replace layers of the Android ports by layers that ncnn has; return their types.

        Such a layer puts four pictures behind each other: the pixels at the top left, bottom left,
        top right and bottom right of every square of two by two.  ``Reorg`` gives the same four,
        row by row.
        """
        layers: list[Layer] = []
        for layer in self.layers:
            if layer.kind not in FOCUS:
                layers.append(layer)
                continue
            top_left, top_right, bottom_left, bottom_right = four = [
                f"{layer.name}_{corner}" for corner in ("tl", "tr", "bl", "br")
            ]
            sliced = f"{layer.name}_reorg"
            quarters = {ARRAYS: "4,-233,-233,-233,-233", 1: "0"}
            order = [top_left, bottom_left, top_right, bottom_right]
            layers += [
                Layer("Reorg", sliced, layer.inputs, [sliced], {0: "2", 1: "1"}),
                Layer("Slice", f"{layer.name}_slice", [sliced], four, quarters),
                Layer("Concat", layer.name, order, layer.outputs, {0: "0"}),
            ]
        replaced = [layer.kind for layer in self.layers if layer.kind in FOCUS]
        self.layers = layers
        return list(dict.fromkeys(replaced))

    def kinds(self) -> list[str]:
        """Return the types of the layers, each once."""
        return list(dict.fromkeys(layer.kind for layer in self.layers))

    def weight_bytes(self, width: int) -> int:
        """Return how many bytes the weights of the convolutions take, with ``width`` for each.

        Each begins with four bytes that tell its type and ends on a multiple of four; biases are in
        float32.
        """
        total = 0
        for layer in self.layers:
            if layer.kind in CONVOLUTIONS:
                total += 4 + -(-layer.integer(6) * width // 4) * 4
                total += 4 * layer.integer(0) * layer.integer(5)
        return total

    def check(self, weight_bytes: int, height: int, width: int) -> Shape | None:
        """Return the shape of the output for a picture (3, height, width).

        ``None`` if that cannot be told: there are several outputs, or a layer's rule is not known.

        Raises ``ValueError``, which names the layer, where the shapes do not fit, or for weights
        that a file of ``weight_bytes`` bytes cannot hold.
        """
        shapes: dict[str, Shape | None] = {}
        ends: dict[str, Shape | None] = {}
        for layer in self.layers:
            given = [shapes[name] for name in layer.inputs]
            try:
                check_numbers(layer, weight_bytes)
                found = shapes_of(layer, given) if layer.kind != "Input" else [(3, height, width)]
            except ValueError as error:
                raise ValueError(f"layer {layer.kind} {layer.name}: {error}") from error
            new = dict(zip(layer.outputs, found, strict=True))
            shapes |= new
            ends = {name: ends[name] for name in ends if name not in layer.inputs} | new
        return next(iter(ends.values())) if len(ends) == 1 else None


def _counts(words: list[str]) -> tuple[int, int]:
    if len(words) != 2 or not all(re.fullmatch(r"\d{1,7}", word) for word in words):
        raise ValueError("line 2 does not have the numbers of layers and blobs")
    return int(words[0]), int(words[1])


def _layer(words: list[str]) -> Layer:
    if len(words) < 4 or max(map(len, words[:2])) > LONGEST_WORD:
        raise ValueError("no type, name and numbers of inputs and outputs")
    if not all(re.fullmatch(r"\d{1,4}", word) for word in words[2:4]):
        raise ValueError(f"{words[2]} {words[3]} are no numbers of inputs and outputs")
    first, second = 4 + int(words[2]), 4 + int(words[2]) + int(words[3])
    layer = Layer(words[0], words[1], words[4:first], words[first:second])
    for word in words[second:]:
        match = PARAMETER.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r:.40} is no parameter")
        key, value = int(match[1]), match[2]
        number = key if key >= 0 else ARRAYS - key
        if not 0 <= number < MOST_PARAMETERS or (key >= 0 and "," in value):
            raise ValueError(f"{word!r:.40} is no parameter")
        values = value.split(",")
        if not all(NUMBER.fullmatch(v) for v in values):
            raise ValueError(f"{word!r:.40} is no number")
        if key < 0 and values[0] != str(len(values) - 1):
            raise ValueError(f"{word!r:.40} announces another number of values than it has")
        layer.params[key] = value
    return layer


def _demand_blobs(layer: Layer, made: set[str]) -> None:
    """Raise ``ValueError`` unless each input was made before, and each output is new."""
    missing = [name for name in layer.inputs if name not in made]
    if missing:
        raise ValueError(f"its input {missing[0]!r:.40} is made by no layer before it")
    if len(layer.outputs) != len({*layer.outputs} - made):
        raise ValueError("an output of it has the name of another blob")
    if any(len(name) > LONGEST_WORD or "=" in name for name in layer.outputs):
        raise ValueError("it does not have as many inputs and outputs as it says")
