"""NCNN param and bin files, with the spec in a JSON file beside them."""

from __future__ import annotations

import re
from pathlib import Path

import ncnn
import numpy as np

from yolox_deploy.errors import ArtifactError
from yolox_deploy.runtimes.base import Array, EngineFacts, Opened, Runtime
from yolox_deploy.tasks.foreign import inferred_spec

PARAM_MAGIC = b"7767517"
# "Reshape NAME 1 1 INPUT OUTPUT 0=ROWS ..." and "Concat NAME COUNT 1 INPUT... OUTPUT 0=AXIS".
RESHAPE = re.compile(r"^Reshape\s+\S+\s+1 1 \S+ (\S+) 0=(\d{1,9})\b", re.MULTILINE)
CONCAT = re.compile(r"^Concat\s+\S+\s+\d+ 1 ([^=\n]+) \d+=", re.MULTILINE)


def stated_rows(param: Path) -> int | None:
    """Return how many rows the graph joins from its Reshape layers, ``None`` if there are none.

    ncnn reads beyond its memory if such a graph gets pictures of another size.
    """
    text = param.read_text("utf-8", "replace")
    reshaped = {m[1]: int(m[2]) for m in RESHAPE.finditer(text)}
    joined = [line[1].split() for line in CONCAT.finditer(text)]
    # A head may join rows more than once, for instance those of boxes and of keypoints.
    counts = [sum(reshaped[blob] for blob in blobs[:-1] if blob in reshaped) for blobs in joined]
    return max(counts, default=0) or sum(reshaped.values()) or None


class NcnnRuntime(Runtime):
    """One net on the CPU; the pictures of a batch run one after another.

    With ``precision`` bf16 the engine stores activations in bfloat16.
    """

    name = "ncnn"
    precisions = ("fp32", "bf16")

    def _open(self) -> Opened:
        weights, sidecar = self.demand_weights("an NCNN model"), self.path.with_suffix(".json")
        with self.path.open("rb") as file:
            if file.read(len(PARAM_MAGIC)) != PARAM_MAGIC:
                raise ArtifactError(f"{self.path}: not an NCNN param file")
        spec_json = self.stored_spec()
        self.net = ncnn.Net()
        options = self.net.opt
        options.use_vulkan_compute = options.use_fp16_packed = False
        options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = self.precision == "bf16"
        if threads := self.threads_within(options.num_threads):
            options.num_threads = threads
        if self.net.load_param(str(self.path)) or self.net.load_model(str(weights)):
            raise ArtifactError(
                f"{self.path}: ncnn cannot load it; {weights.name} may be truncated or belong to "
                "another model"
            )
        inputs, outputs = self.net.input_names(), self.net.output_names()
        self.demand_one_of_each(inputs, outputs)
        self.input_name, self.output_name = inputs[0], outputs[0]
        if spec_json is not None:
            # The number of rows, and one picture, is all that the graph itself states.
            rows = stated_rows(self.path)
            return Opened(spec_json, (1, None, None, None), (None, rows, None))
        return self._opened_without_spec(sidecar)

    def _opened_without_spec(self, sidecar: Path) -> Opened:
        """Find the output's shape by running a grey picture of the size that the user stated."""
        if self.hints.imgsz is None:
            raise ArtifactError(
                f"{self.path} has no {sidecar.name} beside it, and an NCNN file "
                "does not state its input size: give it as imgsz=(height, width) or --imgsz H W"
            )
        height, width = self.hints.imgsz
        guess = inferred_spec(self.path.stem, (1, 3, height, width), (1, None, 85))
        rows, expected = stated_rows(self.path), guess.num_anchors
        if rows not in (None, expected):
            raise ArtifactError(
                f"{self.path} returns {rows} rows, an input of {height}x{width} would give "
                f"{expected}: it was exported for another size"
            )
        result = self._one(np.full((3, height, width), 114, np.float32))
        return Opened(None, (1, 3, height, width), (1, *result.shape))

    def _infer(self, images: Array) -> Array:
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Array) -> Array:
        extractor, result = self.net.create_extractor(), None
        try:
            # Cloned: the first layer of the graph writes to its input, and a Mat on NumPy's memory
            # has no reference count, which makes ncnn crash.
            extractor.input(self.input_name, ncnn.Mat(image).clone())
            status, result = extractor.extract(self.output_name)
            if status:
                raise ArtifactError(f"{self.path}: ncnn could not compute its output ({status})")
            return np.array(result, np.float32)
        finally:
            # They must be deleted before the net, also if a traceback keeps this frame alive.
            del extractor, result

    def facts(self) -> EngineFacts:
        """Return the precision and the threads of the net."""
        return EngineFacts(self.precision, int(self.net.opt.num_threads))

    def _close(self) -> None:
        net = self.__dict__.pop("net", None)
        if net is not None:
            net.clear()
