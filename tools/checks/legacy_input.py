"""Counts how often the input convention is found from the weights.

    python -m tools.checks.legacy_input ../shared

Networks of both conventions, and of neither, are made from the published weights, from the
reference weights, by training, and from random weights: normalised on pictures, rescaled, with
batch normalisation and with it folded.  Exit code 1 if fewer than 19 of 20 legacy networks are
found, or if a network that is not legacy is called so.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from yolox_deploy.architectures import ARCHITECTURES
from yolox_deploy.models.blocks import BaseConv, Focus
from yolox_deploy.models.checkpoint import STEM_KEYS, load_checkpoint
from yolox_deploy.models.stem import first_block, input_of_block, is_identity
from yolox_deploy.pictures.convention import LEGACY_INPUT, RAW_INPUT, InputConvention
from yolox_deploy.pictures.images import read_image
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.pictures.stem import InputFound, find_input
from yolox_deploy.terminal import print_table
from yolox_deploy.training import CocoSource, Settings, Trainer, recipe
from yolox_deploy.weights import BUNDLED

SIDE = 224
PICTURES = 12
# The architectures, and the names that the reference file has for them.
REFERENCES = {
    **{name: f"yolox-{name}" for name in ("nano", "tiny", "s", "m", "l", "x")},
    "darknet53": "yolov3",
}
DIVIDED = InputConvention(scale=1 / 255)
CENTRED = InputConvention("RGB", 1 / 127.5, (1.0, 1.0, 1.0))
LEGACY_SHARE = 19 / 20


class Case(NamedTuple):
    """A network and what is true of it: ``legacy``, ``plain`` or ``neither``."""

    name: str
    truth: str
    found: InputFound

    @property
    def verdict(self) -> str:
        """What was found."""
        return {True: "legacy", False: "plain", None: "cannot tell"}[self.found.legacy]


def block_of(architecture: str) -> BaseConv:
    """Return an untrained first block."""
    row = ARCHITECTURES[architecture]
    return BaseConv(3, 32, 3) if row.darknet53 else BaseConv(12, int(64 * row.width), 3)


def normalised_on(block: BaseConv, pictures: Tensor) -> BaseConv:
    """Set the statistics of a first block to those of ``pictures``, in place."""
    sees: nn.Module = block
    if block.conv.in_channels == 12:
        sees = Focus(3, block.conv.out_channels)
        sees.conv = block
    norm = block.bn
    norm.momentum = 1.0
    with torch.no_grad():
        sees.train()(pictures)
    # One step with this momentum is as good as many.
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.zero_()
    return block


def with_reference_weights(architecture: str, shared: Path) -> BaseConv:
    """Return the first block with the reference weights."""
    spec = importlib.util.spec_from_file_location(
        "reference_weights", shared / "reference/reference_weights.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts = json.loads((shared / "reference/yolox_reference_models.json").read_text())
    gain = facts[REFERENCES[architecture]]["gain"]
    block = block_of(architecture)
    prefix = STEM_KEYS[architecture == "darknet53"].removesuffix(".conv.weight")
    for key, value in block.state_dict().items():
        made = module.reference_tensor(f"{prefix}.{key}", tuple(value.shape), gain)
        value.copy_(torch.from_numpy(np.asarray(made)))
    return block


def statistics(block: BaseConv) -> tuple[Tensor, Tensor]:
    """Return the running mean and variance of a block."""
    norm = block.bn
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def folded(block: BaseConv) -> BaseConv:
    """Return a block whose normalisation is the identity, with the same output."""
    block = copy.deepcopy(block)
    norm = block.bn
    mean, variance = statistics(block)
    with torch.no_grad():
        scale = norm.weight / (variance + norm.eps).sqrt()
        block.conv.weight.mul_(scale[:, None, None, None])
        norm.bias.sub_(mean * scale)
        norm.weight.fill_((1 + norm.eps) ** 0.5)
        mean.zero_()
        variance.fill_(1)
    return block


def for_other_input(block: BaseConv, old: InputConvention, new: InputConvention) -> BaseConv:
    """Return a block that gives for ``new`` input what ``block`` gives for ``old`` input."""
    block = copy.deepcopy(block)
    weight, (mean, _) = block.conv.weight, statistics(block)
    with torch.no_grad():
        if old.colour_order != new.colour_order:
            groups = weight.reshape(len(weight), -1, 3, *weight.shape[2:])
            weight.copy_(groups.flip(2).reshape(weight.shape))
        # old = new * factor + shift, colour by colour.
        turn = slice(None, None, 1 if old.colour_order == new.colour_order else -1)
        old_mean, old_std = np.array(old.mean)[turn], np.array(old.std)[turn]
        factor = np.array(new.std) / new.scale * old.scale / old_std
        shift = (np.array(new.mean) / new.scale * old.scale - old_mean) / old_std
        repeat = weight.shape[1] // 3
        factors, shifts = (torch.tensor(np.tile(v, repeat)).float() for v in (factor, shift))
        mean.sub_((weight * shifts[:, None, None]).sum((1, 2, 3)))
        weight.mul_(factors[:, None, None])
    return block


def rescaled(block: BaseConv, factor: float, *, both: bool) -> BaseConv:
    """Multiply the weights, and if ``both`` what the normalisation knows of them."""
    block = copy.deepcopy(block)
    with torch.no_grad():
        block.conv.weight.mul_(factor)
        if both:
            mean, variance = statistics(block)
            mean.mul_(factor)
            variance.mul_(factor**2)
    return block


@lru_cache
def inputs(
    shared: Path, convention: InputConvention, count: int = 24, contrast: float = 1
) -> Tensor:
    """Return photographs as the network's input, (N, 3, 224, 224)."""
    paths = sorted((shared / "coco_val/images").glob("*.jpg"))
    result = np.empty((PICTURES, 3, SIDE, SIDE), np.float32)
    letterbox = Letterbox(SIDE, SIDE, convention)
    for path, out in zip(paths[:: len(paths) // PICTURES], result, strict=False):
        picture = read_image(path)
        letterbox((100 + contrast * (picture - 100.0)).clip(0, 255).astype(np.uint8), out)
    return torch.from_numpy(result)


def first_of_onnx(path: Path) -> InputFound:
    """Return what the first convolution of an ONNX file tells."""
    graph = onnx.load(path).graph
    values = {row.name: row for row in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "Conv")
    weight, bias = (numpy_helper.to_array(values[name]) for name in first.input[1:])
    return find_input(weight, bias)


def first_of_ncnn(path: Path) -> InputFound:
    """Return what the first convolution of an NCNN ``.bin`` with FP16 weights tells."""
    data = path.read_bytes()[4:]
    outputs, taps = 16, 12 * 9
    weight = np.frombuffer(data, np.float16, outputs * taps).reshape(outputs, 12, 3, 3)
    bias = np.frombuffer(data, np.float32, outputs, 2 * outputs * taps)
    return find_input(weight, bias)


def trained(
    shared: Path, classes: int, batch: int, weights: Path | None, *, legacy: bool | None
) -> BaseConv:
    """Return the first block of a nano, trained for one epoch on 64 pictures of ``coco_val``."""
    annotations = shared / "coco_val/instances_val2017_subset206.json"
    document = json.loads(annotations.read_text())
    document["categories"] = document["categories"][:classes]
    document["images"] = document["images"][:64]
    kept = {row["id"] for row in document["images"]}
    boxes = [row for row in document["annotations"] if row["image_id"] in kept]
    document["annotations"] = boxes
    ids = [row["id"] for row in document["categories"]]
    for row in document["annotations"]:
        row["category_id"] = ids[row["category_id"] % classes]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "train.json")
        file.write_text(json.dumps(document))
        settings = Settings(
            "nano",
            [CocoSource(file, annotations.parent / "images")],
            recipe=recipe("nano").fitted(1),
            imgsz=(96, 96),
            batch=batch,
            workers=0,
            weights=weights,
            legacy=legacy,
        )
        Trainer(settings, Path(folder, "run")).fit()
        return first_of(Path(folder, "run/best.pth"))


def first_of(checkpoint: Path) -> BaseConv:
    """Return the first block of a checkpoint's network."""
    return first_block(load_checkpoint(checkpoint).network)


def legacy_cases(shared: Path) -> Iterator[tuple[str, BaseConv]]:
    """Give legacy networks."""
    published = shared / "weights/yolox_nano_legacy.pth"
    nano = first_of(published)
    yield "published nano", nano
    plain = first_of(shared / "weights/yolox_nano.pth")
    yield "nano of 0.1.1, rewritten", folded(for_other_input(plain, RAW_INPUT, LEGACY_INPUT))
    yield "nano of 0.1.1, stem x 64", rescaled(plain, 64, both=False)
    for factor in (0.25, 256):
        yield f"published nano, rescaled by {factor}", rescaled(nano, factor, both=True)
    pictures = inputs(shared, LEGACY_INPUT)
    for name in REFERENCES:
        reference = with_reference_weights(name, shared)
        yield f"{name} reference, rewritten", for_other_input(reference, RAW_INPUT, LEGACY_INPUT)
        yield f"{name} reference, stem x 64", rescaled(reference, 64, both=False)
        yield f"{name} random, statistics", normalised_on(block_of(name), pictures)
    darker = normalised_on(block_of("s"), inputs(shared, LEGACY_INPUT, contrast=0.6))
    yield "s random, contrast x 0.6", darker


def other_cases(shared: Path) -> Iterator[tuple[str, str, BaseConv]]:
    """Give networks that are not legacy: plain, or neither."""
    published = shared / "weights/yolox_nano.pth"
    nano = first_of(published)
    yield "published nano", "plain", nano
    digits = first_of(BUNDLED)
    yield "digits of the package", "plain", digits
    for factor in (0.25, 256):
        yield f"digits, rescaled by {factor}", "plain", rescaled(digits, factor, both=True)
    legacy = first_of(shared / "weights/yolox_nano_legacy.pth")
    yield "legacy nano, rewritten", "plain", for_other_input(legacy, LEGACY_INPUT, RAW_INPUT)
    divided = for_other_input(legacy, LEGACY_INPUT, DIVIDED)
    yield "legacy nano, rewritten for /255", "neither", divided
    for factor in (8, 16, 1024, 4096):
        yield f"nano, stem x {factor}", "neither", rescaled(folded(nano), factor, both=False)
    for name in REFERENCES:
        yield f"{name} reference", "plain", with_reference_weights(name, shared)
        yield f"{name} untrained", "neither", block_of(name)
        for words, convention, truth in (
            ("plain", RAW_INPUT, "plain"),
            ("/255", DIVIDED, "neither"),
            ("-1 to 1", CENTRED, "neither"),
        ):
            pictures = inputs(shared, convention)
            yield (
                f"{name} random, {words} statistics",
                truth,
                normalised_on(block_of(name), pictures),
            )
    for contrast in (0.3, 1.5):
        pictures = inputs(shared, RAW_INPUT, contrast=contrast)
        yield f"s random, contrast x {contrast}", "plain", normalised_on(block_of("s"), pictures)


def trained_cases(shared: Path) -> Iterator[tuple[str, str, BaseConv]]:
    """Give networks that were trained for an epoch; this takes a few minutes."""
    plain, legacy = (shared / "weights" / f"yolox_nano{end}.pth" for end in ("", "_legacy"))
    for truth, weights in (("plain", plain), ("legacy", legacy)):
        for classes in (1, 3, 80):
            block = trained(shared, classes, 16, weights, legacy=truth == "legacy")
            yield f"{weights.stem} fine-tuned, {classes} classes", truth, block
        for batch in (2, 16, 64):
            block = trained(shared, 2, batch, None, legacy=truth == "legacy")
            yield f"nano from scratch, {64 // batch} steps", truth, block
    unheeded = trained(shared, 3, 16, legacy, legacy=False)
    yield "yolox_nano_legacy, trained on plain input", "plain", unheeded


def survey(shared: Path, *, training: bool) -> Iterator[Case]:
    """Give every case, with batch normalisation and with it folded, and the foreign files."""
    made = [(name, "legacy", block) for name, block in legacy_cases(shared)]
    made += other_cases(shared)
    if training:
        made += trained_cases(shared)
    for name, truth, block in made:
        yield Case(name, truth, input_of_block(block))
        if not is_identity(block.bn):
            yield Case(f"{name}, folded", truth, input_of_block(folded(block)))
    for name, truth in (
        ("onnx/yolox_nano_official.onnx", "plain"),
        ("onnx/yolox_nano_384x640_official.onnx", "plain"),
        ("foreign/yolox_nano_fish_416.onnx", "plain"),
        ("foreign/yolox_nano_legacy_416.onnx", "legacy"),
        ("foreign/yolox_nano_bubbliiing_640.onnx", "legacy"),
    ):
        yield Case(name, truth, first_of_onnx(shared / name))
    focus = "foreign/yolox_nano_focus.bin"
    yield Case(focus, "legacy", first_of_ncnn(shared / focus))


def main(argv: Sequence[str] | None = None) -> int:
    """Print one row per network and what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path, help="folder with the test data")
    parser.add_argument(
        "--no-training", action="store_true", help="leave out networks that must be trained first"
    )
    arguments = parser.parse_args(argv)
    cases = list(survey(arguments.shared, training=not arguments.no_training))
    rows = [
        [c.name, c.truth, c.verdict, f"{c.found.spread:.3g}", f"{c.found.level:.3g}"] for c in cases
    ]
    print_table(["network", "input", "found", "spread", "level"], rows)
    legacy = [case for case in cases if case.truth == "legacy"]
    others = [case for case in cases if case.truth != "legacy"]
    found = sum(case.verdict == "legacy" for case in legacy)
    alarms = sum(case.verdict == "legacy" for case in others)
    print(f"legacy found in {found} of {len(legacy)}; false alarms: {alarms} of {len(others)}")
    return int(found < LEGACY_SHARE * len(legacy) or alarms > 0)


if __name__ == "__main__":
    sys.exit(main())
