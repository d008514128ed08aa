"""NCNN param and bin files, with the spec in a JSON file beside them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, BinaryIO

import ncnn
import numpy as np

from yolox_deploy.errors import ArtifactError
from yolox_deploy.runtimes.base import Array, EngineFacts, Opened, Runtime
from yolox_deploy.runtimes.foreign.front import Stem
from yolox_deploy.runtimes.foreign.ncnn import stem_of
from yolox_deploy.runtimes.ncnn_graph import LARGEST_PARAM_BYTES, MAGIC, Graph
from yolox_deploy.spec import ModelSpec
from yolox_deploy.terminal import native_lines

POINTER_OF = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class WeightReader(ncnn.DataReader):  # type: ignore[misc]
    """Gives ncnn the weights, as many bytes as it asks for.

    If ncnn opened the file itself, it would not tell how much of it is left, and it would keep it
    mapped: the net would change with the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file

    def read(self, buffer: Any, size: int) -> int:
        """Fill ncnn's ``buffer`` with the next ``size`` bytes; return how many there were."""
        memory = (ctypes.c_char * size).from_address(POINTER_OF(buffer, None))
        return self.file.readinto(memory)  # type: ignore[attr-defined,no-any-return]


class NcnnRuntime(Runtime):
    """One net on the CPU; the pictures of a batch run one after another.

    With ``precision`` bf16 the engine stores activations in bfloat16.
    """

    name = "ncnn"
    precisions = ("fp32", "bf16")
    openmp = True

    def _open(self) -> Opened:
        weights = self.demand_weights("an NCNN model")
        spec_json = self.stored_spec()
        graph = self.graph = self._graph()
        if spec_json is not None:
            spec = ModelSpec.from_json(spec_json, str(self.path))
            height, width = spec.height, spec.width
        elif self.hints.imgsz is not None:
            height, width = self.hints.imgsz
        else:
            raise ArtifactError(
                f"{self.path} has no {self.path.with_suffix('.json').name} beside it, and an NCNN "
                "file does not state its input size: give it as imgsz=(height, width) or --imgsz "
                "H W"
            )
        try:
            shape = graph.check(weights.stat().st_size, height, width)
        except ValueError as error:
            raise ArtifactError(
                f"{self.path} does not fit pictures of {height}x{width} (height x width): {error}; "
                "it was exported for another size, or is damaged"
            ) from error
        self._load(graph, weights)
        if shape is None:
            # Some layer's rule is not known here: a grey picture shows the shape.
            shape = self._one(np.full((3, height, width), 114, np.float32)).shape
        return Opened(spec_json, (1, 3, height, width), (1, *shape))

    def _graph(self) -> Graph:
        """Return the graph, without layers of the Android ports."""
        with self.path.open("rb") as file:
            content = file.read(LARGEST_PARAM_BYTES + 1)
        if not content.startswith(MAGIC.encode()):
            raise ArtifactError(f"{self.path}: not an NCNN param file")
        try:
            if len(content) > LARGEST_PARAM_BYTES:
                raise ValueError(f"it has more than {LARGEST_PARAM_BYTES} bytes")
            graph = Graph(content.decode())
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.path} is no NCNN graph: it is not a text") from error
        except ValueError as error:
            raise ArtifactError(f"{self.path} is no NCNN graph: {error}") from error
        if replaced := graph.replace_focus():
            self.notes += (
                f"{self.path.name}: ncnn has no layer {' or '.join(replaced)}; Reorg, Slice and "
                "Concat compute the same in its place",
            )
        unknown = [kind for kind in graph.kinds() if ncnn.layer_to_index(kind) < 0]
        if unknown:
            raise ArtifactError(
                f"{self.path}: this ncnn ({ncnn.__version__}) has no layer {' or '.join(unknown)}: "
                "convert the model with pnnx, which writes only layers of ncnn, or export its "
                "checkpoint with yolox-export --to ncnn"
            )
        return graph

    def _load(self, graph: Graph, weights: Path) -> None:
        # What new_input gave, by the address of the pixels.
        self.mats: dict[int, Any] = {}
        self.net = ncnn.Net()
        options = self.net.opt
        options.use_vulkan_compute = options.use_fp16_packed = False
        options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = self.precision == "bf16"
        if threads := self.threads_within(options.num_threads):
            options.num_threads = threads
        with native_lines() as said:
            failed = self.net.load_param_mem(str(graph))
        if failed:
            reason = f" ({'; '.join(said)})" if said else ""
            raise ArtifactError(f"{self.path}: ncnn cannot load it{reason}; it may be damaged")
        with weights.open("rb") as file:
            with native_lines() as said:
                failed = self.net.load_model(WeightReader(file))
            if failed:
                reason = f" ({'; '.join(said)})" if said else ""
                raise ArtifactError(
                    f"{weights}: ncnn cannot load its weights{reason}; it is cut off or belongs to "
                    f"another model than {self.path.name}"
                )
            if left := len(file.read()):
                raise ArtifactError(
                    f"{weights} has {left} bytes more than {self.path.name} uses: it belongs to "
                    "another model"
                )
        inputs, outputs = self.net.input_names(), self.net.output_names()
        self.demand_one_of_each(inputs, outputs)
        self.input_name, self.output_name = inputs[0], outputs[0]

    def new_input(self, count: int) -> Array:
        """Return memory for ``count`` pictures; for one it is a Mat's, which ncnn reads."""
        images = super().new_input(count)
        if count > 1:
            return images
        # A name, because a Mat does not keep the array alive whose memory it copies.
        mat = ncnn.Mat(images[0]).clone()
        picture: Array = np.asarray(mat)
        self.mats[_address(picture)] = mat
        return picture[None]

    def _infer(self, images: Array) -> Array:
        if len(images) == 1:
            return self._one(images[0])[None]
        return np.stack([self._one(image) for image in images])

    def _one(self, image: Array) -> Array:
        extractor, result = self.net.create_extractor(), None
        picture = self.mats.get(_address(image))
        if picture is None:
            # Cloned: the first layer of the graph writes to its input, and a Mat on NumPy's memory
            # has no reference count, which makes ncnn crash.
            picture = ncnn.Mat(image).clone()
        try:
            extractor.input(self.input_name, picture)
            status, result = extractor.extract(self.output_name)
            if status:
                raise ArtifactError(f"{self.path}: ncnn could not compute its output ({status})")
            return np.array(result, np.float32)
        finally:
            # They must be deleted before the net, also if a traceback keeps this frame alive.
            del extractor, result

    def facts(self) -> EngineFacts:
        return EngineFacts(self.precision, int(self.net.opt.num_threads))

    def read_stem(self) -> Stem | None:
        return stem_of(self.graph, self.demand_weights("an NCNN model"))

    def _close(self) -> None:
        net = self.__dict__.pop("net", None)
        if net is not None:
            net.clear()


def _address(image: Array) -> int:
    address: int = image.__array_interface__["data"][0]
    return address
