"""What all runtimes share: names of devices, settings, facts, and one ``Core`` of OpenVINO."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import yolox_deploy
from yolox_deploy import processors
from yolox_deploy.errors import ArtifactError, DeviceError, UsageError
from yolox_deploy.runtimes.base import EngineFacts, Opened, Runtime
from yolox_deploy.runtimes.devices import KINDS, Device, parse_device
from yolox_deploy.runtimes.onnxruntime import OnnxRuntime
from yolox_deploy.runtimes.openvino import OpenVINORuntime, core, engine_device
from yolox_deploy.spec import ModelSpec
from yolox_deploy.weights import BUNDLED_ONNX

ALL = tuple(KINDS)


@pytest.mark.parametrize(
    ("text", "kind", "number", "written"),
    [
        ("cpu", "cpu", None, "cpu"),
        ("CUDA", "cuda", None, "cuda"),
        ("cuda:1", "cuda", 1, "cuda:1"),
        ("1", "cuda", 1, "cuda:1"),
        (0, "cuda", 0, "cuda:0"),
        ("gpu", "gpu", None, "gpu"),
        ("gpu:12", "gpu", 12, "gpu:12"),
        ("GPU.0", "gpu", 0, "gpu:0"),
        ("npu", "npu", None, "npu"),
        ("mps:0", "mps", 0, "mps:0"),
        ("auto", "auto", None, "auto"),
    ],
)
def test_devices_have_one_name_each(
    text: str | int, kind: str, number: int | None, written: str
) -> None:
    found = parse_device(text, ALL, "engine")
    assert found == Device(kind, number)
    assert (found.index, str(found)) == (number or 0, written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cdua", "engine has no device 'cdua': expected .*cuda .a GPU by NVIDIA.*; did you mean"),
        ("", "engine has no device ''"),
        ("cpu:1", "cpu takes no number; write cpu"),
        ("auto:0", "auto takes no number"),
        ("cuda:", "expected cuda or cuda:0"),
        ("cuda:-1", "expected cuda or cuda:0"),
        ("cuda:x", "expected cuda or cuda:0"),
        ("cuda:1:2", "expected cuda or cuda:0"),
        ("gpu:1000", "expected gpu or gpu:0"),
        ("1000", "device 'cuda:1000': expected cuda or cuda:0"),
        (-1, "engine has no device -1"),
        (True, "a device is a text such as 'cuda:0', got True"),
        (0.0, "a device is a text such as 'cuda:0', got 0.0"),
    ],
)
def test_what_is_no_device_is_refused(text: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_device(text, ALL, "engine")
    assert "\n" not in str(caught.value)


def test_gpu_means_cuda_where_that_is_the_gpu() -> None:
    with pytest.raises(UsageError, match=r"no device 'gpu': .*; did you mean 'cuda'\?$"):
        parse_device("gpu", ("cpu", "cuda"), "onnxruntime")


@pytest.mark.parametrize(
    ("text", "available", "expected"),
    [
        ("cpu", ["CPU"], "CPU"),
        ("auto", ["CPU"], "AUTO"),
        ("gpu", ["CPU", "GPU"], "GPU"),
        ("gpu:0", ["CPU", "GPU"], "GPU.0"),
        ("gpu", ["CPU", "GPU.0", "GPU.1"], "GPU"),
        ("gpu:1", ["CPU", "GPU.0", "GPU.1"], "GPU.1"),
        ("GPU.1", ["CPU", "GPU.0", "GPU.1"], "GPU.1"),
        ("npu", ["CPU", "NPU"], "NPU"),
        ("gpu", ["CPU"], None),
        ("gpu:1", ["CPU", "GPU"], None),
        ("gpu:2", ["CPU", "GPU.0", "GPU.1"], None),
        ("npu", ["CPU", "GPU"], None),
    ],
)
def test_openvino_is_given_its_own_names(
    text: str, available: list[str], expected: str | None
) -> None:
    device = parse_device(text, OpenVINORuntime.devices, "openvino")
    if expected is None:
        with pytest.raises(DeviceError, match=f"OpenVINO sees no device {text} .* only cpu"):
            engine_device(device, available)
    else:
        assert engine_device(device, available) == expected


class Toy(Runtime):
    """An engine that returns ones."""

    name = "toy"
    settings = {"speed": ("slow", "fast"), "colour": ("red",)}  # noqa: RUF012
    spec_json: str = ModelSpec("toy", ("thing",), 32, 32, 2).to_json()
    width = 6

    def _open(self) -> Opened:
        return Opened(self.spec_json, (2, 3, 32, 32), (None, None, None))

    def _infer(self, images: Any) -> Any:
        return np.ones((len(images), 21, self.width), np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.toy"
    path.write_text("toy")
    return path


def test_settings_are_those_that_the_runtime_names(file: Path) -> None:
    assert Toy(file).chosen_settings == {}
    assert Toy(file, settings={"speed": "fast"}).chosen_settings == {"speed": "fast"}
    for settings, message in (
        ({"speed": "faster"}, "the setting speed of toy cannot be 'faster': expected slow or fast"),
        ({"sped": "fast"}, "toy has no setting 'sped': expected speed, colour; did you mean 'spee"),
    ):
        with pytest.raises(UsageError, match=message):
            Toy(file, settings=settings)
    with pytest.raises(UsageError, match="openvino has no setting 'speed': expected none"):
        OpenVINORuntime(file, settings={"speed": "fast"})


def test_facts_are_the_precision_and_threads_asked_for_unless_the_engine_tells(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Toy(file, threads=3).facts() == EngineFacts("fp32", 3)
    # An artifact in half precision computes in half precision.
    half = ModelSpec("toy", ("thing",), 32, 32, 2, precision="fp16").to_json()
    monkeypatch.setattr(Toy, "spec_json", half)
    assert Toy(file).facts() == EngineFacts("fp16", None)


def test_an_output_of_another_shape_is_refused_in_words(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((3, 3, 32, 32), np.float32)
    assert Toy(file).infer(images).shape == (3, 21, 6)
    monkeypatch.setattr(Toy, "width", 7)
    message = r"x\.toy returned 2x21x7 for 2 pictures, by its spec it returns 2x21x6"
    with pytest.raises(ArtifactError, match=message):
        Toy(file).infer(images)
    monkeypatch.setattr(Toy, "spec_json", ModelSpec("toy", ("thing",), 64, 64).to_json())
    with pytest.raises(
        ArtifactError, match=r"by its spec it takes float32 1x3x64x64 .* takes float32 2x3x32x32"
    ):
        Toy(file)


@pytest.mark.parametrize("backend", ["onnxruntime"])
def test_onnxruntime_left_to_itself_takes_the_physical_cores(
    backend: str, model_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolox_deploy.runtimes import onnxruntime as module

    monkeypatch.setattr(processors, "allowed_cores", lambda: 64.0)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(module, "physical_cores", lambda: 32)
    with module.OnnxRuntime(model_for(backend).path) as opened:
        assert opened.facts() == EngineFacts("fp32", 32)


def test_there_is_one_core_of_openvino_in_the_process() -> None:
    """A second one would crash the process at the next Ctrl-C, see ``core``."""
    assert core() is core()
    folder = Path(yolox_deploy.__file__).parent
    makers = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Core"
    }
    assert makers == {"runtimes/openvino.py"}


@pytest.mark.parametrize(("settings", "expected"), [({}, None), ({"spinning": "no"}, "0")])
def test_threads_of_onnxruntime_sleep_on_request(
    settings: dict[str, str], expected: str | None
) -> None:
    key = "session.intra_op.allow_spinning"
    with OnnxRuntime(BUNDLED_ONNX, settings=settings) as opened:
        options = opened.session.get_session_options()
        if expected is None:
            with pytest.raises(RuntimeError, match=key):
                options.get_session_config_entry(key)
        else:
            assert options.get_session_config_entry(key) == expected
        assert opened.infer(np.zeros((2, 3, 320, 320), np.float32)).shape == (2, 2100, 15)
