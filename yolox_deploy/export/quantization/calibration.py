"""The pictures that INT8 is made with, and the range of each tensor while the network sees them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from yolox_deploy.errors import ImageError, InputFileError, ModelWarning
from yolox_deploy.files import sha256_of
from yolox_deploy.packages import install_line, require
from yolox_deploy.pictures.images import MAX_PIXELS, find_images, read_image
from yolox_deploy.pictures.letterbox import Letterbox
from yolox_deploy.spec import ModelSpec

# Fewer pictures show too little of what the network meets; from fewer still nothing is measured.
ADVISED_PICTURES = 100
FEWEST_PICTURES = 8
# A larger folder is sampled evenly: more pictures hardly move a range.
MOST_PICTURES = 512

# Is told how many steps are done, and how many there are.
Progress = Callable[[int, int], None]


class Picture(NamedTuple):
    """One letterboxed picture: ``image`` (1, 3, H, W) float32, and the way back to its pixels."""

    number: int
    image: NDArray[np.float32]
    ratio: float
    size: tuple[int, int]


@dataclass(frozen=True)
class Pictures:
    """Files by number, read and letterboxed each time they are asked for: memory stays small."""

    files: dict[int, Path]
    spec: ModelSpec
    max_pixels: int | None = MAX_PIXELS

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Picture]:
        spec = self.spec
        letterbox = Letterbox(spec.height, spec.width, spec.input)
        for number, file in self.files.items():
            pixels = read_image(file, self.max_pixels)
            image = np.empty((1, 3, spec.height, spec.width), np.float32)
            ratio = letterbox(pixels, image[0])
            yield Picture(number, image, ratio, pixels.shape[:2])

    def part(self, offsets: Collection[int], step: int) -> Pictures:
        """Return the pictures whose place in the order, divided by ``step``, leaves ``offsets``."""
        chosen = (n for place, n in enumerate(self.files) if place % step in offsets)
        return replace(self, files={number: self.files[number] for number in chosen})

    def sha256(self) -> str:
        """Return the SHA-256 of all contents, in order."""
        digest = hashlib.sha256()
        for file in self.files.values():
            digest.update(sha256_of(file).encode())
        return digest.hexdigest()


def calibration_pictures(
    folder: Path, spec: ModelSpec, max_pixels: int | None = MAX_PIXELS
) -> Pictures:
    """Return the readable pictures of a folder of at most ``max_pixels``, numbered from 1.

    A :class:`ModelWarning` tells of unreadable ones, and of fewer than :data:`ADVISED_PICTURES`.
    Raises :class:`InputFileError` for fewer than :data:`FEWEST_PICTURES`.
    """
    if not folder.is_dir():
        raise InputFileError(f"--calib {folder}: no such folder of pictures")
    try:
        found = find_images([folder])
    except ImageError:
        found = []
    if len(found) > MOST_PICTURES:
        found = [found[i] for i in np.linspace(0, len(found) - 1, MOST_PICTURES).astype(int)]
    readable = []
    for file in found:
        with suppress(ImageError):
            read_image(file, max_pixels)
            readable.append(file)
    lost = f" ({len(found) - len(readable)} cannot be read)" if len(readable) < len(found) else ""
    if len(readable) < FEWEST_PICTURES:
        raise InputFileError(
            f"--calib {folder}: {len(readable)} pictures{lost}; INT8 needs at least "
            f"{FEWEST_PICTURES}, and {ADVISED_PICTURES} or more like those that it will see"
        )
    if len(readable) < ADVISED_PICTURES:
        warnings.warn(
            f"--calib {folder}: {len(readable)} pictures{lost} are few for INT8: give "
            f"{ADVISED_PICTURES} or more",
            ModelWarning,
            stacklevel=2,
        )
    elif lost:
        warnings.warn(f"--calib {folder}{lost}", ModelWarning, stacklevel=2)
    return Pictures(dict(enumerate(readable, 1)), spec, max_pixels)


def find_ranges(
    model: onnx.ModelProto, tensors: Sequence[str], pictures: Pictures, progress: Progress
) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest value of each tensor, as a mean over the pictures.

    The mean, because the extremes of one picture among many would cost all others resolution.
    Raises :class:`MissingPackageError` without ONNX Runtime, which runs the graph.
    """
    install = install_line("onnxruntime")
    ort = require("onnxruntime", "calibration runs on ONNX Runtime", install)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    # Extremes alone leave the engine: all tensors of a large network would not fit into memory.
    for number, tensor in enumerate(tensors):
        for kind in ("Min", "Max"):
            name = f"{kind}_{number}"
            node = helper.make_node(f"Reduce{kind}", [tensor], [name], name=name, keepdims=0)
            watched.graph.node.append(node)
            value = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [])
            watched.graph.output.append(value)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    batch = pictures.spec.batch or 1
    extremes = []
    for done, picture in enumerate(pictures, 1):
        image = np.repeat(picture.image, batch, 0)
        extremes.append(session.run(None, {model.graph.input[0].name: image}))
        progress(done, len(pictures))
    means = np.mean(np.array(extremes, float), 0).reshape(-1, 2)
    return {
        name: (float(low), float(high)) for name, (low, high) in zip(tensors, means, strict=True)
    }
