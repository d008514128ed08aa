"""The table of backends: complete, honest about what can run, helpful where it cannot."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import replace
from pathlib import Path

import pytest

from yolox_deploy.errors import DeviceError, MissingPackageError, UsageError
from yolox_deploy.export import TARGETS
from yolox_deploy.packages import install_line
from yolox_deploy.registry import Registry, resolve
from yolox_deploy.runtimes import BACKENDS, Runtime, backend, backend_for, registry
from yolox_deploy.runtimes.devices import KINDS
from yolox_deploy.runtimes.registry import Backend

ABSENT = Backend("absent", "-", "nowhere:None", "no_such_engine", (".absent",), extra="absent")


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_loads_its_runtime_or_says_what_is_missing(name: str) -> None:
    row = backend(name)
    assert row.name == name
    assert row.install == install_line(row.extra)
    available = row.availability(try_import=True)
    if row.gpu and not available.ok:
        # Engines for GPUs are run in test_tensorrt.py, over a driver that is none.
        assert "no NVIDIA driver here" in available.reason or row.install in available.reason
        with pytest.raises((DeviceError, MissingPackageError), match=f"backend {name} cannot run"):
            row.runtime_class()
    else:
        assert available == (True, importlib.metadata.version(row.package), "")
        assert row.runtime_class() is resolve(row.runtime)
    # Its module imports without the engine's package where that needs a GPU.
    runtime = resolve(row.runtime)
    assert issubclass(runtime, Runtime)
    assert runtime.name == name
    assert runtime.devices[0] == ("cuda" if row.gpu else "cpu")
    assert runtime.precisions[0] == ("as built" if row.gpu else "fp32")
    assert set(runtime.devices) <= set(KINDS)
    assert runtime.__doc__
    assert row.description
    assert "\n" not in row.description


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_names_a_backend_that_opens_its_files(name: str) -> None:
    row = TARGETS[name]
    assert Path(f"x{row.suffix}").suffix in BACKENDS[row.backend].suffixes


def test_the_extras_that_messages_name_exist() -> None:
    extras = importlib.metadata.metadata("yolox-deploy").get_all("Provides-Extra")
    assert {row.extra for row in BACKENDS.values()} <= {None, *(extras or ())}


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("x.onnx", "auto", "onnxruntime"),
        ("x.ONNX", "auto", "onnxruntime"),
        ("x.onnx", "openvino", "openvino"),
        ("x.xml", "auto", "openvino"),
        ("x.ncnn.param", "auto", "ncnn"),
        ("x.pth", "auto", "torch"),
        ("x.pt", "torch", "torch"),
        ("x.engine", "auto", "tensorrt"),
        ("x.rtx.ENGINE", "auto", "tensorrt-rtx"),
        ("x.rtx.engine", "tensorrt", "tensorrt"),
    ],
)
def test_the_suffix_chooses_the_backend(path: str, name: str, expected: str) -> None:
    assert backend_for(Path(path), name).name == expected


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [
        ("x.onnx", "opnvino", "did you mean 'openvino'"),
        ("x.onnx", "tensorflow", "onnxruntime, openvino, ncnn, torch, tensorrt, "),
        ("x.xml", "onnxruntime", "use backend openvino"),
        ("x.tflite", "openvino", r"\.xml and \.onnx"),
        ("x.tflite", "auto", r"\.tflite.*\.onnx"),
        ("x", "auto", "without a suffix"),
    ],
)
def test_what_no_backend_opens_is_refused(path: str, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        backend_for(Path(path), name)


@pytest.mark.parametrize(
    ("part", "main"),
    [("x.bin", "x.xml"), ("x.ncnn.bin", "x.ncnn.param"), ("x.onnx.data", "x.onnx")],
)
def test_a_part_of_a_model_leads_to_its_main_file(part: str, main: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no backend opens"):
        backend_for(tmp_path / part)
    (tmp_path / main).touch()
    with pytest.raises(UsageError, match=f"give {re.escape(str(tmp_path / main))}$"):
        backend_for(tmp_path / part)


def test_an_engine_that_is_not_installed_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "BACKENDS", Registry("backend", "none", [ABSENT]))
    assert ABSENT.availability().ok is False
    for call in (ABSENT.runtime_class, lambda: backend_for(Path("x.absent"))):
        with pytest.raises(MissingPackageError, match=r'pip install .*\[absent\]"'):
            call()


def test_auto_takes_the_next_backend_where_the_first_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [replace(BACKENDS["onnxruntime"], package="no_such_engine"), BACKENDS["openvino"]]
    monkeypatch.setattr(registry, "BACKENDS", Registry("backend", "none", rows))
    assert backend_for(Path("x.onnx")).name == "openvino"


def test_of_two_backends_with_one_suffix_the_one_whose_engine_wrote_the_file_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        replace(ABSENT, name="beside", opens="os.path:isfile"),
        replace(ABSENT, name="inside", opens="os.path:isabs"),
    ]
    monkeypatch.setattr(registry, "BACKENDS", Registry("backend", "none", rows))
    assert backend_for(Path("/x.absent")).name == "inside"
    with pytest.raises(UsageError, match="choose backend beside or inside"):
        backend_for(Path("x.absent"))
