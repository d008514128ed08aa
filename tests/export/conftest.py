"""Networks with reference weights, and exports of the real nano made once for all tests."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from yolox_deploy.errors import YoloxDeployError
from yolox_deploy.export import TARGETS, ExportOptions, ExportResult, export_model
from yolox_deploy.export.reference import Reference
from yolox_deploy.files import sha256_of
from yolox_deploy.models import YOLOX, build_network
from yolox_deploy.models.checkpoint import load_checkpoint
from yolox_deploy.runtimes import BACKENDS
from yolox_deploy.runtimes.gpu import why_no_gpu
from yolox_deploy.spec import ModelSpec
from yolox_deploy.verification.verify import load_pictures

REFERENCES = {"darknet53": "yolov3"}


@pytest.fixture(scope="session")
def network_of(data_file: Any, reference_weights: ModuleType) -> Callable[..., YOLOX]:
    """Give a network with reference weights: ``network_of(architecture, classes)``."""
    facts = json.loads(data_file("reference/yolox_reference_models.json").read_text())
    made: dict[tuple[str, int], YOLOX] = {}

    def give(name: str, classes: int = 80) -> YOLOX:
        if (name, classes) not in made:
            with torch.device("meta"):
                network = build_network(name, classes)
            gain = facts[REFERENCES.get(name, f"yolox-{name}")]["gain"]
            make = reference_weights.reference_tensor
            weights = {
                key: torch.from_numpy(np.asarray(make(key, tuple(value.shape), gain)))
                for key, value in network.state_dict().items()
            }
            network.load_state_dict(weights, assign=True)
            made[name, classes] = network.eval().requires_grad_(False)
        return made[name, classes]

    return give


@pytest.fixture(scope="session")
def checkpoint_of(network_of: Any, tmp_path_factory: Any) -> Callable[[int], Path]:
    """Give a nano checkpoint of as many classes as asked for."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def give(classes: int) -> Path:
        path: Path = folder / f"nano_{classes}.pth"
        if not path.exists():
            torch.save({"model": network_of("nano", classes).state_dict()}, path)
        return path

    return give


@pytest.fixture(scope="session")
def legacy_pth(data_file: Any) -> Path:
    path: Path = data_file("weights/yolox_nano_legacy.pth")
    return path


Made = dict[str, ExportResult]


@pytest.fixture(scope="session")
def made_once(once: Any) -> Callable[..., Made]:
    """Give verified exports by target; the same request is served from what was made before.

    A request that failed fails again at once.
    """
    made: dict[str, Made | Exception] = {}

    def give(checkpoint: Path, targets: list[str], options: ExportOptions) -> Made:
        def make(folder: Path) -> Made:
            results = export_model(checkpoint, targets, options, folder)
            return {result.target: result for result in results}

        key = f"{checkpoint.name} {sha256_of(checkpoint)} to {targets} {options}"
        if key not in made:
            try:
                made[key] = once(key, make)
            except YoloxDeployError as error:
                made[key] = error
        found = made[key]
        if isinstance(found, Exception):
            raise found
        return found

    return give


@pytest.fixture(scope="session")
def built() -> list[str]:
    """The targets that are built here; asked for together, their exports are shared by all tests.

    Only TensorRT may be missing, and only with its GPU or its package.
    """
    able = not why_no_gpu() and importlib.util.find_spec("tensorrt") is not None
    return [name for name in TARGETS if able or name != "trt"]


@pytest.fixture
def rtx(made_once: Any, built: list[str], nano_pth: Path) -> ExportResult:
    """The real nano as an engine of TensorRT-RTX in half precision."""
    pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    result: ExportResult = made_once(nano_pth, built, ExportOptions(fp16=True))["trt-rtx"]
    return result


@pytest.fixture(scope="session")
def nano_hub(made_once: Any, built: list[str], nano_pth: Path) -> ExportResult:
    """The real nano as ONNX at the defaults."""
    result: ExportResult = made_once(nano_pth, built, ExportOptions())["onnx"]
    return result


@pytest.fixture(scope="session")
def reference(nano_pth: Path) -> Reference:
    """The real nano's own outputs for the pictures that ship with the package."""
    checkpoint = load_checkpoint(nano_pth)
    return Reference(checkpoint.network, checkpoint.spec(), load_pictures(None))


@pytest.fixture
def edited(nano_hub: ExportResult, tmp_path: Path) -> Callable[[dict[str, Any]], Any]:
    """Open the exported nano with some of its initializers changed by functions of the array."""

    def give(changes: dict[str, Callable[[Any], Any]]) -> Any:
        model = onnx.load(nano_hub.path)
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for name, change in changes.items():
            array = numpy_helper.to_array(tensors[name]).copy()
            tensors[name].CopyFrom(numpy_helper.from_array(change(array), name))
        path = tmp_path / "edited.onnx"
        onnx.save(model, path)
        # Its hash is another one; here it is the verification that has to notice.
        return BACKENDS["onnxruntime"].runtime_class()(path, check_files=False)

    return give


@pytest.fixture(scope="session")
def nano_spec(nano_pth: Path) -> ModelSpec:
    return load_checkpoint(nano_pth).spec()
