"""Ten kinds of faults, six of each, sealed into artifacts as if an exporter had made them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from yolox_deploy.benchmarks.accuracy import detect_dataset, evaluation_detector
from yolox_deploy.data.ap import CocoDataset
from yolox_deploy.export import TARGETS, ExportOptions, export_model
from yolox_deploy.export.precision import to_fp16
from yolox_deploy.export.targets import target_of
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.runtimes.base import EngineFacts
from yolox_deploy.runtimes.content import stored_spec
from yolox_deploy.spec import ModelSpec

PER_KIND = 6
# AP points; smaller damage is not counted.
AP_MOVED = 0.005
ENGINES = ("onnx", "openvino", "ncnn")

Graph = onnx.ModelProto
Weights = NDArray[Any]


class Fault(NamedTuple):
    """A faulty artifact, or a sound one that a patch feeds or runs in the wrong way."""

    what: str
    path: Path
    patch: Callable[[], AbstractContextManager[Any]] = nullcontext
    precision: str | None = None


@dataclass
class Workshop:
    """Sound artifacts by checkpoint and target, and the ways to spoil copies of them."""

    data: Path
    place: Path
    seed: int

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.made: dict[tuple[str, str], Path] = {}
        self.count = 0

    def sound(self, target: str, weights: str = "yolox_nano", **options: Any) -> Path:
        """Return the export of published weights, made once."""
        key = (f"{weights} {options}", target)
        if key not in self.made:
            folder = self.place / f"sound_{len(self.made)}"
            request = ExportOptions(**options)
            pth = self.data / f"weights/{weights}.pth"
            self.made[key] = export_model(pth, [target], request, folder)[0].path
        return self.made[key]

    def spec(self, path: Path) -> ModelSpec:
        """Return what an artifact says of itself."""
        return ModelSpec.from_json(stored_spec(path) or "")

    def folder(self) -> Path:
        """Return a new folder."""
        self.count += 1
        path = self.place / f"planted_{self.count}"
        path.mkdir()
        return path

    def restated(self, target: str, weights: str = "yolox_nano", **changes: Any) -> Path:
        """Return a copy of a sound artifact whose spec states another input."""
        source = self.sound(target, weights)
        folder, row = self.folder(), target_of(source)
        for file in row.files(source):
            (folder / file.name).write_bytes(file.read_bytes())
        spec = self.spec(source)
        row.embed(folder / source.name, replace(spec, input=replace(spec.input, **changes)))
        return folder / source.name

    def rebuilt(self, change: Callable[[Graph], None], to: str = "onnx", **options: Any) -> Path:
        """Return what the changed graph of nano is converted to, with the sound one's spec."""
        source = self.sound("onnx", **options)
        model, row = onnx.load(source), TARGETS[to]
        change(model)
        # The converters would copy the spec as well.
        del model.metadata_props[:]
        main = self.folder() / f"yolox_nano{row.suffix}"
        row.convert(model, self.spec(source), main)
        row.embed(main, self.spec(source))
        return main


def changed(name: str, change: Callable[[Weights], Weights | None]) -> Callable[[Graph], None]:
    """Return what changes one weight tensor of a graph, in place or by what it returns."""

    def apply(model: Graph) -> None:
        (tensor,) = (t for t in model.graph.initializer if t.name == name)
        values = numpy_helper.to_array(tensor).copy()
        result = change(values)
        tensor.CopyFrom(numpy_helper.from_array(values if result is None else result, name))

    return apply


def every(change: Callable[[Weights], Weights]) -> Callable[[Graph], None]:
    """Return what changes the weights of all convolutions."""

    def apply(model: Graph) -> None:
        for name in convolutions(model):
            changed(name, change)(model)

    return apply


def convolutions(model: Graph, *, of: int = 1) -> list[str]:
    """Return the names of the convolutions' weights (``of`` 2: of their biases)."""
    return [node.input[of] for node in model.graph.node if node.op_type == "Conv"]


def colour_order(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts that state, or take, colours in another order."""
    for target in ENGINES:
        yield Fault(f"{target}: RGB stated", shop.restated(target, colour_order="RGB"))
    for order in ((2, 1, 0), (1, 0, 2), (0, 2, 1)):
        stem = convolutions(onnx.load(shop.sound("onnx")))[0]
        swap = changed(stem, lambda w, order=order: w[:, list(order)].copy())  # type: ignore[misc]
        yield Fault(f"onnx: first layer takes channels {order}", shop.rebuilt(swap))


def scale(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts that state, or take, values of another scale."""
    for target in ENGINES:
        yield Fault(f"{target}: /255 stated", shop.restated(target, scale=1 / 255))
    yield Fault("onnx: scale 2 stated", shop.restated("onnx", scale=2.0))
    yield Fault("openvino: mean 114 stated", shop.restated("openvino", mean=(114.0,) * 3))
    stem = convolutions(onnx.load(shop.sound("onnx")))[0]
    larger = changed(stem, lambda w: w * np.float32(255))
    yield Fault("onnx: first layer takes values / 255", shop.rebuilt(larger))


def legacy(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts that state the other input convention."""
    plain, old = (vars(convention) for convention in (RAW_INPUT, LEGACY_INPUT))
    for target in ENGINES:
        yield Fault(f"{target}: legacy stated", shop.restated(target, **old))
        twin = shop.restated(target, "yolox_nano_legacy", **plain)
        yield Fault(f"{target}: legacy twin, plain stated", twin)


def letterbox(shop: Workshop) -> Iterator[Fault]:
    """Yield sound artifacts whose pictures are pasted elsewhere."""
    moves: list[tuple[int, int] | str] = ["middle", (4, 0), (0, 7), (16, 16), (1, 1), (-3, 5)]
    for number, move in enumerate(moves):
        target = ENGINES[number % 3]
        yield Fault(f"{target}: pictures at {move}", shop.sound(target), partial(moved, move))


def moved(by: str | tuple[int, int]) -> AbstractContextManager[Any]:
    """Return a patch that pastes pictures elsewhere than at the top left."""
    paste = Letterbox.__call__

    def wrong(box: Letterbox, image: NDArray[np.uint8], out: NDArray[np.float32]) -> float:
        ratio = paste(box, image, out)
        rest = [o - int(s * ratio) for o, s in zip(out.shape[1:], image.shape, strict=False)]
        shift = (rest[0] // 2, rest[1] // 2) if isinstance(by, str) else by
        out[:] = np.roll(out, shift, (1, 2))
        return ratio

    return mock.patch.object(Letterbox, "__call__", wrong)


def pad(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts that state another pad value."""
    for number, value in enumerate((0, 255, 128, 127, 100, 113)):
        target = ENGINES[number % 3]
        yield Fault(f"{target}: pad value {value} stated", shop.restated(target, pad_value=value))


def precision(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts that are stored, or computed, in a lower precision than they say."""
    ncnn = BACKENDS["ncnn"].runtime_class()
    load = ncnn._load  # type: ignore[attr-defined]

    def in_bf16(runtime: Any, *rest: Any) -> None:
        runtime.precision = "bf16"
        load(runtime, *rest)
        runtime.precision = "fp32"

    param, patches = shop.sound("ncnn"), {"_load": in_bf16}
    yield Fault("ncnn: BF16, says FP32", param, partial(mock.patch.multiple, ncnn, **patches))
    facts = {"facts": lambda runtime: EngineFacts("bf16", 1)}
    honest = partial(mock.patch.multiple, ncnn, **patches, **facts)
    yield Fault("ncnn: BF16, and says so", param, honest)
    openvino, ir = BACKENDS["openvino"].runtime_class(), shop.sound("openvino")
    with openvino(ir, precision="bf16") as opened:
        able = opened.facts().precision == "bf16"
    if able:
        types = sys.modules[openvino.__module__].ELEMENT_TYPES
        yield Fault("openvino: BF16", ir, partial(mock.patch.dict, types, {"fp32": "bf16"}))
    else:
        # This processor has no BF16, so OpenVINO computes in FP32 whatever it is asked for.
        computed = shop.rebuilt(lambda model: model.CopyFrom(to_fp16(model)))
        yield Fault("onnx: a graph in FP16 that says FP32", computed)
    half = every(lambda w: w.astype(np.float16).astype(np.float32))
    yield Fault("onnx: weights rounded to FP16", shop.rebuilt(half))
    brain = every(lambda w: (w.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32))
    yield Fault("openvino: weights cut to BF16", shop.rebuilt(brain, "openvino"))
    eight = every(lambda w: np.round(w / np.abs(w).max() * 127) * (np.abs(w).max() / 127))
    yield Fault("onnx: weights rounded to 8 bits", shop.rebuilt(eight))


def weight(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts with one damaged weight that moves AP."""
    dataset = CocoDataset(
        shop.data / "coco_val/instances_val2017_subset206.json", shop.data / "coco_val/images"
    )

    def ap(path: Path) -> float:
        with evaluation_detector(path, threads=1) as detector:
            return dataset.evaluate(detect_dataset(detector, dataset)).ap

    names = convolutions(onnx.load(shop.sound("onnx")))
    before, found = ap(shop.sound("onnx")), 0
    while found < PER_KIND:
        name, bit = str(shop.random.choice(names)), int(shop.random.choice([31, 30, 29, 26]))
        place = float(shop.random.random())

        def damage(w: Weights, bit: int = bit, place: float = place) -> None:
            # One of the larger weights: a bit of a small one hardly ever moves AP.
            order = np.abs(w).ravel().argsort()
            index = order[int(len(order) * (0.9 + 0.1 * place))]
            w.view(np.uint32).ravel()[index] ^= np.uint32(1 << bit)

        path = shop.rebuilt(changed(name, damage))
        moved_by = ap(path) - before
        if abs(moved_by) >= AP_MOVED:
            yield Fault(f"onnx: bit {bit} of a weight of {name}, AP {moved_by:+.4f}", path)
            found += 1


def other_model(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts with weights of other models."""
    twin = onnx.load(shop.sound("onnx", "yolox_nano_legacy"))
    arrays = {t.name: t for t in twin.graph.initializer}

    def take(model: Graph, names: list[str]) -> None:
        for tensor in model.graph.initializer:
            if tensor.name in names:
                tensor.CopyFrom(arrays[tensor.name])

    model = onnx.load(shop.sound("onnx"))
    own = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    layers = [n for n in convolutions(model) if n in arrays]
    yield Fault("onnx: the twin's weights", shop.rebuilt(partial(take, names=own)))
    yield Fault(
        "openvino: the twin's head", shop.rebuilt(partial(take, names=layers[-9:]), "openvino")
    )
    one = [str(shop.random.choice(layers[5:]))]
    yield Fault(f"onnx: the twin's {one[0]}", shop.rebuilt(partial(take, names=one)))
    noise = np.random.default_rng(shop.seed)

    def trained_on(w: Weights, share: float) -> Weights:
        return np.asarray(w + share * w.std() * noise.standard_normal(w.shape), np.float32)

    for share, target in ((5e-3, "onnx"), (2e-2, "openvino"), (0.1, "ncnn")):
        what = f"{target}: trained on, weights {share:g} of a deviation off"
        yield Fault(what, shop.rebuilt(every(partial(trained_on, share=share)), target))


def graph(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts with another layer in their graph."""

    def replaced(model: Graph, kind: str, change: Callable[[onnx.NodeProto], None]) -> None:
        for node in model.graph.node:
            if node.op_type == kind:
                change(node)

    def hard(node: onnx.NodeProto) -> None:
        node.op_type = "HardSigmoid"

    def linear(node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.name == "mode":
                attribute.s = b"linear"

    def turned(node: onnx.NodeProto) -> None:
        names = list(node.input)
        if len(names) == 2:
            del node.input[:]
            node.input.extend(names[::-1])

    def smaller(node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.name in ("kernel_shape", "pads"):
                step = 2 if attribute.name == "kernel_shape" else 1
                attribute.ints[:] = [value - step for value in attribute.ints]

    def without_bias(model: Graph) -> None:
        node = [node for node in model.graph.node if node.op_type == "Conv"][40]
        del node.input[2:]

    def first(model: Graph, kind: str, change: Callable[[onnx.NodeProto], None]) -> None:
        change(next(node for node in model.graph.node if node.op_type == kind))

    for what, change in (
        ("hard sigmoids", partial(replaced, kind="Sigmoid", change=hard)),
        ("one hard sigmoid", partial(first, kind="Sigmoid", change=hard)),
        ("linear enlarging", partial(replaced, kind="Resize", change=linear)),
        ("smaller pooling windows", partial(replaced, kind="MaxPool", change=smaller)),
        ("two maps joined the other way", partial(first, kind="Concat", change=turned)),
        ("a convolution without bias", without_bias),
    ):
        yield Fault(f"onnx: {what}", shop.rebuilt(change))


def output(shop: Workshop) -> Iterator[Fault]:
    """Yield artifacts whose output has its columns mixed up, or another NMS."""
    model = onnx.load(shop.sound("onnx"))
    rows = {t.name: t.dims[0] for t in model.graph.initializer}
    classes = [n for n in convolutions(model) if rows[n] == 80][-3:]
    boxes = [n for n in convolutions(model) if rows[n] == 4][-3:]

    def all_of(names: list[str], order: list[int], model: Graph) -> None:
        biases = dict(zip(convolutions(model), convolutions(model, of=2), strict=True))
        for name in names:
            for tensor in (name, biases[name]):
                changed(tensor, lambda w: w[order].copy())(model)

    by_one, two = [*range(1, 80), 0], [1, 0, *range(2, 80)]
    yield Fault("onnx: classes off by one", shop.rebuilt(partial(all_of, classes, by_one)))
    yield Fault("ncnn: classes off by one", shop.rebuilt(partial(all_of, classes, by_one), "ncnn"))
    yield Fault("onnx: two classes swapped", shop.rebuilt(partial(all_of, classes, two)))
    yield Fault("onnx: x and y swapped", shop.rebuilt(partial(all_of, boxes, [1, 0, 2, 3])))
    yield Fault(
        "onnx: coarse level, w and h", shop.rebuilt(partial(all_of, boxes[-1:], [0, 1, 3, 2]))
    )

    def lenient(model: Graph) -> None:
        name = next(t.name for t in model.graph.initializer if t.name.endswith("iou_threshold"))
        changed(name, lambda w: w + np.float32(0.45))(model)

    yield Fault("onnx: NMS in the graph too lenient", shop.rebuilt(lenient, nms=True))


KINDS: dict[str, Callable[[Workshop], Iterator[Fault]]] = {
    "colour": colour_order,
    "scale": scale,
    "legacy": legacy,
    "letterbox": letterbox,
    "pad": pad,
    "precision": precision,
    "weight": weight,
    "model": other_model,
    "graph": graph,
    "output": output,
}
